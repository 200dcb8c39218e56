"""A bundle's network in a smaller form: halves, or int8 convolutions. Knows ONNX graphs and pixels; needs `[train]`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from jaxtyping import Float32
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from tagprism.errors import InputError
from tagprism.files import replaced_whole
from tagprism.network.onnx_weights import store_small

_FIRST = 3  # convolutions that stay in float32: few weights, and the widest range of values between channels
_ACTIVATIONS = ("Clip", "Relu")
_ERRORS, _WARNINGS = 3, 2  # what ONNX Runtime writes to stderr by itself; the latter is its default


def quantise_network(
    source: Path, target: Path, form: Literal["fp16", "int8"], pixels: Iterable[Float32[np.ndarray, "B 3 H W"]] = ()
) -> None:
    """Write a smaller form of a network; every output and optional input is kept.

    `fp16` stores the weight matrices as halves and computes in float32. `int8` computes the convolutions, and the
    activations and sums between them, in int8 (per output channel, ranges from the given pictures); the head and all
    that follows stay float32, stored as halves, so that what two outputs say about one picture still fits together.

    Args:
        source: `model.onnx` in float32.
        target: file to write.
        form: `fp16` or `int8`.
        pixels: for `int8`: batches of prepared pictures to take the ranges of the activations from.

    Raises:
        InputError: `int8` of a network without convolutions, or whose activations the quantiser does not understand.
    """
    with replaced_whole(target) as beside:
        if form == "int8":
            _quantise_convolutions(source, beside, pixels)
        store_small(beside if form == "int8" else source, beside, "fp16")


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Batches of pixels as the quantiser asks for them."""

    def __init__(self, pixels: Iterable[Float32[np.ndarray, "B 3 H W"]], name: str) -> None:
        self._batches, self._name = iter(pixels), name

    def get_next(self) -> dict[str, np.ndarray] | None:
        """One batch, or None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def _quantise_convolutions(source: Path, target: Path, pixels: Iterable[Float32[np.ndarray, "B 3 H W"]]) -> None:
    model = onnx.load(source)
    # The exporter has folded what can be folded; without this mark the quantiser prints advice to do so.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"  # nodes are chosen by name
    chosen = _trunk(model.graph)
    if not chosen:
        raise InputError("has too few convolutions to gain from int8.", where=str(source), remedy="Use fp16.")
    onnxruntime.set_default_logger_severity(_ERRORS)  # it warns of `asked`, which is meant to be an input
    try:
        quantize_static(
            model,
            target,
            _Pictures(pixels, model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Unsigned times signed is the pair that x86 multiplies fastest; unsigned weights took four times as long.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=chosen,
            calibrate_method=CalibrationMethod.MinMax,
        )
    except (ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"onnxruntime cannot quantise it ({error}).", where=str(source), remedy="Use --precision fp16."
        ) from error
    finally:
        onnxruntime.set_default_logger_severity(_WARNINGS)


def _trunk(graph: Any) -> list[str]:
    """Names of the convolutions but the first, and of the activations and sums on the way to one or right behind one.

    What follows the backbone (the head, the moments of an image's scores) holds such nodes too: int8 would harm them.
    """
    makers = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    leading: set[str] = set()
    waiting = list(convolutions)
    while waiting:
        for name in waiting.pop().input:
            maker = makers.get(name)
            if maker is not None and maker.name not in leading:
                leading.add(maker.name)
                waiting.append(maker)
    kept = {node.name for node in itertools.islice(convolutions, _FIRST)}
    behind = {node.name for node in graph.node if any(_is(makers.get(name), "Conv") for name in node.input)}
    return [
        node.name
        for node in graph.node
        if node.name not in kept
        and (
            node.op_type == "Conv"
            or (node.op_type == "Add" and node.name in leading)
            or (node.op_type in _ACTIVATIONS and node.name in leading | behind)
        )
    ]


def _is(node: Any, kind: str) -> bool:
    return node is not None and node.op_type == kind
