"""All that is kept of pictures by their places: records, what candidates are found by, and sums that prove both whole.

Knows no pictures but by their ids, and no engine. A sum stands beside the record, not in it: what changed a byte of the
one has not changed the other to fit.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt32

from tagprism.bundle.record import Records, Shape
from tagprism.files import machine_errors, replaced_whole, sync_folder
from tagprism.progress import Progress, silent, told
from tagprism.search.first_stage import FirstStage
from tagprism.search.record_file import PlacedFile, RecordFile, StorageName
from tagprism.search.row_summary import is_nearer

_RECORDS, _FIRST, _SUMS = "records.bin", "candidates.bin", "sums.bin"
_PLACES = "places.npy"
_FORMER = "first.bin"  # candidates without their radius, of an older version
_SUM = np.dtype([("id", "<i8"), ("record", "<u4"), ("first", "<u4")])
_UNKNOWN = 0  # sum of what is being written
_PART = 4096  # records that are read at once
_Places = Int64[np.ndarray, " n"]


class Places:
    """Which picture's record is at which place; whoever reads keeps the arrays that it has while another thread writes.

    A place that was given up is written again only after the index was opened anew (`vacant`).

    Args:
        ids: (places,) id of the picture whose record is there, 0 for none; never changed.

    Attributes:
        ids: as they are now, another array after every change.
    """

    def __init__(self, ids: Int64[np.ndarray, " places"]) -> None:
        self.ids = ids
        self._place_of = {one: place for place, one in enumerate(ids.tolist()) if one}
        self._held = ids, np.flatnonzero(ids)  # of the newest ids asked for
        self._free = np.flatnonzero(ids == 0)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._place_of)

    @staticmethod
    def noted(folder: Path) -> Int64[np.ndarray, " places"] | None:
        """The ids that were noted in a folder; None where there are none, or they are damaged."""
        try:
            ids = np.asarray(np.load(folder / _PLACES, allow_pickle=False), np.int64)
        except (OSError, ValueError, EOFError):
            return None
        return ids if ids.ndim == 1 else None

    @staticmethod
    def forget_noted(folder: Path) -> None:
        """What was noted in a folder holds no more, also after a power cut."""
        if (noted := folder / _PLACES).exists():
            noted.unlink()
            sync_folder(folder)

    def note(self, folder: Path) -> None:
        """Note the ids in a folder, where they are not.

        Raises:
            MachineError: they cannot be written.
        """
        if not (file := folder / _PLACES).exists():
            with machine_errors(folder), replaced_whole(file) as beside, beside.open("wb") as stream:
                np.save(stream, self.ids)

    def held(self) -> tuple[Int64[np.ndarray, " places"], _Places]:
        """The ids, and the places that hold a picture, rising."""
        ids = self.ids
        known, places = self._held
        if known is not ids:
            self._held = ids, (places := np.flatnonzero(ids))
        return ids, places

    def of(self, ids: Sequence[int]) -> _Places:
        """Places of pictures; a `KeyError` for an id not there."""
        return np.array([self._place_of[one] for one in ids], np.int64)

    def of_those_held(self, ids: Iterable[int]) -> _Places:
        """Places of those pictures that are there."""
        found = map(self._place_of.get, ids)
        return np.array([place for place in found if place is not None], np.int64)

    @contextmanager
    def vacant(self, count: int) -> Iterator[_Places]:
        """So many places to write to in the block: those that are free, then new ones."""
        size, again = len(self.ids), self._free[:count]
        yield np.concatenate([again, np.arange(size, size + count - len(again))])
        self._free = self._free[len(again) :]

    def move(self, ids: Sequence[int], places: _Places | None, size: int) -> None:
        """Pictures are at other places now, or nowhere; of `size` places."""
        held = np.zeros(size, np.int64)
        held[: len(self.ids)] = self.ids
        held[self.of_those_held(ids)] = 0
        if places is not None:
            held[places] = ids
            self._place_of.update(zip(ids, places.tolist(), strict=True))
        self.ids = held
        if places is None:
            for one in ids:
                self._place_of.pop(one, None)


class KeptRecords:
    """The records of an index in its folder. Threads may read while one of them writes to places that none reads.

    Args:
        folder: of the files; they are made when absent.
        shape: of a record.
        storage: `float32` or `half`.
        progress: told of the pictures of which something is made anew.

    Attributes:
        records: their records.

    Raises:
        MachineError: a file cannot be read or written, or the disk is full; by every method.
    """

    def __init__(self, folder: Path, shape: Shape, storage: StorageName, progress: Progress = silent) -> None:
        self.records = RecordFile(folder / _RECORDS, shape, storage)
        self._folder, self._shape = folder, shape
        self._sums = PlacedFile(folder / _SUMS, _SUM.itemsize)
        self._first: FirstStage | None = None
        self._opening, self._progress = threading.Lock(), progress

    @property
    def first(self) -> FirstStage:
        """What candidates are found by, opened on first use, as a small index that is only searched has none.

        It is made anew from the records where it is not there.
        """
        with self._opening:
            if self._first is None:
                first = FirstStage(self._folder / _FIRST, self._shape)
                if first.size < self.records.size:
                    self._write_candidates(first, first.size, self._progress)
                    (self._folder / _FORMER).unlink(missing_ok=True)
                self._first = first
            return self._first

    @property
    def size(self) -> int:
        """Number of places up to the last one that was ever written."""
        return self.records.size

    @property
    def summed(self) -> int:
        """Number of places that `check` looks at."""
        return int(np.count_nonzero(self._sums.items.view(_SUM)[:, 0]))

    def write(self, places: _Places, ids: list[int], records: Records) -> None:
        """Keep records; as `PlacedFile.write`."""
        first = self.first.write(places, records)
        self._note(places, ids, self.records.write(places, records), first)

    def can_summarise(self, label_vectors: Float32[np.ndarray, "K D"]) -> bool:
        """Whether `summarise` would let candidates be found by something nearer than they are."""
        return not self.first.fitted and is_nearer(label_vectors, self._shape.vectors)

    def summarise(self, label_vectors: Float32[np.ndarray, "K D"], progress: Progress = silent) -> None:
        """Let candidates be found by what is nearest for label vectors that are usually asked for.

        All small vectors are written again; killed meanwhile, it is done again the next time.
        """
        self.first.summarise(label_vectors)
        try:
            self._write_candidates(self.first, 0, progress)
            self.first.keep_summary()
        except BaseException:
            self.first.forget_summary()
            raise

    def _write_candidates(self, first: FirstStage, begin: int, progress: Progress) -> None:
        """Make from the records what candidates are found by, at all places from one on.

        Its sums are put to nought before, and noted after: killed meanwhile, no picture counts as damaged.
        """
        if begin == self.records.size:
            return
        with progress("renewing the index", self.records.size - begin) as advance:
            for places in told(_parts(begin, self.records.size), advance):
                self._note_candidates(places, np.zeros(len(places), np.uint32))
                with np.errstate(all="ignore"):  # of damaged records
                    items = first.write(places, self.records.read(places))
                self._note_candidates(places, np.array([zlib.crc32(item) for item in items], np.uint32))

    def _note(
        self, places: _Places, ids: list[int], records: UInt8[np.ndarray, "n r"], first: UInt8[np.ndarray, "n f"]
    ) -> None:
        sums = np.empty(len(places), _SUM)
        sums["id"] = ids
        for name, items in (("record", records), ("first", first)):
            sums[name] = [zlib.crc32(item) for item in items]
        self._sums.write(places, sums.view(np.uint8).reshape(len(places), -1))

    def _note_candidates(self, places: _Places, first: UInt32[np.ndarray, " n"]) -> None:
        """New sums of what candidates are found by; 0 where it is not known to be whole."""
        noted = places < len(self._sums.items)
        sums = self._sums.items[places[noted]].view(_SUM)[:, 0]
        sums["first"] = first[noted]
        kept = sums["id"] != 0  # places without sums, of an older version, get none
        self._sums.write(places[noted][kept], sums[kept].view(np.uint8).reshape(int(kept.sum()), -1))

    def forget(self, places: _Places) -> None:
        """No picture is at these places any more."""
        if len(places):
            with self._opening:  # what makes `first` anew writes sums, too
                self._sums.write(places, np.zeros((len(places), _SUM.itemsize), np.uint8))

    def check(self) -> Iterator[tuple[int, bool]]:
        """The id of the picture at each place, and whether its bytes are as they were written.

        Places that hold none are passed over, and those that an older version wrote, which kept no sums.
        """
        sums, held = self._sums.items.view(_SUM)[:, 0], min(self.records.size, self.first.size)
        for place, (one, *kept) in enumerate(sums.tolist()):
            if one:
                items = (self.records.items, self.first.items) if place < held else ()
                record, first = (zlib.crc32(of_all[place]) for of_all in items) if items else (None, None)
                yield one, kept[0] == record and kept[1] in (first, _UNKNOWN)


def _parts(begin: int, end: int) -> Iterator[_Places]:
    for start in range(begin, end, _PART):
        yield np.arange(start, min(start + _PART, end))
