"""Vectors of phrases, kept on disk by encoder, as a text network takes milliseconds for each. Knows no networks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tagprism.errors import MachineError
from tagprism.files import cache_dir
from tagprism.labels.encoders.encoder import LabelEncoder, load_encoder, read_card
from tagprism.labels.phrases import spoken_phrase
from tagprism.sqlite_file import ByteCache


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

    @classmethod
    def of_folder(cls, folder: Path, *, source_digest: str | None = None) -> CachedEncoder:
        """Open an encoder folder; arguments and errors as for `load_encoder`."""
        encoder, card = load_encoder(folder, source_digest=source_digest), read_card(folder)
        return cls(encoder, f"{card.id}-{card.precision}-{card.digest[:16]}")

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
