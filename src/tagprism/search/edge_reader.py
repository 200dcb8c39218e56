"""Reading the embedded form of an index: a shard of Qdrant Edge for what is known of each picture, a file for records.

The engine keeps what is known of pictures safe and sifts by filters. Records are scanned here, as the engine has no
maximum over rows with a sum behind it (docs/decisions.md). Each point names the slot of its record. What changes an
index is in `edge_index`. Only one process at a time can open a shard.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from jaxtyping import Float32, Float64, Int64

from tagprism.bundle.record import Records, Shape, check_scoring_vectors
from tagprism.errors import InputError, MachineError
from tagprism.files import machine_errors, read_json
from tagprism.progress import Progress, silent
from tagprism.search import contract
from tagprism.search.conditions import Filter
from tagprism.search.contract import Hit, IndexInfo, Match, Picture, Whole, candidates
from tagprism.search.edge_filter import met_ids, newest, slots_of_all
from tagprism.search.first_stage import MOST
from tagprism.search.kept_records import KeptRecords
from tagprism.search.record_file import RECORDS, RecordFile, Slots, StorageName
from tagprism.search.stored import from_json, index_anew

PICTURES = "pictures"  # folder of all that is kept of the pictures
SHARD, FORM = "shard", "form.json"  # in that folder
# The engine wants one kind of vectors.
CONFIG = edge.EdgeConfig(vectors={}, sparse_vectors={"none": edge.EdgeSparseVectorParams()})
_PAGE = 1000  # points that are read together
_FREE_TO_OPEN = 64 << 20  # bytes, see `check_free`


class EdgeReader:
    """What an `Index` in a Qdrant Edge shard and a file of records is asked for. Threads may share it.

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
        if not (folder / PICTURES / SHARD / "edge_config.json").is_file():
            raise InputError("there is no index.", where=str(folder), remedy="Make one with `tagprism index`.")
        self._refuse_other_form()
        self._at_shard = folder / PICTURES / SHARD
        check_free(self._at_shard, _FREE_TO_OPEN)
        with engine_errors(self._at_shard):
            self._shard = edge.EdgeShard.load(str(self._at_shard), CONFIG)
        self._records, self._progress = RecordFile(folder / PICTURES / RECORDS, shape, storage), progress
        self._opening = threading.Lock()
        self._opened: KeptRecords | None = None
        self._slots = Slots(self._read_ids())

    @property
    def _kept(self) -> KeptRecords:
        """What is kept beside the records, opened on first use: nobody who only searches a small index needs it."""
        with self._opening:
            if self._opened is None:
                self._opened = KeptRecords(self._folder / PICTURES, self._records, self._progress)
            return self._opened

    def _refuse_other_form(self) -> None:
        """The records would be cut at the wrong bytes; an older index does not know their form."""
        noted, asked = self._folder / PICTURES / FORM, {**self.shape._asdict(), "storage": self._storage}
        kept = read_json(noted, remedy="Delete it.") if noted.is_file() else asked
        if kept != asked:
            so, is_so = (", ".join(f"{name} {value}" for name, value in one.items()) for one in (asked, kept))
            what = f"says {so}, but the records were written with {is_so}."
            remedy = "Write in it what the records were written with."
            raise InputError(what, where=str(self._folder / "index.json"), remedy=remedy)

    def _read_ids(self) -> Int64[np.ndarray, " places"]:
        """What is in each slot: as it was noted when the index was closed, or, after a kill, as the points say."""
        size, ids = self._records.size, Slots.noted(self._folder / PICTURES)
        is_whole = ids is None or not ids[size:].any()
        if ids is None:
            with engine_errors(self._folder):
                of_points, slots = slots_of_all(self._shard)
            ids, is_whole = np.zeros(size, np.int64), bool(slots.max(initial=-1) < size)
            if is_whole:
                ids[slots] = of_points
        if not is_whole:
            remedy = index_anew(self._folder)
            raise MachineError("has lost records.", where=str(self._folder / PICTURES), remedy=remedy)
        return ids

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
        ids, slots = self._asked(where)
        if limit < 1 or not len(scoring_vectors) or not len(slots):
            return [[] for _ in scoring_vectors]
        first = None if exact else self._candidates(limit, len(slots))
        if first is None:
            return [_hits(ids[slots], one, limit) for one in self._scores_at(scoring_vectors, ids, slots)]
        found = []
        likely = self._kept.first.likely(scoring_vectors, slots, first)
        for vector, chosen in zip(scoring_vectors, map(np.sort, likely), strict=True):
            found.append(_hits(ids[chosen], self._records.scores(vector[None], chosen)[0], limit))
        return found

    def _candidates(self, limit: int, pictures: int) -> int | None:
        """How many candidates are looked for to find so many pictures; None where all are looked at."""
        return candidates(limit, pictures) if pictures >= contract.FIRST_STAGE else None

    def _scores_at(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Int64[np.ndarray, " p"], slots: Int64[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "q n"]:
        """Scores of the records at slots that rise; where they are most of all, the others are scored, too."""
        if len(slots) <= MOST * len(ids):
            return self._records.scores(scoring_vectors, slots)
        return self._records.scores(scoring_vectors)[:, slots]

    def _asked(self, where: Filter | None) -> tuple[Int64[np.ndarray, " places"], Int64[np.ndarray, " n"]]:
        """The id of the picture in each slot, and the slots of the pictures that meet conditions, rising."""
        if where is None:
            return self._slots.held()
        with engine_errors(self._folder):
            met = met_ids(self._shard, where)
        asked, ids = np.sort(self._slots.of_those_held(met)), self._slots.ids
        asked = asked[asked < len(ids)]  # later ones are of later pictures
        return ids, asked[ids[asked] > 0]

    def all_scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], where: Filter | None = None
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "q n"]]:
        """As `Whole.all_scores`."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        ids, slots = self._asked(where)
        return ids[slots], self._scores_at(scoring_vectors, ids, slots)

    def likely_scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], limit: int, match: Match, where: Filter | None = None
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "q n"]]:
        """As `Whole.likely_scores`."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        ids, slots = self._asked(where)
        if (count := self._candidates(limit, len(slots))) is not None:

            def by_slot(scores: Float32[np.ndarray, "q n"], some: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
                return match(scores, ids[some])

            slots = np.sort(self._kept.first.best_together(scoring_vectors, slots, count, by_slot))
        return ids[slots], self._scores_at(scoring_vectors, ids, slots)

    def newest(self, where: Filter | None, limit: int) -> list[Picture]:
        """As `Whole.newest`."""
        with engine_errors(self._folder):
            by_id = sorted(map(_picture, newest(self._shard, where, limit)), key=lambda one: one.id)
        return sorted(by_id, key=lambda one: one.taken or "", reverse=True)[:limit]

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each scoring vector, as in `search`; a `KeyError` for an id not there."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        return self._records.scores(scoring_vectors, self._at(ids))

    def _at(self, ids: Sequence[int]) -> Int64[np.ndarray, " n"]:
        """Slots of pictures; a `KeyError` for an id not there."""
        try:
            return self._slots.of(ids)
        except KeyError:
            with self._writes:  # it may just be added
                return self._slots.of(ids)

    def whole(self) -> Whole:
        """As `Index.whole`."""
        return self

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""
        with engine_errors(self._folder):
            found = {int(point.id): _picture(point) for point in self._shard.retrieve(list(ids), True, False)}
        return [found.get(one) for one in ids]

    def records(self, ids: Sequence[int]) -> Records:
        """Records as float32, as near to those added as the storage keeps them; a `KeyError` for an id not there."""
        return self._records.read(self._at(ids))

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id; those changed meanwhile may be among them or not."""
        start: Any = after + 1
        while start is not None:
            with engine_errors(self._folder):
                request = edge.ScrollRequest(offset=start, limit=_PAGE, with_payload=True)
                points, start = self._shard.scroll(request)
            yield from map(_picture, points)

    def info(self) -> IndexInfo:
        """Size, form and exactness."""
        count = len(self._slots)
        whole = self._candidates(100, count) is None
        measured = {"recall": 1.0, "worst": 1.0} if whole else self._kept.recall
        recall, worst = measured.get("recall"), measured.get("worst")
        fitted = whole or self._kept.first.fitted
        return IndexInfo(count, *self.shape, self._storage, self._storage == "float32" and whole, recall, worst, fitted)

    def close(self) -> None:
        """Write out everything and let another process open it."""
        with self._writes:
            with engine_errors(self._folder):
                self._shard.close()
            self._slots.note(self._folder / PICTURES)


def _hits(ids: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, " n"], limit: int) -> list[Hit]:
    """The best of some pictures; equal ones by rising id."""
    if limit < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, -limit)[-limit])
        ids, scores = ids[kept], scores[kept]
    order = np.lexsort((ids, -scores))[:limit]
    return [Hit(*pair) for pair in zip(ids[order].tolist(), scores[order].tolist(), strict=True)]


def _picture(point: edge.Record) -> Picture:
    return from_json(int(point.id), point.payload or {})


def check_free(folder: Path, least: int) -> None:
    """Refuse a disk with fewer free bytes than these."""
    with machine_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < least:
        what = f"cannot be written: less than {least >> 20} MB are free on its disk."
        raise MachineError(what, where=str(folder), remedy="Free space.")


@contextmanager
def engine_errors(folder: Path) -> Iterator[None]:
    """The engine raises plain `Exception`s with a text."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise MachineError(
            f"the index fails ({error}).", where=str(folder), remedy="Free space, mend the permission, or index anew."
        ) from error
