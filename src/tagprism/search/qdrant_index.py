"""The form of an index that outgrows a machine: a collection of a Qdrant server or cluster. Needs the extra `cluster`.

The same data as in a shard of Qdrant Edge: one point a picture, its matrix a multivector under MAX_SIM with DOT.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float, Float32
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from tagprism.errors import InputError, MachineError
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
from tagprism.search.edge_index import OVERSAMPLING, STORAGES, Storage

API_KEY = "TAGPRISM_QDRANT_KEY"  # environment variable
_VECTOR, _FOLDED, _MOMENT = "matrix", "folded", "moment"
_INDEXED: dict[str, Any] = {
    _FOLDED: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
    _MOMENT: models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True),
}
_SETTINGS = "tagprism"
_SECONDS = 60  # that an answer may take
_UPLOAD = 256  # pictures sent at once: a server takes 32 MB


class QdrantIndex:
    """An `Index` in a collection of a Qdrant server (1.18 or later) or cluster. Threads may share it.

    Args:
        client: connected to it.
        name: of the collection.

    Raises:
        InputError: there is no such collection, or tagprism has not made it.
        MachineError: the server does not answer, or refuses; by every method.
    """

    def __init__(self, client: QdrantClient, name: str) -> None:
        self._client, self._name = client, name
        with self._errors():
            if not client.collection_exists(name):
                raise InputError("there is no such collection.", where=name, remedy="Make one with `tagprism index`.")
            config = client.get_collection(name).config
        found = (config.metadata or {}).get(_SETTINGS)
        if not isinstance(found, dict):
            raise InputError("is not a collection that tagprism has made.", where=name, remedy="Name another one.")
        self.settings: dict[str, Any] = found
        self.shape = int(found["vectors"]), int(found["columns"])
        self._storage = STORAGES[found["storage"]]

    @classmethod
    def create(cls, client: QdrantClient, name: str, settings: dict[str, Any]) -> QdrantIndex:
        """Make an empty collection.

        Args:
            client: connected to the server.
            name: of the collection, which is not there yet.
            settings: kept with it; `vectors` (M), `columns` (Q) and `storage` say its form.

        Raises:
            InputError: there is a collection of that name.
            MachineError: the server does not answer, or refuses.
        """
        with _server_errors(name):
            if client.collection_exists(name):
                raise InputError("there is a collection of that name.", where=name, remedy="Name another one.")
            client.create_collection(
                name,
                vectors_config={_VECTOR: _vector_params(settings["columns"], STORAGES[settings["storage"]])},
                metadata={_SETTINGS: settings},
            )
            for field, kind in _INDEXED.items():  # a filter need not read every payload then
                client.create_payload_index(name, field, kind, wait=True)
        return cls(client, name)

    def _errors(self) -> Any:
        return _server_errors(self._name)

    def keep_settings(self, settings: dict[str, Any]) -> None:
        """Replace the settings that are kept with the collection."""
        with self._errors():
            self._client.update_collection(self._name, metadata={_SETTINGS: settings})
        self.settings = settings

    def add(self, pictures: Sequence[Picture], matrices: Float[np.ndarray, "n M Q"]) -> None:
        """Add pictures, or replace those of the same id; where a server fails midway, some of more than 256."""
        check_added(pictures, matrices, self.shape)
        rows = self._storage.clipped(matrices)
        for start in range(0, len(pictures), _UPLOAD):
            points = [
                models.PointStruct(
                    id=picture.id,
                    vector={_VECTOR: matrix.tolist()},
                    payload={**as_json(picture), **searched(picture)},
                )
                for picture, matrix in zip(pictures[start : start + _UPLOAD], rows[start:], strict=False)
            ]
            with self._errors():
                self._client.upsert(self._name, points, wait=True)

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""
        if ids:
            with self._errors():
                self._client.delete(self._name, models.PointIdsList(points=list(ids)), wait=True)

    def search(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], limit: int, *, where: Filter | None = None
    ) -> list[list[Hit]]:
        """The best pictures for each of q scoring vectors, best first; ties: lowest id first."""
        check_scoring_vectors(scoring_vectors, self.shape[1])
        conditions = None if where is None else _conditions(where)
        return by_score_then_id(lambda vectors, count: self._query(vectors, count, conditions), scoring_vectors, limit)

    def _query(
        self,
        scoring_vectors: Float32[np.ndarray, "q Q"],
        count: int,
        conditions: models.Filter | None,
        *,
        exact: bool = False,
    ) -> list[list[Hit]]:
        requests = [
            models.QueryRequest(
                query=[vector.tolist()],
                using=_VECTOR,
                filter=conditions,
                params=_search_params(self._storage, exact=exact),
                limit=count,
                with_payload=False,
            )
            for vector in scoring_vectors
        ]
        with self._errors():
            answers = self._client.query_batch_points(self._name, requests) if requests else []
        return [[Hit(int(point.id), float(point.score)) for point in answer.points] for answer in answers]

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each scoring vector, as in `search`; a `KeyError` for an id not there."""
        check_scoring_vectors(scoring_vectors, self.shape[1])
        only = models.Filter(must=[models.HasIdCondition(has_id=list(set(ids)))])
        return scores_of(self._query(scoring_vectors, max(1, len(ids)), only, exact=True), ids)

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""
        with self._errors():
            records = self._client.retrieve(self._name, list(ids), with_payload=True) if ids else []
        found = {int(record.id): from_json(int(record.id), record.payload or {}) for record in records}
        return [found.get(one) for one in ids]

    def matrices(self, ids: Sequence[int]) -> Float32[np.ndarray, "n M Q"]:
        """Stored matrices, as near to those added as the storage keeps them; a `KeyError` for an id not there."""
        with self._errors():
            records = self._client.retrieve(self._name, list(ids), with_payload=False, with_vectors=True) if ids else []
        found: dict[int, Any] = {int(one.id): one.vector[_VECTOR] for one in records if isinstance(one.vector, dict)}
        return np.array([found[one] for one in ids], np.float32).reshape(len(ids), *self.shape)

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id; those changed meanwhile may be among them or not."""
        start: Any = after + 1
        while start is not None:
            with self._errors():
                records, start = self._client.scroll(self._name, offset=start, limit=1000, with_payload=True)
            yield from (from_json(int(record.id), record.payload or {}) for record in records)

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"]) -> None:
        """Measure with these vectors the recall that `info` states; a server tidies up by itself."""
        if self._storage.quantised:
            exact = self._query(scoring_vectors, 100, None, exact=True)
            self.keep_settings({**self.settings, "recall": measured_recall(exact, self.search(scoring_vectors, 100))})

    def info(self) -> IndexInfo:
        """Size, form and exactness."""
        with self._errors():
            count = self._client.count(self._name, exact=True).count
        recall = self._storage.recall * float(self.settings.get("recall", 1.0))
        return IndexInfo(count, *self.shape, storage=self._storage.name, exact=self._storage.recall == 1, recall=recall)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def connect(where: str) -> tuple[QdrantClient, str]:
    """A client, and the name of the collection, for `qdrant+http://host:6333/collection` or `qdrant+https://...`.

    The environment variable `TAGPRISM_QDRANT_KEY` has the server's API key, if it wants one.

    Raises:
        InputError: it is no such address.
    """
    parts = urlsplit(where)
    name = parts.path.strip("/")
    if parts.scheme not in ("qdrant+http", "qdrant+https") or not parts.hostname or not name or "/" in name:
        raise InputError(
            "is not the address of a collection.", where=where, remedy="Write qdrant+http://HOST:6333/COLLECTION."
        )
    address = f"{parts.scheme.removeprefix('qdrant+')}://{parts.netloc}"
    port = parts.port or 6333
    with _server_errors(where):
        key = os.environ.get(API_KEY)
        return QdrantClient(url=address, port=port, api_key=key, timeout=_SECONDS, check_compatibility=False), name


def remove_collection(client: QdrantClient, name: str) -> None:
    """Remove a collection that tagprism has made, if it is there.

    Raises:
        InputError: tagprism has not made it.
        MachineError: the server does not answer, or refuses.
    """
    with _server_errors(name):
        if client.collection_exists(name):
            QdrantIndex(client, name)
            client.delete_collection(name)


def _vector_params(columns: int, storage: Storage) -> models.VectorParams:
    int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.999, always_ram=True)
    return models.VectorParams(
        size=columns,
        distance=models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        datatype=models.Datatype.FLOAT16 if storage.half else models.Datatype.FLOAT32,
        hnsw_config=models.HnswConfigDiff(m=0),  # no graph: a plain scan is exact
        quantization_config=models.ScalarQuantization(scalar=int8) if storage.quantised else None,
    )


def _search_params(storage: Storage, *, exact: bool) -> models.SearchParams:
    if exact or not storage.quantised:
        return models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
    rescored = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
    return models.SearchParams(quantization=rescored)


def _conditions(where: Filter) -> models.Filter:
    """The filter in the server's terms; `contract.meets` says what it means."""

    def within(beginnings: tuple[str, str]) -> models.FieldCondition:
        first, last = moments(beginnings)
        return models.FieldCondition(key=_MOMENT, range=models.Range(gte=first, lte=last))

    def holds(piece: str) -> models.FieldCondition:
        return models.FieldCondition(key=_FOLDED, match=models.MatchSubstring(substring=folded(piece)))

    def says(fact: tuple[str, str]) -> models.Filter:
        return models.Filter(must=[_condition(one) for one in fact_conditions(*fact)])

    return models.Filter(
        must=[*map(within, where.taken), *map(holds, where.path), *map(says, where.facts)],
        must_not=[*map(within, where.not_taken), *map(holds, where.not_path), *map(says, where.not_facts)],
    )


def _condition(one: Condition) -> models.FieldCondition:
    if one.within is None:
        return models.FieldCondition(key=one.field, match=models.MatchSubstring(substring=one.holds))
    return models.FieldCondition(key=one.field, range=models.Range(gte=one.within[0], lte=one.within[1]))


@contextmanager
def _server_errors(where: str) -> Iterator[None]:
    try:
        yield
    except (ApiException, OSError) as error:
        raise MachineError(
            f"the Qdrant server fails ({type(error).__name__}: {error}).",
            where=where,
            remedy=f"Start it, or see whether {API_KEY} has its key.",
        ) from error
