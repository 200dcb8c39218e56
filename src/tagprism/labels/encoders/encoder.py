"""Label encoders, phrase to vector, each a folder that needs no torch. Knows no label space and no training.

A folder holds `encoder.json` (an `EncoderCard`) with `words.safetensors` (a word table), or with `model.onnx` and
`tokenizer.json` (a sentence encoder). It can be copied anywhere, for example into a bundle's `text/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from tagprism.errors import InputError
from tagprism.labels.encoders.card import read_card
from tagprism.labels.encoders.sentence_encoder import MODEL_FILE, TOKENIZER_FILE, SentenceEncoder
from tagprism.labels.encoders.word_table import WORDS_FILE, WordTable


@runtime_checkable
class LabelEncoder(Protocol):
    """Turns phrases into vectors."""

    @property
    def id(self) -> str:
        """Name of the encoder."""

    @property
    def dimension(self) -> int:
        """Size of its vectors."""

    def encode(self, phrases: Sequence[str]) -> Float32[np.ndarray, "L D"]:
        """Unit vectors of L phrases; a row of zeros where the phrase is unknown."""

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        """Known words that are spelt like the unknown ones of a phrase; empty where every phrase is known."""


def load_encoder(folder: Path, *, source_digest: str | None = None) -> LabelEncoder:
    """Open an encoder folder; its weights are read when they are first needed.

    Args:
        folder: a folder made by `encoder_sources.encoder_folder`, or a copy of one.
        source_digest: digest that its card must name; None takes any.

    Returns:
        The encoder.

    Raises:
        InputError: the folder is not an encoder, a file of it is absent, or it has another source.
    """
    card = read_card(folder)
    if source_digest is not None and card.digest != source_digest:
        raise InputError(
            f"this encoder {card.id} was made from another source than the one the model was trained with.",
            where=str(folder),
            remedy="Copy the bundle again, or make the encoder from the same source.",
        )
    for name in (WORDS_FILE,) if card.kind == "words" else (MODEL_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise InputError(f"the encoder lacks its file {name}.", where=str(folder), remedy="Copy it whole.")
    return WordTable(folder, card) if card.kind == "words" else SentenceEncoder(folder, card)
