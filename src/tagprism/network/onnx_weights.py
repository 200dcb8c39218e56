"""An exported ONNX file made smaller: its weights stored small. Knows no network.

Computing stays float32: ONNX Runtime widens the weights once, at load. So a smaller file costs no time per picture and,
unlike with ONNX Runtime's dynamic quantisation, a phrase has the same vector alone and in a batch. Needs onnx, from
`[train]`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from jaxtyping import Float32, Int8
from onnx import TensorProto, helper, numpy_helper

_FEW = 1024  # numbers below which a tensor is not worth it


def store_small(source: Path, target: Path, form: Literal["fp16", "int8"]) -> None:
    """Store a network's weight matrices as halves, or as int8 with a scale per row or column.

    Args:
        source: an ONNX file. Tensors with one dimension, few numbers, or numbers that a half cannot hold stay.
        target: the file to write, possibly the same.
        form: `fp16` (relative error 5e-4 of a number) or `int8` (about 1 % of a row).
    """
    model = onnx.load(source)
    graph = model.graph
    inputs = {item.name for item in graph.input}  # an initializer of an input's name is a default that may be replaced
    kept, widening = [], []
    for tensor in graph.initializer:
        small = tensor.data_type == TensorProto.FLOAT and len(tensor.dims) >= 2 and math.prod(tensor.dims) >= _FEW
        values = numpy_helper.to_array(tensor) if small and tensor.name not in inputs else None
        if values is None or (form == "fp16" and np.abs(values).max() > np.finfo(np.float16).max):
            kept.append(tensor)
        elif form == "fp16":
            kept.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half"))
            widening.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
        else:
            numbers, scales = _rows_of_bytes(values)
            kept += [
                numpy_helper.from_array(numbers, f"{tensor.name}.byte"),
                numpy_helper.from_array(scales, f"{tensor.name}.scale"),
            ]
            widening += [
                helper.make_node("Cast", [f"{tensor.name}.byte"], [f"{tensor.name}.wide"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{tensor.name}.wide", f"{tensor.name}.scale"], [tensor.name]),
            ]
    nodes = [*widening, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def _rows_of_bytes(values: Float32[np.ndarray, ...]) -> tuple[Int8[np.ndarray, ...], Float32[np.ndarray, ...]]:
    """-127..127 and the scale that widens them, along the first or the last axis, whichever loses less."""
    found = []
    for axis in (0, values.ndim - 1):
        others = tuple(other for other in range(values.ndim) if other != axis)
        scales = np.abs(values).max(axis=others, keepdims=True) / np.float32(127)
        scales = np.where(scales > 0, scales, np.float32(1)).astype(np.float32)
        numbers = np.rint(values / scales).astype(np.int8)
        found.append((float(((numbers * scales - values) ** 2).sum()), axis, numbers, scales))
    _, _, numbers, scales = min(found, key=lambda one: one[:2])
    return numbers, scales
