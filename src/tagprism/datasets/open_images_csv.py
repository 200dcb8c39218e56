"""The image-level label files of Open Images, block by block: a row is never a Python object. Knows no pictures.

A file is CSV, perhaps in gzip, with the columns ImageID, Source, LabelName and Confidence in any order, and any others.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8, UInt64

from tagprism.errors import InputError

BLOCK = 2**22
"""Bytes that are looked at together."""

_AGAIN = "Download it again."
_COLUMNS = ("ImageID", "LabelName", "Confidence")
_WIDTH = 24  # longest label that is read; the longest of Open Images has 13 letters
_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
_SHIFTS = np.arange(60, -4, -4).astype(np.uint64)


@dataclass(frozen=True, eq=False)
class LabelBlock:
    """Some rows of a file.

    Args:
        first: number of the first row in the file, as editors count lines.
        images: (R,) numbers of the images.
        labels: (R,) places among the known labels, -1 for another label.
        confidences: (R,) from 0 to 1.
        unknown: a row (as editors count) with a label that is none of the known ones, and the label; or None.
    """

    first: int
    images: UInt64[np.ndarray, " R"]
    labels: Int32[np.ndarray, " R"]
    confidences: Float32[np.ndarray, " R"]
    unknown: tuple[int, str] | None


class KnownLabels:
    """Labels looked up many at a time.

    Args:
        labels: identifiers such as `/m/0hnnb`, each once.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        packed = np.asarray([label.encode() for label in labels], dtype=f"S{_WIDTH}")
        words = packed.view(np.uint64).reshape(len(labels), -1)
        hashes = _hashed(words)
        self._order = np.argsort(hashes)
        self._hashes, self._words = hashes[self._order], words[self._order]

    def places(self, words: UInt64[np.ndarray, "R 3"]) -> Int32[np.ndarray, " R"]:
        """Places of labels given as zero-padded bytes; -1 for others."""
        at = np.minimum(np.searchsorted(self._hashes, _hashed(words)), len(self._hashes) - 1)
        same = (self._words[at] == words).all(axis=1)
        return np.where(same, self._order[at], -1).astype(np.int32)


def read_label_file(path: Path, known: KnownLabels) -> Iterator[LabelBlock]:
    """Read a label file in blocks of some hundred thousand rows.

    Args:
        path: the file; with the ending `.gz` it is unpacked on the way.
        known: the labels that matter.

    Yields:
        Its rows in order.

    Raises:
        InputError: it cannot be read, has no rows, lacks a column, is cut off, or holds a row that is none; file and
            row are named.
    """
    try:
        with _opened(path) as file:
            header = file.readline()
            names = header.decode("utf-8-sig", "replace").strip().split(",")
            lacking = [name for name in _COLUMNS if name not in names]
            if lacking:
                what = f"its first row lacks the column {lacking[0]}."
                raise InputError(what, where=str(path), remedy="Give the file as Open Images publishes it.")
            yield from _blocks(file, path, names, known)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"the gzip file is cut off or damaged ({error}).", where=str(path), remedy=_AGAIN) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}).", where=str(path), remedy=_AGAIN) from error


def _opened(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _blocks(file: BufferedIOBase, path: Path, names: list[str], known: KnownLabels) -> Iterator[LabelBlock]:
    row, rest = 2, b""
    while block := file.read(BLOCK):
        whole, mark, left = (rest + block).rpartition(b"\n")
        rest = left
        if mark:
            found = _parsed(whole + mark, path, row, names, known)
            row += len(found.images)
            yield found
    if rest.strip():
        yield _parsed(rest + b"\n", path, row, names, known)
    elif row == 2:
        raise InputError("it has no rows.", where=str(path), remedy=_AGAIN)


def _parsed(text: bytes, path: Path, first: int, names: list[str], known: KnownLabels) -> LabelBlock:
    letters = np.frombuffer(text.replace(b"\r\n", b"\n"), np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    commas = np.flatnonzero(letters == ord(","))
    per_row = np.searchsorted(commas, ends) - np.searchsorted(commas, starts)
    if (per_row != len(names) - 1).any():
        raise _bad_row(letters, starts, ends, int(np.argmax(per_row != len(names) - 1)), path, first, "row")
    bounds = np.concatenate([starts[:, None] - 1, commas.reshape(len(ends), -1), ends[:, None]], axis=1)

    def field(name: str) -> tuple[Int64[np.ndarray, " R"], Int64[np.ndarray, " R"]]:
        column = names.index(name)
        return bounds[:, column] + 1, bounds[:, column + 1] - bounds[:, column] - 1

    def refuse(wrong: np.ndarray, kind: str) -> None:
        if wrong.any():
            raise _bad_row(letters, starts, ends, int(np.argmax(wrong)), path, first, kind)

    begin, length = field("ImageID")
    refuse(length != 16, "ImageID")
    digits = _HEX[letters[begin[:, None] + np.arange(16)]]
    refuse((digits == 255).any(axis=1), "ImageID")
    begin, length = field("LabelName")
    refuse((length < 4) | (length > _WIDTH), "LabelName")
    label_letters = _padded(letters, begin, length, _WIDTH)
    refuse((label_letters[:, 0] != ord("/")) | (label_letters[:, 2] != ord("/")), "LabelName")
    begin, length = field("Confidence")
    refuse((length < 1) | (length > 8), "Confidence")
    confidences = _numbers(_padded(letters, begin, length, 8))
    refuse(~((confidences >= 0) & (confidences <= 1)), "Confidence")
    places = known.places(label_letters.view(np.uint64))
    stranger = int(np.argmin(places)) if len(places) and places.min() < 0 else None
    unknown = None if stranger is None else (first + stranger, label_letters[stranger].tobytes().rstrip(b"\0").decode())
    images = (digits.astype(np.uint64) << _SHIFTS).sum(axis=1, dtype=np.uint64)
    return LabelBlock(first, images, places, confidences, unknown)


def _padded(
    letters: UInt8[np.ndarray, " all"], begin: Int64[np.ndarray, " R"], length: Int64[np.ndarray, " R"], width: int
) -> UInt8[np.ndarray, "R width"]:
    """Fields as rows of equal width, filled up with zeros."""
    reach = np.arange(width)
    at = np.minimum(begin[:, None] + reach, len(letters) - 1)
    return np.where(reach < length[:, None], letters[at], 0).astype(np.uint8)


def _numbers(fields: UInt8[np.ndarray, "R 8"]) -> Float32[np.ndarray, " R"]:
    """Numbers from their letters, each different one read once; NaN for what is no number."""
    different, which = np.unique(fields.view(np.uint64).ravel(), return_inverse=True)
    values = [_number(one.tobytes().rstrip(b"\0")) for one in different]
    return np.asarray(values, dtype=np.float32)[which]


def _number(text: bytes) -> float:
    try:
        return float("nan") if text.endswith(b".") else float(text)  # `0.` was cut off
    except ValueError:
        return float("nan")


def _hashed(words: UInt64[np.ndarray, "R 3"]) -> UInt64[np.ndarray, " R"]:
    odd = np.asarray([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    return np.asarray((words * odd).sum(axis=1, dtype=np.uint64))


def _bad_row(
    letters: np.ndarray, starts: np.ndarray, ends: np.ndarray, at: int, path: Path, first: int, kind: str
) -> InputError:
    text = letters[starts[at] : ends[at]].tobytes().decode("utf-8", "replace")[:80]
    what = f"the row '{text}' is cut off or has too many cells." if kind == "row" else f"its {kind} is wrong: '{text}'."
    return InputError(what, where=f"{path}, row {first + at}", remedy=_AGAIN)
