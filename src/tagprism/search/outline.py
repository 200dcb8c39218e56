"""An outline of the small vectors of a large index, in 128 bytes a picture: which of them are worth reading.

To read the small vectors of a million pictures takes longer than all else that a search does. Here lie their principal
components, weighed by how much scoring vectors ask of each direction, as 8-bit whole numbers. Their product with a
scoring vector is near enough to pass over most pictures (docs/scale.md). Knows no ids, no pictures, no records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int8, Int32, Int64, Real, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tagprism.files import machine_errors, replaced_whole
from tagprism.search.record_file import SlotFile

_COMPONENTS = 128
_SPAN = 4  # deviations of a component that its whole numbers reach
ZERO, LARGEST = 128, 127  # a kept byte is the whole number and 128
_MOST = 63  # of a scoring vector's numbers; above 64 some processors' sums of two overflow
_LEAST_ASKED, _FEW = 0.25, 60  # of the mean square counts for each number, and less where more than so many vectors ask
_PART = 1 << 16  # pictures multiplied at once
_SAMPLE = 5  # every how many pictures the best score is looked at, to find how high the best are

Product = Callable[[UInt8[np.ndarray, "n w"], Int8[np.ndarray, "w q"]], Int32[np.ndarray, "n q"]]
"""The product of whole numbers."""
Placed = Iterable[tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n W"]]]
"""Slots, and the numbers of the small vectors there."""


class Projection(NamedTuple):
    """How small vectors and scoring vectors become a few numbers whose product is near that of the whole.

    Args:
        pictures: (W, k) what makes whole numbers of a small vector.
        offset: (k,) what is taken from them.
        queries: (W, k) what makes numbers of a scoring vector.
        centre: (W,) mean of the small vectors; what it scores is the same for all pictures.
    """

    pictures: Float32[np.ndarray, "W k"]
    offset: Float32[np.ndarray, " k"]
    queries: Float32[np.ndarray, "W k"]
    centre: Float32[np.ndarray, " W"]

    @classmethod
    def fitted(cls, numbers: Float32[np.ndarray, "n W"], asked: Float32[np.ndarray, "q W"]) -> Projection:
        """The principal components of some small vectors, weighed by what some scoring vectors ask."""
        asked = asked.astype(np.float64)  # in float32 large numbers would overflow
        moments, few = asked.T @ asked / len(asked), np.sqrt(max(1.0, len(asked) / _FEW))
        moments += (_LEAST_ASKED / few * np.trace(moments) / len(moments) + 1e-12) * np.eye(len(moments))
        squares, axes = np.linalg.eigh(moments)
        root, inverse = (axes * squares**power @ axes.T for power in (0.5, -0.5))
        centre = numbers.mean(axis=0, dtype=np.float64)
        weighed = (numbers - centre) @ root
        variances, components = np.linalg.eigh(weighed.T @ weighed / len(weighed))
        variances, components = variances[::-1][:_COMPONENTS], components[:, ::-1][:, :_COMPONENTS]
        steps = _SPAN * np.sqrt(np.maximum(variances, 1e-12)) / LARGEST
        pictures, queries = root @ components / steps, inverse @ components * steps
        return cls(*(one.astype(np.float32) for one in (pictures, centre @ pictures, queries, centre)))


class Outline:
    """The outlines of pictures, in a file by their slots, and beside it how they are made.

    Args:
        path: of the file, which `made` has made.
        projection: by which it was made.
        product: of whole numbers.

    Raises:
        MachineError: a file cannot be read or written; by every method.
    """

    def __init__(self, path: Path, projection: Projection, product: Product) -> None:
        self._projection, self._product = projection, product
        self._file = SlotFile(path, len(projection.offset))

    @classmethod
    def opened(cls, path: Path, width: int, product: Product) -> Outline | None:
        """The outlines of small vectors of so many numbers; None where there are none, or what they were made by is
        damaged: then they are made again."""
        file = _projection_of(path)
        try:
            with machine_errors(path):
                projection = Projection(**load_file(file)) if file.is_file() else None
        except (SafetensorError, TypeError):
            return None
        k = 0 if projection is None else projection.offset.size
        if projection is None or [one.shape for one in projection] != [(width, k), (k,), (width, k), (width,)]:
            return None
        return cls(path, projection, product)

    @classmethod
    def made(cls, path: Path, projection: Projection, small: Placed, product: Product) -> Outline:
        """Make the file anew; how it was made is written last, so that an interrupted attempt is none."""
        with machine_errors(path):
            _projection_of(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        file = SlotFile(path, projection.pictures.shape[1])
        for slots, numbers in small:
            file.write(slots, _kept_bytes(numbers, projection))
        with machine_errors(path), replaced_whole(_projection_of(path)) as beside:
            save_file({name: np.ascontiguousarray(one) for name, one in projection._asdict().items()}, beside)
        return cls(path, projection, product)

    @property
    def size(self) -> int:
        """Number of slots up to the last one that was ever written."""
        return len(self._file.items)

    def write(self, slots: Int64[np.ndarray, " n"], numbers: Float32[np.ndarray, "n W"]) -> None:
        """Keep the outlines of small vectors, as `SlotFile.write`."""
        self._file.write(slots, _kept_bytes(numbers, self._projection))

    def scores(self, asked: Float32[np.ndarray, "q W"]) -> Int32[np.ndarray, "q n"]:
        """Whole numbers that rise with what the pictures at all slots likely score, for each scoring vector."""
        return self._products(self._columns(asked)[0])

    def estimates(self, asked: Float32[np.ndarray, "q W"]) -> Float32[np.ndarray, "q n"]:
        """What the pictures at all slots likely score, on the scale of the small vectors' scores."""
        columns, steps = self._columns(asked)
        found = self._products(columns).astype(np.float32)
        found -= ZERO * columns.sum(axis=0, dtype=np.float32)[:, None]
        found *= steps[:, None]
        found += (asked @ self._projection.centre)[:, None]
        return found

    def _columns(self, asked: Float32[np.ndarray, "q W"]) -> tuple[Int8[np.ndarray, "k q"], Float32[np.ndarray, " q"]]:
        """Scoring vectors as columns of whole numbers, and how much 1 is in each."""
        columns, steps = whole_columns((asked @ self._projection.queries).T)
        return np.ascontiguousarray(columns), steps

    def _products(self, columns: Int8[np.ndarray, "k q"]) -> Int32[np.ndarray, "q n"]:
        kept = self._file.items
        found = np.empty((columns.shape[1], len(kept)), np.int32)
        for start in range(0, len(kept), _PART):
            found[:, start : start + _PART] = self._product(kept[start : start + _PART], columns).T
        return found


def _projection_of(path: Path) -> Path:
    """The file that says how outlines are made."""
    return path.with_suffix(".safetensors")


def _kept_bytes(numbers: Float32[np.ndarray, "n W"], projection: Projection) -> UInt8[np.ndarray, "n k"]:
    whole = np.rint(numbers @ projection.pictures - projection.offset)
    items: UInt8[np.ndarray, "n k"] = (np.clip(whole, -LARGEST, LARGEST) + ZERO).astype(np.uint8)
    return items


def whole_columns(
    numbers: Float32[np.ndarray, "d q"],
) -> tuple[Int8[np.ndarray, "d q"], Float32[np.ndarray, " q"]]:
    """Scoring vectors, one a column, as whole numbers, and how much 1 is in each."""
    steps: Float32[np.ndarray, " q"] = np.maximum(np.abs(numbers).max(axis=0), 1e-30) / _MOST
    return np.rint(numbers / steps).astype(np.int8), steps


def nearly_best(scores: Real[np.ndarray, " n"], count: int) -> Int64[np.ndarray, " m"]:
    """Rising slots of half to twice so many of the best, by a bar that some of the scores set: quicker than exact."""
    some = scores[::_SAMPLE]
    last = len(some) - max(1, count // _SAMPLE)
    chosen = np.flatnonzero(scores >= np.partition(some, last)[last])
    if not count / 2 <= len(chosen) <= 2 * count:  # many are equal, or the best lie between those looked at
        return np.sort(best_slots(scores, count))
    return chosen


def best_slots(scores: Real[np.ndarray, " n"], count: int) -> Int64[np.ndarray, " count"]:
    """Where the best are, in any order."""
    best: Int64[np.ndarray, " count"] = np.argpartition(scores, -count)[-count:]
    return best
