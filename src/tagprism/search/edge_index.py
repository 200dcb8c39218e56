"""The embedded form of an index: what changes it. What it is asked for is in `edge_reader`.

A record is written to a slot that no point names, and its point after it, so that a change is there whole or not at
all. A slot that was given up is written again only after the index was opened anew: no search that is under way sees
another picture there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import qdrant_edge as edge
from jaxtyping import Float32, Int64

from tagprism.bundle.record import Records, Shape, check_scoring_vectors
from tagprism.errors import MachineError
from tagprism.files import machine_errors, write_json
from tagprism.progress import Progress, silent
from tagprism.search.conditions import searched
from tagprism.search.contract import MEASURED, Picture, check_added, measured_recalls
from tagprism.search.edge_filter import FOLDED, MOMENT, SLOT
from tagprism.search.edge_reader import CONFIG, FORM, PICTURES, SHARD, EdgeReader, check_free, engine_errors
from tagprism.search.record_file import Slots, StorageName
from tagprism.search.stored import as_json

_SETTLE = 0.02  # share of the pictures that has changed when it is settled again
_FLUSH_EVERY, _TIDY_EVERY = 16_384, 65_536  # changes after which the log of writes is cut, and points are put in order
_FREE = 256 << 20  # bytes, see `check_free`


class EdgeIndex(EdgeReader):
    """An `Index` in a Qdrant Edge shard and a file of records; arguments and errors as of `EdgeReader`."""

    _unflushed = _untidied = _unsettled = 0  # changes

    @classmethod
    def create(cls, folder: Path, shape: Shape, storage: StorageName = "half") -> EdgeIndex:
        """Make an empty one in place of whatever an interrupted attempt has left there."""
        with machine_errors(folder):
            shutil.rmtree(folder / PICTURES, ignore_errors=True)
            (folder / PICTURES / SHARD).mkdir(parents=True)
        _make_shard(folder / PICTURES / SHARD)
        write_json(folder / PICTURES / FORM, {**shape._asdict(), "storage": storage})
        return cls(folder, shape, storage)

    def add(self, pictures: Sequence[Picture], records: Records) -> None:
        """Add pictures, or replace those of the same id: all of them or, with an error, none."""
        check_added(pictures, records, self.shape)
        if not pictures:
            return
        with self._changing(len(pictures)):
            with self._slots.vacant(len(pictures)) as slots:
                self._kept.write(slots, [one.id for one in pictures], records)
            self._put(pictures, slots)
            self._hold([one.id for one in pictures], slots)

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""
        if not ids:
            return
        with self._changing(len(ids)):
            with engine_errors(self._folder):
                self._shard.update(edge.UpdateOperation.delete_points(list(ids)))
            self._hold(ids, None)

    def _hold(self, ids: Sequence[int], slots: Int64[np.ndarray, " n"] | None) -> None:
        """Note where pictures are now, or that they are nowhere."""
        self._kept.forget(self._slots.of_those_held(ids))
        self._slots.move(ids, slots, self._records.size)

    @contextmanager
    def _changing(self, count: int) -> Iterator[None]:
        """One change at a time; from the first on, what was noted of the slots holds no more."""
        check_free(self._folder, _FREE)
        with self._writes:
            with machine_errors(self._folder):
                Slots.forget_noted(self._folder / PICTURES)
            yield
            self._unflushed, self._untidied = self._unflushed + count, self._untidied + count
            self._unsettled += count
            if self._untidied >= _TIDY_EVERY:
                self._tidy()
            elif self._unflushed >= _FLUSH_EVERY:
                self._flush()

    def _flush(self) -> None:
        """Cut the log of writes."""
        with engine_errors(self._folder):
            self._shard.flush()
        self._unflushed = 0

    def _tidy(self) -> None:
        """Cut the log, and drop what was removed."""
        self._flush()
        with engine_errors(self._folder):
            # The engine's files have holes.
            files = (one.stat() for one in self._at_shard.rglob("*") if one.is_file())
            size = sum(512 * getattr(one, "st_blocks", 0) for one in files)
            if shutil.disk_usage(self._folder).free > _FREE + 2 * size:
                self._shard.optimize()  # writes whole segments anew; without it filters are as right, but slower
        self._untidied = 0

    def _put(self, pictures: Sequence[Picture], slots: Int64[np.ndarray, " n"]) -> None:
        """Add the points of pictures whose records are at these slots, or replace those of the same id."""
        points = [
            edge.Point(id=one.id, vector={}, payload={**as_json(one), SLOT: slot, **searched(one)})
            for one, slot in zip(pictures, slots.tolist(), strict=True)
        ]
        with engine_errors(self._folder):
            self._shard.update(edge.UpdateOperation.upsert_points(points))

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"], progress: Progress = silent) -> None:
        """Drop what was removed, and measure with the first vectors the recall that `info` states.

        Both are put off until enough has changed: they take as long after one picture as after all. The first time, the
        other vectors say what is usually asked for, and candidates are found by that.
        """
        check_scoring_vectors(scoring_vectors, self.shape.width)
        count = len(self._slots)
        with self._writes:
            self._kept.fit(scoring_vectors, count, progress)
        kept, scoring_vectors = self._kept.recall, scoring_vectors[:MEASURED]
        changed = kept.get("changed", count) + self._unsettled
        if changed >= _SETTLE * count:
            with self._writes:
                self._tidy()
            kept, changed = {}, 0
            if len(scoring_vectors) and self._candidates(100, count) is not None:
                exact, found = (self.search(scoring_vectors, 100, exact=one) for one in (True, False))
                shares = measured_recalls(exact, found)
                kept = {"recall": float(np.mean(shares)), "worst": min(shares), "queries": len(scoring_vectors)}
        self._flush()
        self._kept.note_recall({**kept, "changed": changed})
        self._unsettled = 0

    def renew(self) -> None:
        """Make anew what candidates are found by, where it is not whole, as the first change of a picture would."""
        _ = self._kept


class ReadOnlyIndex(EdgeIndex):
    """An `Index` in a folder that can only be read: it is searched in a copy, as the engine writes even to read.

    Nobody may change the folder while it is opened; afterwards it is not needed.

    Args:
        folder: where it is kept.
        shape: of its records.
        storage: as it was made.
        progress: as for `EdgeIndex`.

    Raises:
        InputError: there is no shard, or one that does not fit.
        MachineError: there is no room for the copy, or it cannot be read.
    """

    def __init__(self, folder: Path, shape: Shape, storage: StorageName, progress: Progress = silent) -> None:
        self._original, self._copy = folder, tempfile.TemporaryDirectory(prefix="tagprism-")
        copy = Path(self._copy.name)
        try:
            with machine_errors(copy):
                shutil.copytree(folder / PICTURES, copy / PICTURES, copy_function=shutil.copyfile)
            super().__init__(copy, shape, storage, progress)
        except BaseException:
            self._copy.cleanup()
            raise

    def _changing(self, count: int) -> NoReturn:
        raise MachineError(
            "is read-only.", where=str(self._original), remedy="Mend the permission, or copy it elsewhere."
        )

    def close(self) -> None:
        """Let go of the copy."""
        super().close()
        self._copy.cleanup()


def _make_shard(folder: Path) -> None:
    """Make an empty shard in a folder that is there.

    Raises:
        MachineError: it cannot be written.
    """
    check_free(folder, _FREE)
    with engine_errors(folder):
        shard = edge.EdgeShard.create(str(folder), CONFIG)
        indexed = edge.UpdateOperation.create_field_index  # a filter need not read every payload then
        shard.update(indexed(FOLDED, edge.KeywordIndexParams()))
        shard.update(indexed(MOMENT, edge.IntegerIndexParams(lookup=False, range=True)))
        shard.close()
