"""Readers of files of word vectors, in the formats that people have. Knows no encoder."""

from __future__ import annotations

import json
import mmap
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from tagprism.errors import InputError
from tagprism.files import open_tensors
from tagprism.labels.encoders.fasttext_file import MAGIC as FASTTEXT_MAGIC
from tagprism.labels.encoders.fasttext_file import read_fasttext

_Found: TypeAlias = tuple[list[str], np.ndarray]  # as the file says: not yet checked to fit together
_REMEDY = (
    "Give GloVe or word2vec text, word2vec or fastText binary, or npz or safetensors with `labels` and `vectors`; "
    "unpack .gz and .zip files first."
)
_HEADER = re.compile(rb"\s*(\d+)[ \t]+(\d+)[ \t\r]*\n")


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
        raise InputError("the file is empty.", where=str(path), remedy=_REMEDY)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        words, vectors = _reader(path, data[:65536])(path, data)
    if vectors.ndim != 2 or vectors.shape[1] == 0 or len(words) != len(vectors) or not words:
        shape = f"{len(words)} words and an array of shape {vectors.shape}"
        raise InputError(f"{shape} do not fit together.", where=str(path), remedy=_REMEDY)
    return words, vectors


def _reader(path: Path, start: bytes) -> Callable[[Path, mmap.mmap], _Found]:
    if start.startswith(b"PK\x03\x04"):
        return _read_npz
    if start.startswith(FASTTEXT_MAGIC):
        return read_fasttext
    if path.suffix == ".safetensors":
        return _read_safetensors
    if header := _HEADER.match(start):
        binary = re.search(rb"[\x00-\x08]", start[header.end() :])  # bytes that no text holds, and floats do
        return _read_word2vec if binary else _read_text
    return _read_text


def _read_text(path: Path, data: mmap.mmap) -> _Found:
    header = _HEADER.match(data)
    size = int(header[2]) if header else 0
    words: list[str] = []
    rows: list[np.ndarray] = []
    data.seek(header.end() if header else 0)
    for number, line in enumerate(iter(data.readline, b""), start=2 if header else 1):
        fields = line.decode(errors="replace").rstrip(" \r\n").split(" ")
        if fields == [""]:
            continue
        size = size or len(fields) - 1
        try:
            vector = np.array(fields[-size:], dtype=np.float32)
        except ValueError:
            vector = np.zeros(0, dtype=np.float32)
        if len(fields) <= size or len(vector) != size or size == 0:
            raise InputError(
                f"row {number} is not a word and {size or 'some'} numbers.", where=str(path), remedy=_REMEDY
            )
        words.append(" ".join(fields[:-size]))
        rows.append(vector)
    if header and len(words) != int(header[1]):
        raise InputError(f"its first row promises {int(header[1])} words; it holds {len(words)}.", where=str(path))
    return words, np.stack(rows) if rows else np.zeros((0, size), dtype=np.float32)


def _read_word2vec(path: Path, data: mmap.mmap) -> _Found:
    header = _HEADER.match(data)
    assert header is not None
    count, size = int(header[1]), int(header[2])
    if count * (4 * size + 2) > len(data):
        raise InputError(f"its first row promises {count} words of {size} numbers; it is too short.", where=str(path))
    words: list[str] = []
    vectors = np.empty((count, size), dtype=np.float32)
    at = header.end()
    for row in range(count):
        space = data.find(b" ", at)
        if space < 0 or space + 1 + 4 * size > len(data):
            raise InputError(f"it ends in word {row + 1} of {count}.", where=str(path), remedy="Fetch it again.")
        words.append(data[at:space].decode(errors="replace").strip("\n"))
        at = space + 1 + 4 * size
        vectors[row] = np.frombuffer(data[space + 1 : at], dtype="<f4")
    return words, vectors


def _read_npz(path: Path, _: mmap.mmap) -> _Found:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = next((name for name in ("labels", "names", "words") if name in file.files), None)
            if names is None or "vectors" not in file.files:
                raise InputError(
                    f"it holds {', '.join(file.files) or 'nothing'}; wanted are `labels` and `vectors`.",
                    where=str(path),
                    remedy=_REMEDY,
                )
            return _text_list(path, file[names].tolist()), _numbers(path, file["vectors"])
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"not a readable npz file ({error}).", where=str(path), remedy=_REMEDY) from error


def _read_safetensors(path: Path, _: mmap.mmap) -> _Found:
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        try:
            listed = {name: json.loads(metadata[name]) for name in ("labels", "names", "words") if name in metadata}
            listed |= json.loads(metadata.get("tagprism", "{}"))
        except (ValueError, TypeError) as error:
            raise InputError("the names in its metadata are no JSON list.", where=str(path)) from error
        names = next((listed[name] for name in ("labels", "names", "words") if name in listed), None)
        if names is None or "vectors" not in file.keys():  # noqa: SIM118
            raise InputError(
                "wanted are an array `vectors` and the metadata `labels`.", where=str(path), remedy=_REMEDY
            )
        return _text_list(path, names), _numbers(path, file.get_tensor("vectors"))


def _text_list(path: Path, names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("its names are not a list of texts.", where=str(path), remedy=_REMEDY)
    return names


def _numbers(path: Path, vectors: Any) -> np.ndarray:
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind != "f":
        raise InputError("its vectors are not floating-point numbers.", where=str(path), remedy=_REMEDY)
    return vectors
