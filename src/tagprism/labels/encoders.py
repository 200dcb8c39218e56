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
from pydantic import ValidationError

from tagprism.errors import InputError
from tagprism.labels.encoder_card import CARD_FILE, EncoderCard
from tagprism.labels.sentence_encoder import MODEL_FILE, TOKENIZER_FILE, SentenceEncoder
from tagprism.labels.word_table import WORDS_FILE, WordTable


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


def load_encoder(folder: Path) -> LabelEncoder:
    """Open an encoder folder; its weights are read when they are first needed.

    Args:
        folder: a folder made by `encoder_sources.encoder_folder`, or a copy of one.

    Returns:
        The encoder.

    Raises:
        InputError: the folder is not an encoder, or a file of it is absent.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise InputError(f"not an encoder folder: it has no {CARD_FILE}.", where=str(folder))
    try:
        card = EncoderCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{place}: {first['msg']}.", where=str(path), remedy="Make the encoder again.") from error
    for name in (WORDS_FILE,) if card.kind == "words" else (MODEL_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise InputError(f"the encoder lacks its file {name}.", where=str(folder), remedy="Copy it whole.")
    return WordTable(folder, card) if card.kind == "words" else SentenceEncoder(folder, card)
