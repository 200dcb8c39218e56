"""An exported ONNX file or a sentence encoder made smaller: its weights stored small. Knows no network.

Computing stays float32: ONNX Runtime widens the weights once, at load. So a smaller file costs no time per picture and,
unlike with ONNX Runtime's dynamic quantisation, a phrase has the same vector alone and in a batch. Needs onnx, from
`[train]`.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int8
from tokenizers import Tokenizer

from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import load_encoder, read_card
from tagprism.labels.encoders.sentence_encoder import MODEL_FILE, TOKENIZER_FILE

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise InputError(
        f"storing weights small needs the package {error.name}.",
        remedy='Install it with `pip install "tagprism[train]"`.',
    ) from error

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


def write_int8(source: Path, folder: Path) -> None:
    """Write the int8 form of an encoder folder, about a quarter of its size.

    Args:
        source: folder of a sentence encoder in float32.
        folder: an existing, empty folder.

    Raises:
        InputError: onnx is absent (on import of this module), or the encoder is a word table or int8 already.
    """
    card = read_card(source)
    if card.kind != "sentence" or card.precision != "fp32":
        raise InputError(f"the encoder {card.id} has no int8 form to be made.", where=str(source))
    store_small(source / MODEL_FILE, folder / MODEL_FILE, "int8")
    shutil.copyfile(source / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    card.model_copy(update={"precision": "int8"}).write(folder)


def own_words(folder: Path, n: int = 1000) -> list[str]:
    """The first n whole words that a sentence encoder's tokenizer knows: something to compare two forms of it on."""
    known = Tokenizer.from_file(str(folder / TOKENIZER_FILE)).get_vocab()
    named = sorted(known, key=known.__getitem__)
    whole = [word.removesuffix("</w>") for word in named if word.endswith("</w>")] or named  # CLIP marks whole words
    words = (word for word in whole if word.isascii() and word.isalpha())
    return [word for word in words if len(word) > 2][:n]


def cosines(one: Path, other: Path, phrases: Sequence[str]) -> tuple[float, float]:
    """Mean and smallest cosine between the vectors that two encoder folders give to the same phrases."""
    products = (load_encoder(one).encode(phrases) * load_encoder(other).encode(phrases)).sum(axis=1)
    return float(np.mean(products)), float(products.min())
