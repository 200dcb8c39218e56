"""A file of items of equal size in places 0, 1, ..., mapped into memory to be read. Knows bytes alone."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from tagprism.files import machine_errors


class PlacedFile:
    """Items by their places. Threads may read while one of them writes to places that none reads.

    Args:
        path: of the file; made when absent.
        size: of an item, in bytes.

    Attributes:
        items: (places, size) all bytes that are there, read-only; another array after every writing.

    Raises:
        MachineError: the file cannot be read or written, or the disk is full; by every method.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        with machine_errors(path):
            path.touch()
            self.items = self._mapped()

    def _mapped(self) -> UInt8[np.ndarray, "places size"]:
        shape = self._path.stat().st_size // self._size, self._size
        return np.memmap(self._path, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8)

    def write(self, places: Int64[np.ndarray, " n"], items: UInt8[np.ndarray, "n size"]) -> None:
        """Write items to places; they are on the disk when it returns. New places follow the last one."""
        with machine_errors(self._path), self._path.open("r+b", buffering=0) as file:
            for run in np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) != 1) + 1):
                if len(run):
                    file.seek(int(places[run[0]]) * self._size)
                    _write_all(file, items[run[0] : run[-1] + 1].tobytes())
            os.fsync(file.fileno())
            self.items = self._mapped()


def _write_all(file: FileIO, data: bytes) -> None:
    """Write bytes to a file without a buffer, which may take them in parts."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def powers_of_two(numbers: Float[np.ndarray, "n ..."], largest: int) -> Float32[np.ndarray, " n"]:
    """For each picture the least power of two by which its numbers become whole ones up to the largest."""
    most = np.abs(numbers).reshape(len(numbers), -1).max(axis=1)
    scales: Float32[np.ndarray, " n"]
    scales = np.exp2(np.ceil(np.log2(np.maximum(most, 2.0**-100) / largest))).astype(np.float32)
    return scales
