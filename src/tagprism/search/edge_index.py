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
from typing import Any, NamedTuple

import numpy as np
import qdrant_edge as edge
from jaxtyping import Float, Float32

from tagprism.errors import InputError, MachineError
from tagprism.files import machine_errors, write_json
from tagprism.search.contract import (
    Condition,
    Filter,
    Hit,
    IndexInfo,
    Picture,
    as_json,
    by_score_then_id,
    check_added,
    check_scoring_vectors,
    fact_conditions,
    folded,
    from_json,
    measured_recall,
    moments,
    scores_of,
    searched,
)

SHARD, RECALL = "shard", "recall.json"
FLOAT16_RECALL = 0.9996  # measured by `benchmarks/search.py` on the matrices of real photos (docs/search.md)
OVERSAMPLING = 4.0  # candidates that int8 finds for each hit wanted
_VECTOR, _FOLDED, _MOMENT = "matrix", "folded", "moment"  # names in the shard
_FLUSH_EVERY = 16_384  # changes after which the log of writes is cut
# Bytes that must be free: the engine maps files into memory, and where a disk is full the system kills the process.
_FREE, _FREE_TO_OPEN = 256 << 20, 64 << 20
_NO_GRAPH = edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=1 << 40)
_SEGMENT = 65_536  # pictures in a segment, about: segments are scanned side by side, one a processor


class Storage(NamedTuple):
    """One way in which Qdrant keeps matrices.

    Args:
        name: as `--storage` has it.
        half: whether the engine keeps float16 instead of float32.
        quantised: whether int8 copies find the candidates, which the kept numbers then rank.
        recall: measured share of the exact first 100 that the kept numbers give when all are scanned; 1 is exact.
    """

    name: str
    half: bool
    quantised: bool
    recall: float

    def clipped(self, matrices: Float[np.ndarray, "n M Q"]) -> Float32[np.ndarray, "n M Q"]:
        """Matrices with no number that is too large to be kept."""
        limit = float(np.finfo(np.float16 if self.half else np.float32).max)
        clipped: Float32[np.ndarray, "n M Q"] = np.clip(matrices, -limit, limit).astype(np.float32, copy=False)
        return clipped


STORAGES = {
    "float32": Storage("float32", half=False, quantised=False, recall=1.0),
    "float16": Storage("float16", half=True, quantised=False, recall=FLOAT16_RECALL),
    "int8": Storage("int8", half=True, quantised=True, recall=FLOAT16_RECALL),
}


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
        _check_free(folder, _FREE_TO_OPEN)
        with self._errors():
            self._shard = edge.EdgeShard.load(str(folder / SHARD), _config(shape, self._storage))

    @classmethod
    def create(cls, folder: Path, shape: tuple[int, int], storage: str = "float16") -> EdgeIndex:
        """Make an empty one in place of whatever shard an interrupted attempt has left there."""
        with machine_errors(folder):
            shutil.rmtree(folder / SHARD, ignore_errors=True)
            (folder / RECALL).unlink(missing_ok=True)
            (folder / SHARD).mkdir(parents=True)
        _check_free(folder, _FREE)
        with _engine_errors(folder):
            shard = edge.EdgeShard.create(str(folder / SHARD), _config(shape, STORAGES[storage]))
            indexed = edge.UpdateOperation.create_field_index  # a filter need not read every payload then
            shard.update(indexed(_FOLDED, edge.KeywordIndexParams()))
            shard.update(indexed(_MOMENT, edge.IntegerIndexParams(lookup=False, range=True)))
            shard.close()
        return cls(folder, shape, storage)

    def _errors(self) -> Any:
        return _engine_errors(self._folder)

    def add(self, pictures: Sequence[Picture], matrices: Float[np.ndarray, "n M Q"]) -> None:
        """Add pictures, or replace those of the same id: all of them or, with an error, none."""
        check_added(pictures, matrices, self.shape)
        points = [
            edge.Point(
                id=picture.id,
                vector={_VECTOR: matrix.tolist()},  # an array is taken too, but takes twice as long
                payload={**as_json(picture), **searched(picture)},
            )
            for picture, matrix in zip(pictures, self._storage.clipped(matrices), strict=True)
        ]
        if points:
            self._write(edge.UpdateOperation.upsert_points(points), len(points))

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""
        if ids:
            self._write(edge.UpdateOperation.delete_points(list(ids)), len(ids))

    def _write(self, operation: edge.UpdateOperation, count: int) -> None:
        _check_free(self._folder, _FREE)
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
        if shutil.disk_usage(self._folder).free > _FREE + 2 * _size(self._folder / SHARD):
            self._shard.optimize()  # writes whole segments anew; without it searches are as right, but slower
        self._unflushed = self._unsealed = 0

    def search(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], limit: int, *, where: Filter | None = None
    ) -> list[list[Hit]]:
        """The best pictures for each of q scoring vectors, best first; ties: lowest id first."""
        check_scoring_vectors(scoring_vectors, self.shape[1])
        conditions = None if where is None else _conditions(where)
        return by_score_then_id(lambda vectors, count: self._query(vectors, count, conditions), scoring_vectors, limit)

    def _query(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], count: int, where: edge.Filter | None, *, exact: bool = False
    ) -> list[list[Hit]]:
        params = edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING))
        if exact or not self._storage.quantised:
            params = edge.SearchParams(exact=True, quantization=edge.QuantizationSearchParams(ignore=True))
        requests = [
            edge.QueryRequest(
                limit=count,
                query=edge.Query.Nearest([vector.tolist()], using=_VECTOR),
                filter=where,
                params=params,
                with_payload=False,
                with_vector=False,
            )
            for vector in scoring_vectors
        ]
        with self._errors():
            found = self._shard.query_batch(edge.QueryBatchRequest(requests)) if requests else []
        return [[Hit(int(point.id), float(point.score)) for point in points] for points in found]

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each scoring vector, as in `search`; a `KeyError` for an id not there."""
        check_scoring_vectors(scoring_vectors, self.shape[1])
        only = edge.Filter(must=[edge.HasIdCondition(set(ids))])
        return scores_of(self._query(scoring_vectors, max(1, len(ids)), only, exact=True), ids)

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

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"]) -> None:
        """Drop what was removed, quantise what is new, and measure with these vectors the recall that `info` states."""
        check_scoring_vectors(scoring_vectors, self.shape[1])
        with self._writes, self._errors():
            self._tidy()
        if self._storage.quantised:
            exact = self._query(scoring_vectors, 100, None, exact=True)
            recall = measured_recall(exact, self.search(scoring_vectors, 100))
            write_json(self._folder / RECALL, {"recall": recall, "queries": len(scoring_vectors)})

    def info(self) -> IndexInfo:
        """Size, form and exactness."""
        with self._errors():
            count = self._shard.count(edge.CountRequest(exact=True))
        recall = self._storage.recall
        if self._storage.quantised and (self._folder / RECALL).is_file():
            recall *= float(json.loads((self._folder / RECALL).read_text(encoding="utf-8"))["recall"])
        return IndexInfo(count, *self.shape, storage=self._storage.name, exact=self._storage.recall == 1, recall=recall)

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


def _conditions(where: Filter) -> edge.Filter:
    """The filter in the engine's terms; `contract.meets` says what it means."""

    def within(beginnings: tuple[str, str]) -> edge.FieldCondition:
        first, last = moments(beginnings)
        return edge.FieldCondition(_MOMENT, range=edge.RangeFloat(gte=first, lte=last))

    def holds(piece: str) -> edge.FieldCondition:
        return edge.FieldCondition(_FOLDED, match=edge.MatchSubstring(folded(piece)))

    def says(fact: tuple[str, str]) -> edge.Filter:
        return edge.Filter(must=[_condition(one) for one in fact_conditions(*fact)])

    return edge.Filter(
        must=[*map(within, where.taken), *map(holds, where.path), *map(says, where.facts)],
        must_not=[*map(within, where.not_taken), *map(holds, where.not_path), *map(says, where.not_facts)],
    )


def _condition(one: Condition) -> edge.FieldCondition:
    if one.within is None:
        return edge.FieldCondition(one.field, match=edge.MatchSubstring(one.holds))
    return edge.FieldCondition(one.field, range=edge.RangeFloat(gte=one.within[0], lte=one.within[1]))


def _check_free(folder: Path, least: int) -> None:
    with machine_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < least:
        what = f"cannot be written: less than {least >> 20} MB are free on its disk."
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
