"""Names, paths and label columns of nine million pictures in little memory. Knows no data set and looks at no disk."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from jaxtyping import Int32, Int64, Integer, UInt64

Item = TypeVar("Item")
_KEY = re.compile(r"(.*/)([0-9a-f]{16})\.jpg")


class ImageIds(Sequence[str]):
    """Names such as `train/000060e3121c7305.jpg`, made from 64-bit numbers when they are asked for.

    9 million strings and their index would take 1.5 gigabytes.

    Args:
        parts: (folder, numbers) each; a folder ends with `/`, its numbers ascend strictly.
    """

    def __init__(self, parts: Sequence[tuple[str, UInt64[np.ndarray, " _"]]]) -> None:
        self.parts = tuple((folder, numbers) for folder, numbers in parts if len(numbers))

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(numbers) for _, numbers in self.parts)]

    def __len__(self) -> int:
        """Number of names."""
        return self._starts[-1]

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> ImageIds: ...
    def __getitem__(self, position: int | slice) -> str | ImageIds:
        """Name at a position, or the names of a slice without step."""
        if isinstance(position, slice):
            begin, stop, _ = position.indices(len(self))
            bounds = zip(self.parts, self._starts, strict=False)
            return ImageIds([(name, numbers[max(0, begin - at) : max(0, stop - at)]) for (name, numbers), at in bounds])
        position = range(len(self))[position]
        part = bisect_right(self._starts, position) - 1
        folder, numbers = self.parts[part]
        return f"{folder}{int(numbers[position - self._starts[part]]):016x}.jpg"

    def __iter__(self) -> Iterator[str]:
        """Yield every name."""
        for folder, numbers in self.parts:
            for begin in range(0, len(numbers), 4096):
                yield from (f"{folder}{number:016x}.jpg" for number in numbers[begin : begin + 4096].tolist())

    def row(self, key: str) -> int | None:
        """Position of a name, or None."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        number = np.uint64(int(found[2], 16))
        for (folder, numbers), start in zip(self.parts, self._starts, strict=False):
            at = int(np.searchsorted(numbers, number))
            if folder == found[1] and at < len(numbers) and numbers[at] == number:
                return start + at
        return None

    def __contains__(self, key: object) -> bool:
        """Whether it is one of the names."""
        return isinstance(key, str) and self.row(key) is not None


class PackedNames(Sequence[str]):
    """Any names, kept as one string of bytes; nine million `str` and their index would take 1.5 gigabytes.

    Args:
        names: N names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        """Number of names."""
        return len(self._ends) - 1

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> PackedNames: ...
    def __getitem__(self, position: int | slice) -> str | PackedNames:
        """Name at a position, or the names of a slice."""
        if isinstance(position, slice):
            return PackedNames([self[one] for one in range(len(self))[position]])
        position = range(len(self))[position]
        return self._bytes[self._ends[position] : self._ends[position + 1]].decode("utf-8", "surrogatepass")

    @cached_property
    def _by_number(self) -> tuple[UInt64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
        """The hashes of all names, rising, and whose they are."""
        numbers = np.fromiter(map(_number_of, self), np.uint64, len(self))
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order

    def row(self, key: str) -> int | None:
        """Position of a name, or None."""
        numbers, order = self._by_number
        at = int(np.searchsorted(numbers, number := _number_of(key)))
        while at < len(numbers) and numbers[at] == number:
            if self[int(order[at])] == key:
                return int(order[at])
            at += 1
        return None

    def __contains__(self, key: object) -> bool:
        """Whether it is one of the names."""
        return isinstance(key, str) and self.row(key) is not None

    def twice(self) -> tuple[int, int] | None:
        """The positions of two equal names, or None."""
        numbers, order = self._by_number
        for at in np.flatnonzero(numbers[1:] == numbers[:-1]).tolist():
            first, second = sorted((int(order[at]), int(order[at + 1])))
            if self[first] == self[second]:
                return first, second
        return None


def _number_of(name: str) -> np.uint64:
    """64 bits of a name's hash, the same in every process."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


@dataclass(frozen=True)
class FilesBelow(Sequence[Path]):
    """Paths made when they are asked for; nine million `Path` objects would take gigabytes.

    Args:
        root: folder of all the files.
        keys: names below it, with forward slashes.
    """

    root: Path
    keys: Sequence[str]

    def __len__(self) -> int:
        """Number of files."""
        return len(self.keys)

    @overload
    def __getitem__(self, position: int) -> Path: ...
    @overload
    def __getitem__(self, position: slice) -> FilesBelow: ...
    def __getitem__(self, position: int | slice) -> Path | FilesBelow:
        """Path at one place, or the files of a slice."""
        return (
            FilesBelow(self.root, self.keys[position])
            if isinstance(position, slice)
            else self.root / self.keys[position]
        )


@dataclass(frozen=True)
class Ragged:
    """A list of integer rows of different lengths, such as the labels of each picture, stored end to end.

    Args:
        starts: (N+1,) row i is `columns[starts[i]:starts[i+1]]`; begins with 0, never falls.
        columns: all rows one after the other.
    """

    starts: Int64[np.ndarray, " N1"]
    columns: Int32[np.ndarray, " values"]

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> Ragged:
        """Store rows of integers."""
        lengths: list[int] = []
        columns: list[int] = []
        for row in rows:
            lengths.append(len(row))
            columns.extend(row)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        return cls(starts, np.asarray(columns, dtype=np.int32))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Int32[np.ndarray, " values"]:
        """Values of one row."""
        return self.columns[self.starts[row] : self.starts[row + 1]]

    def gather(
        self, rows: Integer[np.ndarray, " R"]
    ) -> tuple[Int64[np.ndarray, " values"], Int32[np.ndarray, " values"]]:
        """Values of several rows, in the order asked.

        Returns:
            owners: for each value, which of the asked rows (0..R-1) it belongs to; values: the values.
        """
        begin = self.starts[rows]
        lengths = self.starts[rows + 1] - begin
        owners = np.repeat(np.arange(len(rows), dtype=np.int64), lengths)
        before = np.cumsum(lengths) - lengths
        return owners, self.columns[np.arange(len(owners)) + np.repeat(begin - before, lengths)]


@dataclass(frozen=True)
class Picked(Sequence[Item]):
    """Some items of many, without a list of them: files, or names.

    Args:
        items: all of them.
        rows: (n,) positions of those picked.
    """

    items: Sequence[Item]
    rows: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.rows)

    @overload
    def __getitem__(self, position: int) -> Item: ...
    @overload
    def __getitem__(self, position: slice) -> Picked[Item]: ...
    def __getitem__(self, position: int | slice) -> Item | Picked[Item]:
        """Item at one place, or the items of a slice."""
        rows = self.rows[position]
        return Picked(self.items, rows) if isinstance(position, slice) else self.items[int(rows)]


def as_known(names: list[str], known: Iterable[str]) -> list[str]:
    """Names as a data set has them: with accents of one piece or of two, whichever way they are written."""
    if all(map(str.isascii, names)):
        return names
    accented = {name for name in known if not name.isascii()}
    composed = {unicodedata.normalize("NFC", name): name for name in accented}
    return [name if name in accented else composed.get(unicodedata.normalize("NFC", name), name) for name in names]
