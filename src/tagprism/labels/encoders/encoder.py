"""Label encoders, phrase to vector, each a folder that needs no torch. Knows no label space and no training.

A folder holds `encoder.json` (an `EncoderCard`) with `words.safetensors` (a word table), or with `model.onnx` and
`tokenizer.json` (a sentence encoder), or alone (the text network of a foreign model, which `bundle.referring` opens).
It can be copied anywhere, for example into a bundle's `text/`. A model finds its encoder there, in the cache, or in
this package. The vectors of a text network's phrases are kept beside it, in the cache (`CachedEncoder`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tagprism.errors import InputError, MachineError
from tagprism.files import cache_dir, digest_json, write_text
from tagprism.labels.phrases import spoken_phrase
from tagprism.sqlite_file import ByteCache

CARD_FILE = "encoder.json"
PACKAGED = Path(__file__).parents[2] / "bundles/encoders"
"""Encoders that this installation brings, each a folder of its name."""

HUB = "hf-hub:"


class ForeignReference(BaseModel):
    """A public CLIP or SigLIP, by its path and by the digests of its files.

    Args:
        name: `hf-hub:owner/name@commit[#form]`, or the absolute path of a folder, with `#form` after it.
        files: path in the model -> SHA-256, of all that decides what it computes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=4096)]
    files: Annotated[dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=1, max_length=1000)]

    @field_validator("name")
    @classmethod
    def _on_this_machine(cls, name: str) -> str:
        """Refuse a share of another machine, to which Windows would log in; a path of either system is kept."""
        absolute = Path(name).is_absolute() or PureWindowsPath(name).drive[1:] == ":"
        if not name.startswith(HUB) and (not absolute or name.startswith(("//", "\\\\"))):
            raise ValueError("must be hf-hub:owner/name or the absolute path of a folder on this machine")
        return name

    @property
    def on_hub(self) -> bool:
        """Whether it is a repository of the hub, not a folder."""
        return self.name.startswith(HUB)

    @property
    def digest(self) -> str:
        """SHA-256 over the files, wherever they lie."""
        return digest_json(self.files)


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

    def knows(self, phrase: str) -> bool:
        """Whether the vector of a phrase would stand for the whole of it."""

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        """Known words that are spelt like the unknown ones of a phrase; empty where every phrase is known."""


class EncoderCard(BaseModel):
    """What `encoder.json` says about an encoder folder.

    Args:
        id: name of the encoder, also a possible folder name.
        kind: `words` (a table of word vectors), `sentence` (a network) or `foreign` (one that lies elsewhere).
        dimension: size of its vectors.
        licence: licence of the weights.
        source: where they come from.
        digest: SHA-256 of the source, 64 hex digits.
        precision: how the weights are stored; `int8` computes in float32 too, with weights of one byte.
        foreign: the model whose text network it is; None for the other kinds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["tagprism.encoder"] = "tagprism.encoder"
    version: Literal[1] = 1
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    kind: Literal["words", "sentence", "foreign"]
    dimension: int = Field(gt=0)
    licence: str
    source: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    precision: Literal["fp32", "int8"] = "fp32"
    foreign: ForeignReference | None = None

    def write(self, folder: Path) -> None:
        """Write `encoder.json` into a folder."""
        write_text(folder / CARD_FILE, self.model_dump_json(indent=2, exclude_none=True) + "\n")


class FolderEncoder:
    """What encoders have in common whose folder holds all of them.

    Args:
        folder: holds the encoder.
        card: its `encoder.json`.
    """

    def __init__(self, folder: Path, card: EncoderCard) -> None:
        self.card, self._folder = card, folder

    @property
    def id(self) -> str:
        """Name of the encoder."""
        return self.card.id

    @property
    def dimension(self) -> int:
        """Size of its vectors."""
        return self.card.dimension


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


def load_encoder(
    folder: Path,
    *,
    source_digest: str | None = None,
    cached: bool = False,
    foreign: Callable[[Path, str | None], LabelEncoder] | None = None,
) -> LabelEncoder:
    """Open an encoder folder; its weights are read when they are first needed.

    Args:
        folder: a folder made by `encoder_sources.encoder_folder`, or a copy of one.
        source_digest: digest that its card must name; None takes any.
        cached: keep the vectors of phrases on disk.
        foreign: opens the folder of a foreign model, given the digest: `bundle.referring.foreign_encoder`.

    Returns:
        The encoder.

    Raises:
        InputError: the folder is not an encoder, a file of it is absent, or it has another source.
    """
    from tagprism.labels.encoders.sentence_encoder import MODEL_FILE, TOKENIZER_FILE, SentenceEncoder  # both kinds
    from tagprism.labels.encoders.word_table import WORDS_FILE, WordTable  # are built on this module

    card = read_card(folder)
    if card.kind == "foreign" and foreign is not None:
        return foreign(folder, source_digest)
    if source_digest is not None and card.digest != source_digest:
        raise InputError(
            f"this encoder {card.id} was made from another source than the one the model was trained with.",
            where=str(folder),
            remedy="Copy the bundle again, or make the encoder from the same source.",
        )
    if card.kind == "foreign":
        what = f"the encoder {card.id} is the text network of another model, which is not opened here."
        raise InputError(what, where=str(folder), remedy="Give `foreign=bundle.referring.foreign_encoder`.")
    for name in (WORDS_FILE,) if card.kind == "words" else (MODEL_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise InputError(f"the encoder lacks its file {name}.", where=str(folder), remedy="Copy it whole.")
    encoder = WordTable(folder, card) if card.kind == "words" else SentenceEncoder(folder, card)
    return CachedEncoder(encoder, f"{card.id}-{card.precision}-{card.digest[:16]}") if cached else encoder


class CachedEncoder:
    """An encoder whose vectors are kept in the user's cache; its network is loaded for new phrases only.

    The cache holds digests of phrases, not the phrases, and may be deleted at any time.

    Args:
        encoder: makes the vectors.
        file: name of the cache's file, another one for every encoder whose vectors differ.

    Raises:
        MachineError: the cache cannot be read; by `encode`.
    """

    def __init__(self, encoder: LabelEncoder, file: str) -> None:
        self._encoder, self._file = encoder, file

    @property
    def id(self) -> str:
        """Name of the encoder."""
        return self._encoder.id

    @property
    def dimension(self) -> int:
        """Size of its vectors."""
        return self._encoder.dimension

    @cached_property
    def _cache(self) -> ByteCache:
        return ByteCache(cache_dir("phrases") / f"{self._file}.sqlite", "phrases")

    def encode(self, phrases: Sequence[str]) -> Float32[np.ndarray, "L D"]:
        """Unit vectors of L phrases, normalised first; a row of zeros where a phrase is empty or unknown."""
        keys = list(map(_key, phrases))
        kept = {
            key: np.frombuffer(value, dtype="<f4")
            for key, value in self._cache.get(keys).items()
            if len(value) == 4 * self.dimension
        }
        new = {key: phrase for key, phrase in zip(keys, phrases, strict=True) if key not in kept}
        if new:
            made = dict(zip(new, self._encoder.encode(list(new.values())), strict=True))
            with suppress(MachineError):  # a full disk costs time, not the answer
                self._cache.put({key: vector.astype("<f4").tobytes() for key, vector in made.items()})
            kept |= made
        return np.stack([kept[key] for key in keys]) if keys else np.zeros((0, self.dimension), np.float32)

    def lacks(self, phrases: Sequence[str]) -> bool:
        """Whether the network is needed for any of these phrases."""
        keys = list(map(_key, phrases))
        return len(self._cache.sizes(keys)) < len(set(keys))

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        """Known words that are spelt like the unknown ones of a phrase; empty where every phrase is known."""
        return self._encoder.nearest_known(phrase, n)

    def knows(self, phrase: str) -> bool:
        """As the encoder's own."""
        return self._encoder.knows(phrase)


def _key(phrase: str) -> bytes:
    return hashlib.sha256(spoken_phrase(phrase).encode(errors="surrogatepass")).digest()


def find_encoder(encoder_id: str, digest: str) -> Path | None:
    """Look for an encoder by its id and the digest of its source.

    Args:
        encoder_id: as in the model's label space.
        digest: SHA-256 of the source, from the model's config.

    Returns:
        Its folder, the float32 form before int8; None where there is none.

    Raises:
        InputError: the card of an encoder with this id is damaged.
        MachineError: the cache cannot be used.
    """
    fitting = []
    for folder in _candidates(encoder_id):
        card = read_card(folder)
        if (card.id, card.digest) == (encoder_id, digest):
            fitting.append((card.precision != "fp32", folder))
    return min(fitting)[1] if fitting else None


def _candidates(encoder_id: str) -> Iterator[Path]:
    for card in sorted(cache_dir("encoders").glob(f"{encoder_id}-*/{CARD_FILE}")):
        yield card.parent
    if (PACKAGED / encoder_id / CARD_FILE).is_file():
        yield PACKAGED / encoder_id
