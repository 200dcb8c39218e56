"""Torch modules to ONNX files that hold everything, with a free batch size. Knows only modules and arrays."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from tagprism.errors import InputError
from tagprism.model.onnx_model import OUTPUT, OnnxModel


def export_onnx(
    module: nn.Module,
    image_size: tuple[int, int],
    path: Path,
    *,
    outputs: tuple[str, ...] = (OUTPUT,),
    tolerance: float = 1e-3,
) -> float:
    """Write a module from pixels (B, 3, H, W) to one or more tensors as ONNX and check the file against the module.

    Args:
        module: put into evaluation mode; its input is one pixel tensor.
        image_size: (H, W) of the pixels.
        path: the `.onnx` file to write.
        outputs: a name for each tensor that the module returns.
        tolerance: largest difference allowed, relative to the output's largest magnitude.

    Returns:
        The largest absolute difference found on random pixels, in batches of 1 and 3.

    Raises:
        InputError: the module cannot be exported, or the file gives other numbers than the module.
    """
    module = module.eval().cpu()
    example = torch.zeros(2, 3, *image_size)
    batch = torch.export.Dim("batch", min=1, max=4096)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # its optimiser talks about folded constants
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter deprecates its own internals
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=["pixels"],
            output_names=list(outputs),
            dynamic_shapes=({0: batch},),
            dynamo=True,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    return _check(module, image_size, path, outputs, tolerance)


def _check(
    module: nn.Module, image_size: tuple[int, int], path: Path, outputs: tuple[str, ...], tolerance: float
) -> float:
    onnx = OnnxModel(path)
    generator = np.random.default_rng(0)
    worst = 0.0
    for size in (1, 3):
        pixels: Float32[np.ndarray, "B 3 H W"] = generator.standard_normal((size, 3, *image_size), dtype=np.float32)
        with torch.inference_mode():
            result = module(torch.from_numpy(pixels))
        expected = result if isinstance(result, tuple) else (result,)
        for name, wanted, found in zip(outputs, expected, onnx.outputs(pixels, outputs), strict=True):
            difference = float(np.abs(found - wanted.numpy()).max())
            if not difference <= tolerance * max(1.0, float(wanted.abs().max())):
                raise InputError(
                    f"`{name}` of the exported ONNX model differs from the torch model by {difference:.2g}.",
                    where=str(path),
                )
            worst = max(worst, difference)
    return worst
