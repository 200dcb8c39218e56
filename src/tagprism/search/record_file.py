"""Records of pictures in a file of fixed slots: their exact scores, and whose record is where. Knows no engine.

A record is kept as float32, or as 16-bit whole numbers and two powers of two, for its rows and its shared numbers: as
many bytes as float16, nearer to the truth, and widened several times faster.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8
from threadpoolctl import ThreadpoolController

from tagprism.bundle.record import Records, Shape, largest_similarity
from tagprism.files import machine_errors, replaced_whole
from tagprism.rename import sync_folder

RECORDS, _SLOTS = "records.bin", "places.npy"  # files in the folder of what is kept of the pictures
_LARGEST = 2**15 - 1
_BLOCK, _PART = 128, 4096  # records widened at once, so that they stay in the processor's cache; those a thread takes
_CLIP = 2.0**100  # no sum of products overflows


class SlotFile:
    """Items by their slots. Threads may read while one of them writes to slots that none reads.

    Args:
        path: of the file; made when absent.
        size: of an item, in bytes.

    Attributes:
        items: (slots, size) all bytes that are there, read-only; another array after every writing.

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

    def write(self, slots: Int64[np.ndarray, " n"], items: UInt8[np.ndarray, "n size"]) -> None:
        """Write items to slots; they are on the disk when it returns. New slots follow the last one."""
        with machine_errors(self._path), self._path.open("r+b", buffering=0) as file:
            for run in np.split(np.arange(len(slots)), np.flatnonzero(np.diff(slots) != 1) + 1):
                if len(run):
                    file.seek(int(slots[run[0]]) * self._size)
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


StorageName = Literal["float32", "half"]
_Slots = Int64[np.ndarray, " n"]


class Form:
    """How a record is written as bytes, and read again.

    Args:
        shape: of a record.
        storage: `float32`, or `half` for 16-bit whole numbers.

    Attributes:
        dtype: of a record.
        size: of a record, in bytes.
    """

    def __init__(self, shape: Shape, storage: StorageName) -> None:
        self._whole = storage == "half"
        number = "<i2" if self._whole else "<f4"
        M, D, S = shape
        self.dtype = np.dtype([("scales", "<f4", (2,)), ("shared", number, (S,)), ("rows", number, (M, D))])
        self.size = self.dtype.itemsize

    def encoded(self, records: Records) -> UInt8[np.ndarray, "n size"]:
        """The bytes of records."""
        values = np.ones(len(records), self.dtype)
        for column, name in enumerate(("shared", "rows")):
            array = np.clip(getattr(records, name), -_CLIP, _CLIP)
            if self._whole:
                scales = values["scales"][:, column] = powers_of_two(array, _LARGEST)
                array = np.rint(array / scales.reshape(-1, *(1,) * (array.ndim - 1)))
            values[name] = array
        return values.view(np.uint8).reshape(len(values), self.size)

    def decoded(self, items: UInt8[np.ndarray, "n size"]) -> Records:
        """Records as float32; encoded again they are the same bytes."""
        kept = items.view(self.dtype)[:, 0]
        shared, rows = (kept["scales"][:, column] for column in (0, 1))
        return Records(
            kept["rows"].astype(np.float32) * rows[:, None, None], kept["shared"].astype(np.float32) * shared[:, None]
        )


class RecordFile:
    """Records by their slots. Threads may read while one of them writes to slots that none reads.

    Args:
        path: of the file; made when absent.
        shape: of a record.
        storage: as for `Form`.

    Attributes:
        shape: as given.
        file: the records' bytes.

    Raises:
        MachineError: the file cannot be read or written, or the disk is full; by every method.
    """

    def __init__(self, path: Path, shape: Shape, storage: StorageName) -> None:
        self.shape, self._form = shape, Form(shape, storage)
        self.file = SlotFile(path, self._form.size)

    @property
    def size(self) -> int:
        """Number of slots up to the last one that was ever written."""
        return len(self.file.items)

    def write(self, slots: _Slots, records: Records) -> UInt8[np.ndarray, "n size"]:
        """Keep records, as `SlotFile.write`; the bytes that are kept."""
        items = self._form.encoded(records)
        self.file.write(slots, items)
        return items

    def read(self, slots: _Slots) -> Records:
        """Records by slot, as float32."""
        return self._form.decoded(self.file.items[slots])

    def scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], slots: _Slots | None = None
    ) -> Float32[np.ndarray, "q n"]:
        """Scores of the records at some slots, or at all, on all processors."""
        kept, D = self.file.items.view(self._form.dtype)[:, 0], self.shape.dimension
        count = len(kept) if slots is None else len(slots)
        found = np.empty((count, len(scoring_vectors)), np.float32)
        labels, others = np.ascontiguousarray(scoring_vectors[:, :D]), np.ascontiguousarray(scoring_vectors[:, D:].T)

        def part(start: int) -> None:
            end = min(start + _PART, count)
            for at in range(start, end, _BLOCK):
                block = slice(at, min(at + _BLOCK, end))
                some = kept[block] if slots is None else kept[slots[block]]
                scores = largest_similarity(some["rows"], labels) * some["scales"][:, 1:]
                found[block] = scores + (some["shared"].astype(np.float32) @ others) * some["scales"][:, :1]

        with _blas.one_thread(), np.errstate(over="ignore", invalid="ignore"):  # of what is damaged
            if count <= _PART:
                part(0)
            else:
                with ThreadPoolExecutor(os.cpu_count()) as threads:
                    list(threads.map(part, range(0, count, _PART)))
        return found.T


class Slots:
    """Which picture's record is at which slot; whoever reads keeps the arrays that it has while another thread writes.

    A slot that was given up is written again only after the index was opened anew (`vacant`).

    Args:
        ids: (slots,) id of the picture whose record is there, 0 for none; never changed.

    Attributes:
        ids: as they are now, another array after every change.
    """

    def __init__(self, ids: Int64[np.ndarray, " places"]) -> None:
        self.ids = ids
        self._slot_of = {one: slot for slot, one in enumerate(ids.tolist()) if one}
        self._held = ids, np.flatnonzero(ids)  # of the newest ids asked for
        self._free = np.flatnonzero(ids == 0)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._slot_of)

    @staticmethod
    def noted(folder: Path) -> Int64[np.ndarray, " places"] | None:
        """The ids that were noted in a folder; None where there are none, or they are damaged."""
        try:
            ids = np.asarray(np.load(folder / _SLOTS, allow_pickle=False), np.int64)
        except (OSError, ValueError, EOFError):
            return None
        return ids if ids.ndim == 1 else None

    @staticmethod
    def forget_noted(folder: Path) -> None:
        """What was noted in a folder holds no more, also after a power cut."""
        if (noted := folder / _SLOTS).exists():
            noted.unlink()
            sync_folder(folder)

    def note(self, folder: Path) -> None:
        """Note the ids in a folder, where they are not.

        Raises:
            MachineError: they cannot be written.
        """
        if not (file := folder / _SLOTS).exists():
            with machine_errors(folder), replaced_whole(file) as beside, beside.open("wb") as stream:
                np.save(stream, self.ids)

    def held(self) -> tuple[Int64[np.ndarray, " places"], _Slots]:
        """The ids, and the slots that hold a picture, rising."""
        ids = self.ids
        known, slots = self._held
        if known is not ids:
            self._held = ids, (slots := np.flatnonzero(ids))
        return ids, slots

    def of(self, ids: Sequence[int]) -> _Slots:
        """Slots of pictures; a `KeyError` for an id not there."""
        return np.array([self._slot_of[one] for one in ids], np.int64)

    def of_those_held(self, ids: Iterable[int]) -> _Slots:
        """Slots of those pictures that are there."""
        found = map(self._slot_of.get, ids)
        return np.array([slot for slot in found if slot is not None], np.int64)

    @contextmanager
    def vacant(self, count: int) -> Iterator[_Slots]:
        """So many slots to write to in the block: those that are free, then new ones."""
        size, again = len(self.ids), self._free[:count]
        yield np.concatenate([again, np.arange(size, size + count - len(again))])
        self._free = self._free[len(again) :]

    def move(self, ids: Sequence[int], slots: _Slots | None, size: int) -> None:
        """Pictures are at other slots now, or nowhere; of `size` slots."""
        held = np.zeros(size, np.int64)
        held[: len(self.ids)] = self.ids
        held[self.of_those_held(ids)] = 0
        if slots is not None:
            held[slots] = ids
            self._slot_of.update(zip(ids, slots.tolist(), strict=True))
        self.ids = held
        if slots is None:
            for one in ids:
                self._slot_of.pop(one, None)


class _Blas:
    """The matrix products of the whole process on one thread each, while any scan runs: they are small and many."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._found = ThreadpoolController().select(user_api="blas")

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """One thread in the block; of several blocks at once the last one to end takes it back."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._limiter = self._found.limit(limits=1)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._limiter.restore_original_limits()


_blas = _Blas()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """One thread for the matrix products of a search: they are so small that more threads cost more than they save."""
    with _blas.one_thread():
        yield
