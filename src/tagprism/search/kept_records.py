"""What is kept beside the records of pictures, by the same slots: what candidates are found by, and sums of both.

The sums prove them whole. A sum stands beside the record, not in it: what changed a byte of the one has not changed the
other to fit. Knows no pictures but by their ids, and no engine.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt32

from tagprism.bundle.record import Records
from tagprism.files import machine_errors, write_json
from tagprism.progress import Progress, silent, told
from tagprism.rename import sync_folder
from tagprism.search import first_stage
from tagprism.search.contract import MEASURED
from tagprism.search.first_stage import FirstStage
from tagprism.search.record_file import RecordFile, SlotFile
from tagprism.search.row_summary import is_nearer

_FIRST, _SUMS, _RECALL = "candidates.bin", "sums.bin", "recall.json"
_FORMER = "first.bin"  # candidates without their radius, of an older version
_SUM = np.dtype([("id", "<i8"), ("record", "<u4"), ("first", "<u4")])
_UNKNOWN = 0  # sum of what is being written
_PART = 4096  # records that are read at once
_Slots = Int64[np.ndarray, " n"]


class KeptRecords:
    """The records of an index with all that follows from them, which is written with each.

    What candidates are found by is made anew from the records where it is not there. Threads may read while one of them
    writes to slots that none reads.

    Args:
        folder: of the files; they are made when absent.
        records: the records themselves.
        progress: told of the pictures of which something is made anew.

    Attributes:
        first: what candidates are found by.

    Raises:
        MachineError: a file cannot be read or written, or the disk is full; by every method.
    """

    def __init__(self, folder: Path, records: RecordFile, progress: Progress = silent) -> None:
        self._folder, self._records = folder, records
        self._sums = SlotFile(folder / _SUMS, _SUM.itemsize)
        self.first = FirstStage(folder / _FIRST, records.shape)
        if self.first.size < records.size:
            self._write_candidates(self.first.size, progress)
            (folder / _FORMER).unlink(missing_ok=True)

    @property
    def summed(self) -> int:
        """Number of slots that `check` looks at."""
        return int(np.count_nonzero(self._sums.items.view(_SUM)[:, 0]))

    def write(self, slots: _Slots, ids: list[int], records: Records) -> None:
        """Keep records; as `SlotFile.write`."""
        first = self.first.write(slots, records)
        self._note(slots, ids, self._records.write(slots, records), first)

    def fit(self, scoring_vectors: Float32[np.ndarray, "q Q"], pictures: int, progress: Progress = silent) -> None:
        """Let candidates be found by what is best for scoring vectors, where they are not yet.

        The recall that was measured is forgotten before: killed at any moment, none is stated of other candidates.

        Args:
            scoring_vectors: as `Index.settle` takes them.
            pictures: how many the index holds.
            progress: told of those of which something is made anew.
        """
        label_vectors = scoring_vectors[MEASURED:, : self._records.shape.dimension]
        nearer = not self.first.fitted and is_nearer(label_vectors, self._records.shape.vectors)
        outline = len(scoring_vectors) > 0 and pictures >= first_stage.OUTLINED
        if nearer or (outline and not self.first.outlined):
            with machine_errors(self._folder):
                (self._folder / _RECALL).unlink(missing_ok=True)
                sync_folder(self._folder)
        if nearer:
            self._summarise(label_vectors, progress)
        if outline and not self.first.outlined:
            self.first.make_outlines(scoring_vectors, progress)

    def _summarise(self, label_vectors: Float32[np.ndarray, "K D"], progress: Progress) -> None:
        """Let candidates be found by what is nearest for label vectors that are usually asked for.

        All small vectors are written again; killed meanwhile, it is done again the next time.
        """
        self.first.summarise(label_vectors)
        try:
            self._write_candidates(0, progress)
            self.first.keep_summary()
        except BaseException:
            self.first.forget_summary()
            raise

    @property
    def recall(self) -> dict[str, Any]:
        """The recall that was measured last, and how many pictures have changed since; nothing where not known."""
        with suppress(OSError, ValueError):  # absent, or damaged: it is measured anew
            found = json.loads((self._folder / _RECALL).read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    def note_recall(self, measured: dict[str, Any]) -> None:
        """Keep what `recall` says."""
        write_json(self._folder / _RECALL, measured)

    def _write_candidates(self, begin: int, progress: Progress) -> None:
        """Make from the records what candidates are found by, at all slots from one on.

        Its sums are put to nought before, and noted after: killed meanwhile, no picture counts as damaged.
        """
        if begin == self._records.size:
            return
        with progress("renewing the index", self._records.size - begin) as advance:
            for slots in told(_parts(begin, self._records.size), advance):
                self._note_candidates(slots, np.zeros(len(slots), np.uint32))
                with np.errstate(all="ignore"):  # of damaged records
                    items = self.first.write(slots, self._records.read(slots))
                self._note_candidates(slots, np.array([zlib.crc32(item) for item in items], np.uint32))

    def _note(
        self, slots: _Slots, ids: list[int], records: UInt8[np.ndarray, "n r"], first: UInt8[np.ndarray, "n f"]
    ) -> None:
        sums = np.empty(len(slots), _SUM)
        sums["id"] = ids
        for name, items in (("record", records), ("first", first)):
            sums[name] = [zlib.crc32(item) for item in items]
        self._sums.write(slots, sums.view(np.uint8).reshape(len(slots), -1))

    def _note_candidates(self, slots: _Slots, first: UInt32[np.ndarray, " n"]) -> None:
        """New sums of what candidates are found by; 0 where it is not known to be whole."""
        noted = slots < len(self._sums.items)
        sums = self._sums.items[slots[noted]].view(_SUM)[:, 0]
        sums["first"] = first[noted]
        kept = sums["id"] != 0  # slots without sums, of an older version, get none
        self._sums.write(slots[noted][kept], sums[kept].view(np.uint8).reshape(int(kept.sum()), -1))

    def forget(self, slots: _Slots) -> None:
        """No picture is at these slots any more."""
        if len(slots):
            self._sums.write(slots, np.zeros((len(slots), _SUM.itemsize), np.uint8))

    def check(self) -> Iterator[tuple[int, bool]]:
        """The id of the picture at each slot, and whether its bytes are as they were written.

        Slots that hold none are passed over, and those that an older version wrote, which kept no sums.
        """
        sums, held = self._sums.items.view(_SUM)[:, 0], min(self._records.size, self.first.size)
        for slot, (one, *kept) in enumerate(sums.tolist()):
            if one:
                items = (self._records.file.items, self.first.file.items) if slot < held else ()
                record, first = (zlib.crc32(of_all[slot]) for of_all in items) if items else (None, None)
                yield one, kept[0] == record and kept[1] in (first, _UNKNOWN)


def _parts(begin: int, end: int) -> Iterator[_Slots]:
    for start in range(begin, end, _PART):
        yield np.arange(start, min(start + _PART, end))
