"""An encoder that looks words up in a table of word vectors, and how a file becomes one.

Knows no sentences and no label space.
"""

from __future__ import annotations

import mmap
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, TypeAlias

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
Found: TypeAlias = tuple[list[str], np.ndarray]  # as the file says: not yet checked to fit together
REMEDY = (
    "Give GloVe or word2vec text, word2vec or fastText binary, or npz or safetensors with `labels` and `vectors`; "
    "unpack .gz and .zip files first."
)


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


def read_word_file(path: Path) -> tuple[list[str], Float[np.ndarray, "W D"]]:
    """Read word vectors; the format is told by the content.

    - GloVe text: `word number number ...` per line; a word, but for the first one, may hold spaces.
    - word2vec and fastText text (`.vec`): the same after a line with the count and the size.
    - word2vec binary: that line, then per word its name, a space and float32 numbers.
    - fastText binary (`.bin`): the vectors that fastText itself gives its words, subwords included.
    - npz: arrays `labels` (or `names`, `words`) and `vectors`.
    - safetensors: an array `vectors`; the names as a JSON list in the metadata `labels` (or `names`, `words`), or a
      vocabulary of this program.

    Args:
        path: the file.

    Returns:
        W words in file order and their vectors (W, D).

    Raises:
        InputError: the file is absent, empty, of no known format, or damaged; the file and the row are named.
    """
    if not path.is_file():
        raise InputError("there is no such file of word vectors.", where=str(path))
    if path.stat().st_size == 0:
        raise InputError("the file is empty.", where=str(path), remedy=REMEDY)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data[:65536]
        if start.startswith(b"PK\x03\x04"):
            words, vectors = _read_npz(path)
        else:
            from tagprism.labels.encoders.word_files import reader_of  # built on this module

            words, vectors = reader_of(path, start)(path, data)
    if vectors.ndim != 2 or vectors.shape[1] == 0 or len(words) != len(vectors) or not words:
        shape = f"{len(words)} words and an array of shape {vectors.shape}"
        raise InputError(f"{shape} do not fit together.", where=str(path), remedy=REMEDY)
    return words, vectors


def _read_npz(path: Path) -> Found:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = next((name for name in ("labels", "names", "words") if name in file.files), None)
            if names is None or "vectors" not in file.files:
                raise InputError(
                    f"it holds {', '.join(file.files) or 'nothing'}; wanted are `labels` and `vectors`.",
                    where=str(path),
                    remedy=REMEDY,
                )
            return text_list(path, file[names].tolist()), numbers(path, file["vectors"])
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"not a readable npz file ({error}).", where=str(path), remedy=REMEDY) from error


def text_list(path: Path, names: Any) -> list[str]:
    """Words that a file gives, refused where they are no list of texts."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("its names are not a list of texts.", where=str(path), remedy=REMEDY)
    return names


def numbers(path: Path, vectors: Any) -> np.ndarray:
    """Vectors that a file gives, refused where they are no floating-point numbers."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind != "f":
        raise InputError("its vectors are not floating-point numbers.", where=str(path), remedy=REMEDY)
    return vectors
