"""An encoder that looks words up in a table of word vectors. Knows no sentences and no label space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from rapidfuzz import process
from rapidfuzz.distance import OSA

from tagprism.errors import InputError
from tagprism.files import open_tensors, read_header, write_tensors
from tagprism.labels.encoders.encoder import EncoderCard, FolderEncoder, unit_rows
from tagprism.labels.phrases import SMALL_WORDS, normalise_phrase, spoken_phrase, word_parts, word_spellings

WORDS_FILE = "words.safetensors"
_KIND, _VERSION = "words", 1
_FREQUENT = 100_000  # nearest words are looked for among the first (the most frequent) ones: rarer ones are often typos
_ALIKE = 0.6  # below this similarity a word is no help to who mistyped another


@dataclass(frozen=True)
class Reading:
    """How a phrase was read.

    Args:
        rows: of the table; its vector is the mean of theirs. None: unknown.
        whole: whether the table has the phrase as one.
        left_out: words that the table lacks.
        respelled: words that it has in another spelling, with that.
    """

    rows: tuple[int, ...]
    whole: bool
    left_out: tuple[str, ...]
    respelled: tuple[tuple[str, str], ...]


class WordTable(FolderEncoder):
    """A table of word vectors, opened lazily: 400,000 words in about a quarter of a second.

    A phrase is normalised, without an identifier at its end, then looked up
    1. whole: as it is, with hyphens for spaces, with spaces for hyphens, and joined (underscores in a table's words
       count as spaces);
    2. else as the mean of the unit vectors of its words, each under the first of its spellings that is known
       (`phrases.word_spellings`), else as its parts (`phrases.word_parts`); words that are absent are left out;
    3. with none of its words known it is unknown: a row of zeros.

    Args:
        folder: the encoder's folder.
        card: its `encoder.json`.
    """

    def __init__(self, folder: Path, card: EncoderCard) -> None:
        super().__init__(folder, card)
        self._path = folder / WORDS_FILE

    @cached_property
    def _vectors(self) -> Any:
        """Memory-mapped (words, D) table: only the rows that are asked for are read."""
        table = self._file.get_slice("vectors")
        if table.get_shape() != [len(self.words), self.dimension]:
            wanted = f"({len(self.words)}, {self.dimension})"
            raise InputError(f"its table is {table.get_shape()}, not {wanted}.", where=str(self._path))
        return table

    @cached_property
    def _file(self) -> Any:
        file = open_tensors(self._path)
        read_header(file, self._path, _KIND, _VERSION)
        return file

    @cached_property
    def words(self) -> list[str]:
        """All known words, normalised, in the table's order (usually the most frequent first)."""
        blob: np.ndarray = self._file.get_tensor("words")
        return blob.tobytes().decode().split("\n")

    @cached_property
    def _rows(self) -> dict[str, int]:
        return dict(zip(self.words, range(len(self.words)), strict=True))

    def encode(self, phrases: Sequence[str]) -> Float32[np.ndarray, "L D"]:
        """Unit vectors of L phrases; a row of zeros where no word is known."""
        vectors = np.zeros((len(phrases), self.dimension), dtype=np.float32)
        for row, phrase in enumerate(phrases):
            known = self.read(phrase).rows
            if known:
                units = unit_rows(np.concatenate([self._vectors[at : at + 1] for at in known]).astype(np.float32))
                vectors[row] = units.mean(axis=0)
        return unit_rows(vectors)

    def read(self, phrase: str) -> Reading:
        """Find the rows that a phrase is the mean of, by the rules above."""
        text = spoken_phrase(phrase)
        parts = re.split("[ -]+", text)
        for whole in (text, "-".join(parts), " ".join(parts), "".join(parts)):
            if whole in self._rows:
                return Reading((self._rows[whole],), True, (), ())
        known: list[str] = []
        unknown: list[str] = []
        respelled: list[tuple[str, str]] = []
        for word in text.split():
            if not word_spellings(word):
                continue  # punctuation
            for piece in (word,) if self._spelling(word) else word_parts(word) or (word,):
                form = self._spelling(piece)
                if form is None:
                    unknown.append(piece)
                    continue
                known.append(form)
                if form != piece:
                    respelled.append((piece, form))
        return Reading(tuple(self._rows[form] for form in known), False, tuple(unknown), tuple(respelled))

    def _spelling(self, word: str) -> str | None:
        """The first known spelling of a word."""
        return next((form for form in word_spellings(word) if form in self._rows), None)

    def knows(self, phrase: str) -> bool:
        """Whether each word of a phrase is known but for small ones, or the phrase as one."""
        read = self.read(phrase)
        return bool(read.rows) and SMALL_WORDS.issuperset(read.left_out)

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        """Known words that are spelt like the unknown ones of a phrase.

        Args:
            phrase: any text.
            n: how many at most.

        Returns:
            Words, the most alike first, taking turns between several unknown words.
        """
        unknown = self.read(phrase).left_out
        frequent = self.words[:_FREQUENT]
        found = [
            [
                word
                for word, _, _ in process.extract(
                    word, frequent, scorer=OSA.normalized_similarity, limit=n, score_cutoff=_ALIKE
                )
            ]
            for word in unknown
        ]
        in_turns = (word for word in chain.from_iterable(zip_longest(*found)) if word)
        return list(dict.fromkeys(in_turns))[:n]


def write_word_table(folder: Path, card: EncoderCard, words: Sequence[str], vectors: Float[np.ndarray, "W D"]) -> None:
    """Write the folder of a word table.

    Words are normalised; words that vanish by it and words with a vector of zeros are left out; of words that become
    the same, the one that was spelt so already is kept, else the first.

    Args:
        folder: an existing folder.
        card: what it is.
        words: W words, the most frequent first.
        vectors: (W, D), kept in their own precision (float64 becomes float32).

    Raises:
        InputError: a vector holds NaN or infinity.
    """
    finite, nonzero = np.isfinite(vectors).all(axis=1), np.any(vectors, axis=1)
    if not np.all(finite):
        row = int(np.argmin(finite))
        raise InputError(f"the vector of `{words[row]}` (row {row + 1}) holds NaN or infinity.", where=card.source)
    rows: dict[str, int] = {}
    for row, word in enumerate(words):
        key = normalise_phrase(word)
        if key and nonzero[row] and (key not in rows or (word == key != words[rows[key]])):
            rows[key] = row
    if not rows:
        raise InputError("it holds no usable word.", where=card.source)
    keys = sorted(rows, key=rows.__getitem__)
    kept = vectors[[rows[key] for key in keys]]
    tensors = {
        "words": np.frombuffer("\n".join(keys).encode(), dtype=np.uint8),
        "vectors": kept if kept.dtype == np.float16 else kept.astype(np.float32),
    }
    write_tensors(folder / WORDS_FILE, _KIND, _VERSION, {}, tensors)
    card.write(folder)
