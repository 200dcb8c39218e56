"""Text networks to ONNX: token ids and mask in, vectors out. Knows no models; needs torch, at export only."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from tagprism.network.onnx_weights import strip_origin


def export_text_network(model: nn.Module, path: Path, longest: int, *, free: bool = True) -> None:
    """Write a module from ids and mask (L, T) to vectors (L, D) as ONNX with a free L.

    Args:
        model: takes two int64 tensors, ids and mask.
        path: the file to write.
        longest: greatest T, in tokens.
        free: whether T may be less, from 2 on.
    """
    # Two phrases: one would be taken for a fixed number. One masked token: a mask of ones may be left out.
    length = min(8, longest - 1) if free else longest
    ids, mask = torch.ones((2, length), dtype=torch.int64), torch.ones((2, length), dtype=torch.int64)
    mask[1, -1] = 0
    sizes = {0: torch.export.Dim("batch")}
    if free:
        sizes[1] = torch.export.Dim("length", min=2, max=longest)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's remarks about itself
        torch.onnx.export(
            model,
            (ids, mask),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
            external_data=False,
            verbose=False,
        )
    strip_origin(path)
