"""The int8 form of a sentence encoder: the same network with weights of one byte. Needs onnx, from `[train]`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import load_encoder, read_card
from tagprism.labels.encoders.sentence_encoder import MODEL_FILE, TOKENIZER_FILE

try:
    from tagprism.network.onnx_weights import store_small
except ImportError as error:
    raise InputError(
        f"making an int8 encoder needs the package {error.name}.",
        remedy='Install it with `pip install "tagprism[train]"`.',
    ) from error


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
