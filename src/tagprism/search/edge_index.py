"""The embedded form of an index: a shard of Qdrant Edge for what is known of each picture, a file for their records.

The engine keeps facts safe and sifts by filters. Records are scanned here, as the engine has no maximum over rows with
a sum behind it (docs/decisions.md). Each point names the place of its record. A record is written to a place that no
point names, and its point after it, so that a change is there whole or not at all. A place that was given up is written
again only after the index was opened anew: no search that is under way sees another picture there. Only one process at
a time can open a shard.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tagprism.bundle.record import Records, Shape
from tagprism.errors import InputError, MachineError
from tagprism.files import machine_errors, read_json, write_json
from tagprism.progress import Progress, silent
from tagprism.search.conditions import Filter
from tagprism.search.contract import (
    MEASURED,
    Hit,
    IndexInfo,
    Match,
    Picture,
    Whole,
    candidates,
    check_added,
    check_scoring_vectors,
    index_anew,
    measured_recalls,
)
from tagprism.search.edge_shard import Points, make_shard
from tagprism.search.first_stage import MOST
from tagprism.search.kept_records import KeptRecords
from tagprism.search.record_file import RECORDS, Places, RecordFile, StorageName

PICTURES = "pictures"  # folder of all that is kept of the pictures
_SHARD, _FORM = "shard", "form.json"  # in that folder
_SETTLE = 0.02  # share of the pictures that has changed when it is settled again
_FLUSH_EVERY, _TIDY_EVERY = 16_384, 65_536  # changes after which the log of writes is cut, and points are put in order


class EdgeIndex:
    """An `Index` in a Qdrant Edge shard and a file of records. Threads may share it.

    Args:
        folder: where it is kept.
        shape: of its records.
        storage: `float32` or `half`, as it was made.
        progress: told of the pictures of which something is made anew, as in an index of an older version.

    Raises:
        InputError: there is no shard.
        MachineError: the shard cannot be read or written, or another process has it open; by every method.
    """

    def __init__(self, folder: Path, shape: Shape, storage: StorageName = "half", progress: Progress = silent) -> None:
        self.shape, self._folder, self._storage = shape, folder, storage
        self._writes = threading.Lock()
        self._unflushed = self._untidied = self._unsettled = 0  # changes
        if not (folder / PICTURES / _SHARD / "edge_config.json").is_file():
            raise InputError("there is no index.", where=str(folder), remedy="Make one with `tagprism index`.")
        self._refuse_other_form()
        self._points = Points(folder / PICTURES / _SHARD, folder)
        self._records, self._progress = RecordFile(folder / PICTURES / RECORDS, shape, storage), progress
        self._opening = threading.Lock()
        self._opened: KeptRecords | None = None
        self._places = Places(self._read_ids())

    @property
    def _kept(self) -> KeptRecords:
        """What is kept beside the records, opened on first use: nobody who only searches a small index needs it."""
        with self._opening:
            if self._opened is None:
                self._opened = KeptRecords(self._folder / PICTURES, self._records, self._progress)
            return self._opened

    @classmethod
    def create(cls, folder: Path, shape: Shape, storage: StorageName = "half") -> EdgeIndex:
        """Make an empty one in place of whatever an interrupted attempt has left there."""
        with machine_errors(folder):
            shutil.rmtree(folder / PICTURES, ignore_errors=True)
            (folder / PICTURES / _SHARD).mkdir(parents=True)
        make_shard(folder / PICTURES / _SHARD)
        write_json(folder / PICTURES / _FORM, {**shape._asdict(), "storage": storage})
        return cls(folder, shape, storage)

    def _refuse_other_form(self) -> None:
        """The records would be cut at the wrong bytes; an older index does not know their form."""
        noted, asked = self._folder / PICTURES / _FORM, {**self.shape._asdict(), "storage": self._storage}
        kept = read_json(noted, remedy="Delete it.") if noted.is_file() else asked
        if kept != asked:
            so, is_so = (", ".join(f"{name} {value}" for name, value in one.items()) for one in (asked, kept))
            what = f"says {so}, but the records were written with {is_so}."
            remedy = "Write in it what the records were written with."
            raise InputError(what, where=str(self._folder / "index.json"), remedy=remedy)

    def _read_ids(self) -> Int64[np.ndarray, " places"]:
        """What is in each place: as it was noted when the index was closed, or, after a kill, as the points say."""
        size, ids = self._records.size, Places.noted(self._folder / PICTURES)
        is_whole = ids is None or not ids[size:].any()
        if ids is None:
            of_points, places = self._points.places()
            ids, is_whole = np.zeros(size, np.int64), bool(places.max(initial=-1) < size)
            if is_whole:
                ids[places] = of_points
        if not is_whole:
            remedy = index_anew(self._folder)
            raise MachineError("has lost records.", where=str(self._folder / PICTURES), remedy=remedy)
        return ids

    def add(self, pictures: Sequence[Picture], records: Records) -> None:
        """Add pictures, or replace those of the same id: all of them or, with an error, none."""
        check_added(pictures, records, self.shape)
        if not pictures:
            return
        with self._changing(len(pictures)):
            with self._places.vacant(len(pictures)) as places:
                self._kept.write(places, [one.id for one in pictures], records)
            self._points.put(pictures, places)
            self._hold([one.id for one in pictures], places)

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""
        if not ids:
            return
        with self._changing(len(ids)):
            self._points.remove(ids)
            self._hold(ids, None)

    def _hold(self, ids: Sequence[int], places: Int64[np.ndarray, " n"] | None) -> None:
        """Note where pictures are now, or that they are nowhere."""
        self._kept.forget(self._places.of_those_held(ids))
        self._places.move(ids, places, self._records.size)

    @contextmanager
    def _changing(self, count: int) -> Iterator[None]:
        """One change at a time; from the first on, what was noted of the places holds no more."""
        self._points.refuse_full_disk()
        with self._writes:
            with machine_errors(self._folder):
                Places.forget_noted(self._folder / PICTURES)
            yield
            self._unflushed, self._untidied = self._unflushed + count, self._untidied + count
            self._unsettled += count
            if self._untidied >= _TIDY_EVERY:
                self._tidy()
            elif self._unflushed >= _FLUSH_EVERY:
                self._points.flush()
                self._unflushed = 0

    def _tidy(self) -> None:
        self._points.tidy()
        self._unflushed = self._untidied = 0

    def search(
        self,
        scoring_vectors: Float32[np.ndarray, "q Q"],
        limit: int,
        *,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """As `Index.search`."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        ids, places = self._asked(where)
        if limit < 1 or not len(scoring_vectors) or not len(places):
            return [[] for _ in scoring_vectors]
        first = None if exact else candidates(limit, len(places))
        if first is None:
            return [_hits(ids[places], one, limit) for one in self._scores_at(scoring_vectors, ids, places)]
        found = []
        likely = self._kept.first.likely(scoring_vectors, places, first)
        for vector, chosen in zip(scoring_vectors, map(np.sort, likely), strict=True):
            found.append(_hits(ids[chosen], self._records.scores(vector[None], chosen)[0], limit))
        return found

    def _scores_at(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Int64[np.ndarray, " p"], places: Int64[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "q n"]:
        """Scores of the records at places that rise; where they are most of all, the others are scored, too."""
        if len(places) <= MOST * len(ids):
            return self._records.scores(scoring_vectors, places)
        return self._records.scores(scoring_vectors)[:, places]

    def _asked(self, where: Filter | None) -> tuple[Int64[np.ndarray, " places"], Int64[np.ndarray, " n"]]:
        """The id of the picture in each place, and the places of the pictures that meet conditions, rising."""
        if where is None:
            return self._places.held()
        asked, ids = np.sort(self._places.of_those_held(self._points.ids(where))), self._places.ids
        asked = asked[asked < len(ids)]  # later ones are of later pictures
        return ids, asked[ids[asked] > 0]

    def all_scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], where: Filter | None = None
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "q n"]]:
        """As `Whole.all_scores`."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        ids, places = self._asked(where)
        return ids[places], self._scores_at(scoring_vectors, ids, places)

    def likely_scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], limit: int, match: Match, where: Filter | None = None
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "q n"]]:
        """As `Whole.likely_scores`."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        ids, places = self._asked(where)
        if (count := candidates(limit, len(places))) is not None:

            def by_place(
                scores: Float32[np.ndarray, "q n"], some: Int64[np.ndarray, " n"]
            ) -> Float64[np.ndarray, " n"]:
                return match(scores, ids[some])

            places = np.sort(self._kept.first.best_together(scoring_vectors, places, count, by_place))
        return ids[places], self._scores_at(scoring_vectors, ids, places)

    def newest(self, where: Filter | None, limit: int) -> list[Picture]:
        """As `Whole.newest`."""
        by_id = sorted(self._points.newest(where, limit), key=lambda one: one.id)
        return sorted(by_id, key=lambda one: one.taken or "", reverse=True)[:limit]

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each scoring vector, as in `search`; a `KeyError` for an id not there."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        return self._records.scores(scoring_vectors, self._at(ids))

    def _at(self, ids: Sequence[int]) -> Int64[np.ndarray, " n"]:
        """Places of pictures; a `KeyError` for an id not there."""
        try:
            return self._places.of(ids)
        except KeyError:
            with self._writes:  # it may just be added
                return self._places.of(ids)

    def whole(self) -> Whole:
        """As `Index.whole`."""
        return self

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""
        return self._points.get(ids)

    def records(self, ids: Sequence[int]) -> Records:
        """Records as float32, as near to those added as the storage keeps them; a `KeyError` for an id not there."""
        return self._records.read(self._at(ids))

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id; those changed meanwhile may be among them or not."""
        return self._points.pictures(after)

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"], progress: Progress = silent) -> None:
        """Drop what was removed, and measure with the first vectors the recall that `info` states.

        Both are put off until enough has changed: they take as long after one picture as after all. The first time, the
        other vectors say what is usually asked for, and candidates are found by that.
        """
        check_scoring_vectors(scoring_vectors, self.shape.width)
        count = len(self._places)
        with self._writes:
            self._kept.fit(scoring_vectors, count, progress)
        kept, scoring_vectors = self._kept.recall, scoring_vectors[:MEASURED]
        changed = kept.get("changed", count) + self._unsettled
        if changed >= _SETTLE * count:
            with self._writes:
                self._tidy()
            kept, changed = {}, 0
            if len(scoring_vectors) and candidates(100, count) is not None:
                exact, found = (self.search(scoring_vectors, 100, exact=one) for one in (True, False))
                shares = measured_recalls(exact, found)
                kept = {"recall": float(np.mean(shares)), "worst": min(shares), "queries": len(scoring_vectors)}
        self._points.flush()
        self._kept.note_recall({**kept, "changed": changed})
        self._unsettled = 0

    def info(self) -> IndexInfo:
        """Size, form and exactness."""
        count = len(self._places)
        whole = candidates(100, count) is None
        measured = {"recall": 1.0, "worst": 1.0} if whole else self._kept.recall
        recall, worst = measured.get("recall"), measured.get("worst")
        fitted = whole or self._kept.first.fitted
        return IndexInfo(count, *self.shape, self._storage, self._storage == "float32" and whole, recall, worst, fitted)

    def renew(self) -> None:
        """Make anew what candidates are found by, where it is not whole, as the first change of a picture would."""
        _ = self._kept

    def close(self) -> None:
        """Write out everything and let another process open it."""
        with self._writes:
            self._points.close()
            self._places.note(self._folder / PICTURES)


def _hits(ids: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, " n"], limit: int) -> list[Hit]:
    """The best of some pictures; equal ones by rising id."""
    if limit < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, -limit)[-limit])
        ids, scores = ids[kept], scores[kept]
    order = np.lexsort((ids, -scores))[:limit]
    return [Hit(*pair) for pair in zip(ids[order].tolist(), scores[order].tolist(), strict=True)]
