"""The card of an encoder folder: what the encoder is and where it comes from. Knows no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagprism.errors import InputError
from tagprism.files import write_text

CARD_FILE = "encoder.json"


class EncoderCard(BaseModel):
    """What `encoder.json` says about an encoder folder.

    Args:
        id: name of the encoder, also a possible folder name.
        kind: `words` (a table of word vectors) or `sentence` (a network).
        dimension: size of its vectors.
        licence: licence of the weights.
        source: where they come from.
        digest: SHA-256 of the source, 64 hex digits.
        precision: how the weights are stored; `int8` computes in float32 too, with weights of one byte.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["tagprism.encoder"] = "tagprism.encoder"
    version: Literal[1] = 1
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    kind: Literal["words", "sentence"]
    dimension: int = Field(gt=0)
    licence: str
    source: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    precision: Literal["fp32", "int8"] = "fp32"

    def write(self, folder: Path) -> None:
        """Write `encoder.json` into a folder."""
        write_text(folder / CARD_FILE, self.model_dump_json(indent=2) + "\n")


def read_card(folder: Path) -> EncoderCard:
    """Read `encoder.json` of a folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise InputError(f"not an encoder folder: it has no {CARD_FILE}.", where=str(folder))
    try:
        return EncoderCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{field}: {first['msg']}.", where=str(path), remedy="Make the encoder again.") from error


def unit_rows(vectors: Float32[np.ndarray, "L D"]) -> Float32[np.ndarray, "L D"]:
    """Rows scaled to length one; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
