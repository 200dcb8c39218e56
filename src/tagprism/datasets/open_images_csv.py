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
_HEX = np.isin(np.arange(256), np.frombuffer(b"0123456789abcdefABCDEF", np.uint8))
_MASKS = np.where(np.arange(_WIDTH) < np.arange(_WIDTH + 1)[:, None], 255, 0).astype(np.uint8).view(np.uint64)
"""Row n keeps the first n letters of a field."""


@dataclass(frozen=True, eq=False)
class LabelBlock:
    """Some rows of a file.

    Args:
        first: number of the first row in the file, as editors count lines.
        images: (R,) numbers of the images.
        labels: (R,) numbers among the known labels, -1 for another label.
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

    def numbers(self, words: UInt64[np.ndarray, "R 3"]) -> Int32[np.ndarray, " R"]:
        """Numbers of labels given as zero-padded bytes; -1 for others."""
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
    letters = np.frombuffer(text.replace(b"\r\n", b"\n") + bytes(_WIDTH), np.uint8)  # windows end within it
    ends = np.flatnonzero(letters == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])

    def refuse(wrong: np.ndarray, kind: str) -> None:
        if wrong.any():
            at = int(np.argmax(wrong))
            row = text.replace(b"\r\n", b"\n")[starts[at] : ends[at]].decode("utf-8", "replace")[:80]
            cut = f"the row '{row}' is cut off or has too many cells."
            what = cut if kind == "row" else f"its {kind} is wrong: '{row}'."
            raise InputError(what, where=f"{path}, row {first + at}", remedy=_AGAIN)

    commas = np.flatnonzero(letters == ord(","))
    if len(commas) != len(ends) * (len(names) - 1):
        refuse(np.searchsorted(commas, ends) - np.searchsorted(commas, starts) != len(names) - 1, "row")
    inner = commas.reshape(len(ends), -1)
    refuse((inner[:, 0] < starts) | (inner[:, -1] > ends), "row")
    bounds = np.concatenate([starts[:, None] - 1, inner, ends[:, None]], axis=1)

    def field(name: str) -> tuple[Int64[np.ndarray, " R"], Int64[np.ndarray, " R"]]:
        column = names.index(name)
        return bounds[:, column] + 1, bounds[:, column + 1] - bounds[:, column] - 1

    begin, length = field("ImageID")
    refuse(length != 16, "ImageID")
    digits = _fields(letters, begin, 16)
    refuse(~_HEX[digits].all(axis=1), "ImageID")
    images = _hex_numbers(digits)
    begin, length = field("LabelName")
    refuse((length < 4) | (length > _WIDTH), "LabelName")
    label_letters = _fields(letters, begin, _WIDTH)
    refuse((label_letters[:, 0] != ord("/")) | (label_letters[:, 2] != ord("/")), "LabelName")
    words = label_letters.view(np.uint64) & _MASKS[length]
    numbers = known.numbers(words)
    begin, length = field("Confidence")
    refuse((length < 1) | (length > 8), "Confidence")
    confidences = _numbers(_fields(letters, begin, 8).view(np.uint64)[:, 0] & _MASKS[length, 0])
    refuse(~((confidences >= 0) & (confidences <= 1)), "Confidence")
    stranger = int(np.argmin(numbers)) if numbers.min() < 0 else None
    unknown = None if stranger is None else (first + stranger, words[stranger].tobytes().rstrip(b"\0").decode())
    return LabelBlock(first, images, numbers, confidences, unknown)


def _fields(letters: UInt8[np.ndarray, " all"], begin: Int64[np.ndarray, " R"], width: int) -> UInt8[np.ndarray, "R W"]:
    """The letters from some positions on, in rows of equal width."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(letters, width)[begin])


def _hex_numbers(digits: UInt8[np.ndarray, "R 16"]) -> UInt64[np.ndarray, " R"]:
    """Numbers of 16 hexadecimal digits, eight digits at a time in one word."""
    words = digits.view(">u8").astype(np.uint64)
    words = (words & 0x0F0F0F0F0F0F0F0F) + 9 * ((words >> 6) & 0x0101010101010101)  # letters have bit 6
    for shift, mask in ((4, 0x00FF00FF00FF00FF), (8, 0x0000FFFF0000FFFF), (16, 0x00000000FFFFFFFF)):
        words = (words | (words >> np.uint64(shift))) & np.uint64(mask)
    return np.asarray((words[:, 0] << 32) | words[:, 1])


def _numbers(fields: UInt64[np.ndarray, " R"]) -> Float32[np.ndarray, " R"]:
    """Numbers from their letters in one word, each different one read once; NaN for what is no number."""
    whole = fields - np.uint64(ord("0"))
    if (whole <= 1).all():  # as people's answers are written
        return whole.astype(np.float32)
    different, which = np.unique(fields, return_inverse=True)
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
