"""Readers of files of word vectors, in the formats that other programs write. Knows no encoder.

An npz is read in `word_table`, which also tells of all of them.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tagprism.errors import InputError
from tagprism.files import open_tensors
from tagprism.labels.encoders.fasttext_file import MAGIC as FASTTEXT_MAGIC
from tagprism.labels.encoders.fasttext_file import read_fasttext
from tagprism.labels.encoders.word_table import REMEDY, Found, numbers, text_list

_HEADER = re.compile(rb"\s*(\d+)[ \t]+(\d+)[ \t\r]*\n")


def reader_of(path: Path, start: bytes) -> Callable[[Path, mmap.mmap], Found]:
    """What reads a file, told by its first bytes."""
    if start.startswith(FASTTEXT_MAGIC):
        return read_fasttext
    if path.suffix == ".safetensors":
        return _read_safetensors
    if header := _HEADER.match(start):
        binary = re.search(rb"[\x00-\x08]", start[header.end() :])  # bytes that no text holds, and floats do
        return _read_word2vec if binary else _read_text
    return _read_text


def _read_text(path: Path, data: mmap.mmap) -> Found:
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
                f"row {number} is not a word and {size or 'some'} numbers.", where=str(path), remedy=REMEDY
            )
        words.append(" ".join(fields[:-size]))
        rows.append(vector)
    if header and len(words) != int(header[1]):
        raise InputError(f"its first row promises {int(header[1])} words; it holds {len(words)}.", where=str(path))
    return words, np.stack(rows) if rows else np.zeros((0, size), dtype=np.float32)


def _read_word2vec(path: Path, data: mmap.mmap) -> Found:
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


def _read_safetensors(path: Path, _: mmap.mmap) -> Found:
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        try:
            listed = {name: json.loads(metadata[name]) for name in ("labels", "names", "words") if name in metadata}
            listed |= json.loads(metadata.get("tagprism", "{}"))
        except (ValueError, TypeError) as error:
            raise InputError("the names in its metadata are no JSON list.", where=str(path)) from error
        names = next((listed[name] for name in ("labels", "names", "words") if name in listed), None)
        if names is None or "vectors" not in file.keys():  # noqa: SIM118
            raise InputError("wanted are an array `vectors` and the metadata `labels`.", where=str(path), remedy=REMEDY)
        return text_list(path, names), numbers(path, file.get_tensor("vectors"))
