"""The embedded form of an index: one Qdrant Edge shard in a folder, one point a picture, its matrix a multivector.

MAX_SIM with DOT of one query vector is exactly the largest dot product. There is no graph: a plain scan is exact, and
building one takes minutes for every ten thousand matrices. Only one process at a time can open a shard.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from jaxtyping import Float, Float32

from tagprism.errors import InputError, MachineError
from tagprism.files import machine_errors, write_json
from tagprism.search.contract import Filter, Hit, IndexInfo, Picture
from tagprism.search.filters import as_json, check_added, check_queries, folded, from_json, moment, moments
from tagprism.search.storage import OVERSAMPLING, STORAGES, Storage, measured_recall
from tagprism.search.ties import ranked

SHARD, RECALL = "shard", "recall.json"
_VECTOR, _FOLDED, _MOMENT = "matrix", "folded", "moment"  # names in the shard
_INDEXED: dict[str, edge.KeywordIndexParams | edge.IntegerIndexParams] = {
    _FOLDED: edge.KeywordIndexParams(),
    _MOMENT: edge.IntegerIndexParams(lookup=False, range=True),
}
_FLUSH_EVERY = 4096  # changes after which the log of writes is cut
# Bytes that must be free: the engine maps files into memory, and where a disk is full the system kills the process.
_ROOM, _ROOM_TO_OPEN = 256 << 20, 64 << 20
_NO_GRAPH = edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=1 << 40)
_SEGMENT = 65_536  # pictures in a segment, about: segments are scanned side by side, one a processor


class EdgeIndex:
    """An `Index` in a Qdrant Edge shard. Threads may share it.

    Args:
        folder: where it is kept.
        shape: (M, Q) of its matrices.
        storage: `float32`, `float16`, or `int8` over float16; as it was made.

    Raises:
        InputError: there is no shard, or one that does not fit.
        MachineError: the shard cannot be read or written, or another process has it open; by every method.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], storage: str = "float16") -> None:
        self.shape, self._folder, self._storage = shape, folder, STORAGES[storage]
        self._writes = threading.Lock()
        self._unflushed = self._unsealed = 0  # changes
        if not (folder / SHARD / "edge_config.json").is_file():
            raise InputError("there is no index.", where=str(folder), remedy="Make one with `tagprism index`.")
        _check_room(folder, _ROOM_TO_OPEN)
        with self._errors():
            self._shard = edge.EdgeShard.load(str(folder / SHARD), _config(shape, self._storage))

    @classmethod
    def create(cls, folder: Path, shape: tuple[int, int], storage: str = "float16") -> EdgeIndex:
        """Make an empty one in place of whatever shard an interrupted attempt has left there."""
        with machine_errors(folder):
            shutil.rmtree(folder / SHARD, ignore_errors=True)
            (folder / RECALL).unlink(missing_ok=True)
            (folder / SHARD).mkdir(parents=True)
        _check_room(folder, _ROOM)
        with _engine_errors(folder):
            shard = edge.EdgeShard.create(str(folder / SHARD), _config(shape, STORAGES[storage]))
            for name, kind in _INDEXED.items():  # a filter need not read every payload then
                shard.update(edge.UpdateOperation.create_field_index(name, kind))
            shard.close()
        return cls(folder, shape, storage)

    def _errors(self) -> Any:
        return _engine_errors(self._folder)

    def add(self, pictures: Sequence[Picture], matrices: Float[np.ndarray, "n M Q"]) -> None:
        """Add pictures, or replace those of the same id: all of them or, with an error, none."""
        check_added(pictures, matrices, self.shape)
        limit = self._storage.largest
        rows = np.clip(matrices, -limit, limit).astype(np.float32, copy=False)
        points = [
            edge.Point(
                id=picture.id,
                vector={_VECTOR: matrix},  # an array, not lists of numbers: ten times as fast
                payload={**as_json(picture), _FOLDED: folded(picture.path), _MOMENT: moment(picture.taken)},
            )
            for picture, matrix in zip(pictures, rows, strict=True)
        ]
        if points:
            self._write(edge.UpdateOperation.upsert_points(points), len(points))

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""
        if ids:
            self._write(edge.UpdateOperation.delete_points(list(ids)), len(ids))

    def _write(self, operation: edge.UpdateOperation, count: int) -> None:
        _check_room(self._folder, _ROOM)
        with self._writes, self._errors():
            self._shard.update(operation)
            self._unflushed += count
            self._unsealed += count
            if self._unsealed >= _SEGMENT:
                self._tidy()
            elif self._unflushed >= _FLUSH_EVERY:
                self._shard.flush()
                self._unflushed = 0

    def _tidy(self) -> None:
        """Cut the log, begin a new segment where one is full, quantise what is new, drop what was removed."""
        self._shard.flush()
        if shutil.disk_usage(self._folder).free > _ROOM + 2 * _size(self._folder / SHARD):
            self._shard.optimize()  # writes whole segments anew; without it searches are as right, but slower
        self._unflushed = self._unsealed = 0

    def search(
        self, queries: Float32[np.ndarray, "q Q"], limit: int, *, where: Filter | None = None
    ) -> list[list[Hit]]:
        """The best pictures for each of q queries, best first; ties: lowest id first."""
        check_queries(queries, self.shape[1])
        conditions = None if where is None else _conditions(where)
        params = _params(self._storage)

        def best(rows: Float32[np.ndarray, "q Q"], count: int) -> list[list[Hit]]:
            return self._query(rows, count, conditions, params)

        return ranked(best, queries, limit)

    def _query(
        self,
        queries: Float32[np.ndarray, "q Q"],
        count: int,
        conditions: edge.Filter | None,
        params: edge.SearchParams,
    ) -> list[list[Hit]]:
        requests = [
            edge.QueryRequest(
                limit=count,
                query=edge.Query.Nearest([query.tolist()], using=_VECTOR),
                filter=conditions,
                params=params,
                with_payload=False,
                with_vector=False,
            )
            for query in queries
        ]
        with self._errors():
            found = self._shard.query_batch(edge.QueryBatchRequest(requests)) if requests else []
        return [[Hit(int(point.id), float(point.score)) for point in points] for points in found]

    def scores(self, queries: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each query, as `search` gives them; a `KeyError` for an id not there."""
        check_queries(queries, self.shape[1])
        only = edge.Filter(must=[edge.HasIdCondition(set(ids))])
        found = self._query(queries, max(1, len(ids)), only, _params(self._storage, exact=True))
        by_id = [{hit.id: hit.score for hit in hits} for hits in found]
        return np.array([[scores[one] for one in ids] for scores in by_id], np.float32).reshape(len(queries), len(ids))

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""
        with self._errors():
            records = self._shard.retrieve(list(ids), True, False)
        found = {int(record.id): from_json(int(record.id), record.payload or {}) for record in records}
        return [found.get(one) for one in ids]

    def matrices(self, ids: Sequence[int]) -> Float32[np.ndarray, "n M Q"]:
        """Stored matrices, as near to those added as the storage keeps them; a `KeyError` for an id not there."""
        with self._errors():
            records = self._shard.retrieve(list(ids), False, True)
        found = {int(record.id): record.vector[_VECTOR] for record in records}  # type: ignore[index, call-overload]
        return np.array([found[one] for one in ids], np.float32).reshape(len(ids), *self.shape)

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id; those changed meanwhile may be among them or not."""
        start: Any = after + 1
        while start is not None:
            with self._errors():
                records, start = self._shard.scroll(edge.ScrollRequest(offset=start, limit=1000, with_payload=True))
            yield from (from_json(int(record.id), record.payload or {}) for record in records)

    def settle(self, queries: Float32[np.ndarray, "q Q"]) -> None:
        """Drop what was removed, quantise what is new, and measure with these queries the recall that `info` states."""
        check_queries(queries, self.shape[1])
        with self._writes, self._errors():
            self._tidy()
        if self._storage.quantised:
            exact = self._query(queries, 100, None, _params(self._storage, exact=True))
            recall = measured_recall(exact, self.search(queries, 100))
            write_json(self._folder / RECALL, {"recall": recall, "queries": len(queries)})

    def info(self) -> IndexInfo:
        """Size, form and exactness."""
        with self._errors():
            count = self._shard.count(edge.CountRequest(exact=True))
        recall = self._storage.recall
        if self._storage.quantised and (self._folder / RECALL).is_file():
            recall *= float(json.loads((self._folder / RECALL).read_text(encoding="utf-8"))["recall"])
        return IndexInfo(count, *self.shape, storage=self._storage.name, exact=self._storage.exact, recall=recall)

    def close(self) -> None:
        """Write out everything and let another process open it."""
        with self._writes, self._errors():
            self._shard.close()


def _config(shape: tuple[int, int], storage: Storage) -> edge.EdgeConfig:
    quantised = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.999, memory=edge.Memory.Pinned)
    matrix = edge.EdgeVectorParams(
        size=shape[1],
        distance=edge.Distance.Dot,
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        datatype=edge.VectorStorageDatatype.Float16 if storage.half else edge.VectorStorageDatatype.Float32,
        quantization_config=quantised if storage.quantised else None,
    )
    full = _SEGMENT * shape[0] * shape[1] * (2 if storage.half else 4) // 1024  # kilobytes
    optimizers = edge.EdgeOptimizersConfig(
        max_segment_size=max(2, full), indexing_threshold=1 if storage.quantised else max(2, full // 2)
    )
    return edge.EdgeConfig(vectors={_VECTOR: matrix}, hnsw_config=_NO_GRAPH, optimizers=optimizers)


def _params(storage: Storage, *, exact: bool = False) -> edge.SearchParams:
    if exact or not storage.quantised:
        return edge.SearchParams(exact=True, quantization=edge.QuantizationSearchParams(ignore=True))
    return edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING))


def _conditions(where: Filter) -> edge.Filter:
    """The filter in the engine's terms; `filters.meets` says what it means."""

    def within(beginnings: tuple[str, str]) -> edge.FieldCondition:
        first, last = moments(beginnings)
        return edge.FieldCondition(_MOMENT, range=edge.RangeFloat(gte=first, lte=last))

    def holds(piece: str) -> edge.FieldCondition:
        return edge.FieldCondition(_FOLDED, match=edge.MatchSubstring(folded(piece)))

    return edge.Filter(
        must=[*map(within, where.taken), *map(holds, where.path)],
        must_not=[*map(within, where.not_taken), *map(holds, where.not_path)],
    )


def _check_room(folder: Path, room: int) -> None:
    with machine_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < room:
        what = f"cannot be written: less than {room >> 20} MB are free on its disk."
        raise MachineError(what, where=str(folder), remedy="Free space.")


def _size(folder: Path) -> int:
    """Bytes on disk; the engine's files have holes."""
    return sum(512 * getattr(file.stat(), "st_blocks", 0) for file in folder.rglob("*") if file.is_file())


@contextmanager
def _engine_errors(folder: Path) -> Iterator[None]:
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
