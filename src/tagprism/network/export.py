"""Torch modules to ONNX files that hold everything, with a free batch size. Knows only modules and arrays."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from jaxtyping import Float32
from torch import nn

from tagprism.bundle.onnx_model import ASKED, OUTPUT, PLACES, OnnxNetwork
from tagprism.errors import InputError
from tagprism.network.embedding_matrix import Network
from tagprism.network.places import PlacedNetwork


def export_onnx(module: nn.Module, image_size: tuple[int, int], path: Path, *, tolerance: float = 1e-3) -> float:
    """Write a module from pixels (B, 3, H, W) to one tensor as ONNX and check the file against the module.

    Args:
        module: put into evaluation mode; its input is one pixel tensor. A `PlacedNetwork` gets its second input and
            output too; the input is optional in the file.
        image_size: (H, W) of the pixels.
        path: the `.onnx` file to write.
        tolerance: largest difference allowed, relative to the output's largest magnitude.

    Returns:
        The largest absolute difference found on random pixels, in batches of 1 and 3.

    Raises:
        InputError: torch cannot export the module, or the file gives other numbers than the module.
    """
    module = module.eval().cpu()
    placed = isinstance(module, PlacedNetwork)
    example = (torch.zeros(2, 3, *image_size), torch.arange(2))
    sizes = ({0: torch.export.Dim("batch", min=1, max=4096)}, {0: torch.export.Dim("asked", max=4096)})
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # its optimiser talks about folded constants
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter deprecates its own internals
        try:
            torch.onnx.export(
                module,
                example if placed else example[:1],
                str(path),
                input_names=["pixels", ASKED] if placed else ["pixels"],
                output_names=[OUTPUT, PLACES] if placed else [OUTPUT],
                dynamic_shapes=sizes if placed else sizes[:1],
                dynamo=True,
                external_data=False,
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = next((line for line in reversed(str(error.__cause__ or error).splitlines()) if line), "")
            raise InputError(
                f"torch cannot export this network to ONNX ({reason.strip()[:300]}).",
                where=type(module).__name__ if not isinstance(module, Network) else _names(module),
                remedy="Its forward pass must be one graph: no branches that depend on values, no numpy, no lists.",
            ) from error
    if placed:
        _make_asking_optional(path)
    return _check(module, image_size, path, tolerance)


def _names(network: Network) -> str:
    parts = (network.backbone, network.head)
    return ", ".join(type(getattr(part, "module", getattr(part, "network", part))).__name__ for part in parts)


def _make_asking_optional(path: Path) -> None:
    """Give the input that asks for places a default: none. (An initializer of an input's name is its default.)"""
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(0, np.int64), ASKED))
    onnx.save(model, path)


def _check(module: nn.Module, image_size: tuple[int, int], path: Path, tolerance: float) -> float:
    model = OnnxNetwork(path)
    generator = np.random.default_rng(0)
    worst = 0.0
    for size in (1, 3):
        pixels: Float32[np.ndarray, "B 3 H W"] = generator.standard_normal((size, 3, *image_size), dtype=np.float32)
        found, expected = [model(pixels)], []
        with torch.inference_mode():
            if isinstance(module, PlacedNetwork):
                expected = [tensor.numpy() for tensor in module(torch.from_numpy(pixels), torch.arange(size))]
                found = [found[0], model.placed(pixels)[1]]
            else:
                expected = [module(torch.from_numpy(pixels)).numpy()]
        for one, wanted in zip(found, expected, strict=True):
            difference = float(np.abs(one - wanted).max())
            if not difference <= tolerance * max(1.0, float(np.abs(wanted).max())):
                raise InputError(
                    f"the exported ONNX model differs from the torch model by {difference:.2g}.", where=str(path)
                )
            worst = max(worst, difference)
    return worst
