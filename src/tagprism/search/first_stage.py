"""One small vector of each picture, by which candidates are found: the mean of its rows, and its shared numbers.

The numbers are 8-bit whole ones with a power of two for either part, multiplied by ONNX Runtime's product of whole
numbers: several times faster than any float product here, and as near as the mean in float32 (docs/scale.md).
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32, Int8, Int32, Int64, UInt8

from tagprism.bundle.record import Records, Shape
from tagprism.search.placed_file import PlacedFile, powers_of_two

_MATMUL = (
    bytes.fromhex(  # one node MatMulInteger: a (n, w) uint8, b (w, q) int8 -> o (n, q) int32; a test makes it anew
        "08093a620a180a01610a016212016f220d4d61744d756c496e74656765721201675a150a016112100a0e0802120a0a031201"
        "6e0a031201775a150a016212100a0e0803120a0a031201770a0312017162150a016f12100a0e0806120a0a0312016e0a0312"
        "017142040a00100d"
    )
)
_ZERO, _LARGEST = 128, 127  # a kept byte is the whole number and 128
_COARSE, _MOST = 64, 63  # a scoring vector is 64 * coarse + fine; above 64 some processors' sums of two overflow
_POWERS = np.exp2(np.arange(256) - 128.0).astype(np.float32)  # by the byte that is kept
_PART = 1 << 14  # pictures multiplied at once


FIRST_STAGE = 50_000
"""Pictures from which on an index looks for candidates first, by one vector a picture: the mean of its rows, and the
shared numbers. The records of the candidates decide."""


_CANDIDATES = 8000, 16  # at least, and for each picture that is wanted (docs/scale.md)


def candidates(limit: int, pictures: int) -> int | None:
    """How many candidates are looked for to find so many pictures; None where all records are looked at."""
    least, oversampling = _CANDIDATES
    wanted = max(least, oversampling * limit)
    return wanted if pictures >= max(FIRST_STAGE, 2 * wanted) else None


class FirstStage:
    """The small vectors of pictures, in a file by their places.

    Args:
        path: of the file; made when absent.
        shape: of the pictures' records.

    Raises:
        MachineError: the file cannot be read or written; by every method.
    """

    def __init__(self, path: Path, shape: Shape) -> None:
        self._dimension = shape.dimension
        self._file = PlacedFile(path, shape.width + 2)

    @property
    def size(self) -> int:
        """Number of places up to the last one that was ever written."""
        return len(self._file.items)

    def write(self, places: Int64[np.ndarray, " n"], records: Records) -> None:
        """Keep what records come down to; as `PlacedFile.write`."""
        parts, exponents = [], []
        for part in (records.rows.mean(axis=1), records.shared):
            scales = powers_of_two(part, _LARGEST)
            parts.append(np.rint(part / scales[:, None]))
            exponents.append(np.log2(scales))
        numbers = np.concatenate([*parts, np.stack(exponents, axis=1)], axis=1)
        self._file.write(places, (numbers + _ZERO).astype(np.uint8))

    def scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], places: Int64[np.ndarray, " n"] | None = None
    ) -> Float32[np.ndarray, "q n"]:
        """Scores of the pictures at some places, or at all, as near as the small vectors know them."""
        kept = self._file.items if places is None else self._file.items[places]
        columns, steps = _whole_numbers(scoring_vectors, self._dimension)
        offsets = _ZERO * columns.sum(axis=0, dtype=np.int32)
        found = np.zeros((len(scoring_vectors), len(kept)), np.float32)
        for start in range(0, len(kept), _PART):
            some = kept[start : start + _PART]
            products = (self._product(some, columns) - offsets).T.astype(np.float32)
            coarse, fine = products.reshape(2, 2, *found.shape[:1], -1).swapaxes(0, 1)  # (part, q, n) each
            for part in range(2):
                sums = (coarse[part] * np.float32(_COARSE) + fine[part]) * steps[part][:, None]
                found[:, start : start + _PART] += sums * _POWERS[some[:, part - 2]]
        return found

    def _product(self, kept: UInt8[np.ndarray, "n w"], columns: Int8[np.ndarray, "w c"]) -> Int32[np.ndarray, "n c"]:
        products: Int32[np.ndarray, "n c"] = self._session.run(None, {"a": kept, "b": columns})[0]
        return products

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads sleep
        return onnxruntime.InferenceSession(_MATMUL, options, providers=["CPUExecutionProvider"])


def _whole_numbers(
    scoring_vectors: Float32[np.ndarray, "q Q"], dimension: int
) -> tuple[Int8[np.ndarray, "w c"], Float32[np.ndarray, "2 q"]]:
    """Scoring vectors as columns of whole numbers, and how much 1 is in either part.

    Either part of a vector, the label vector and the rest, becomes two columns, coarse and fine, with nothing where the
    other part is and where the exponents are.
    """
    q, Q = scoring_vectors.shape
    columns, steps = np.zeros((Q + 2, 2, 2, q), np.int8), np.empty((2, q), np.float32)
    for at, part in enumerate((slice(0, dimension), slice(dimension, Q))):
        numbers = scoring_vectors[:, part].T  # (d, q)
        steps[at] = np.maximum(np.abs(numbers).max(axis=0), 1e-30) / (_COARSE * _MOST)
        whole = np.rint(numbers / steps[at])
        coarse = np.rint(whole / _COARSE)
        columns[part, at, 0], columns[part, at, 1] = coarse, whole - _COARSE * coarse
    return columns.reshape(Q + 2, -1), steps
