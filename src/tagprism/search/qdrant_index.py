"""The form of an index that outgrows a machine: a collection of a Qdrant server or cluster. Needs the extra `cluster`.

One point a picture, with two vectors: the rows of its record as a multivector under MAX_SIM with DOT, and one vector of
what they come to and the shared numbers (`qdrant_vector`). A score is a sum of two: the rows' with the label vector,
and the other vector's with what the label makes of the shared numbers. The server adds them in a formula, over
candidates that the second vector finds, or over all points.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from tagprism.bundle.record import Records, Shape, check_scoring_vectors
from tagprism.progress import Progress, silent
from tagprism.search.conditions import Filter, searched
from tagprism.search.contract import MEASURED, Hit, IndexInfo, Picture, candidates, check_added, measured_recalls
from tagprism.search.qdrant_collection import (
    MEASURED_AS,
    MOMENT,
    ROWS,
    SETTINGS,
    WHOLE,
    WHOLE_BY,
    conditions_of,
    kept_metadata,
    make_collection,
    replace_collection,
    server_errors,
)
from tagprism.search.qdrant_collection import connect as connect
from tagprism.search.qdrant_collection import kept_settings as kept_settings
from tagprism.search.qdrant_vector import WholeVector
from tagprism.search.record_file import StorageName
from tagprism.search.stored import as_json, from_json

_PLAIN = models.QuantizationSearchParams(ignore=True)
_INT8 = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=False))  # `exact` would ignore it
_SUM = models.FormulaQuery(formula=models.SumExpression(sum=["$score[0]", "$score[1]"]))
_MINUS_SUM = models.FormulaQuery(formula=models.NegExpression(neg=_SUM.formula))
_PASSING = {408, 429, 500, 502, 503, 504}  # answers of a server that is busy, or has just lost a node
_UPLOAD = 256  # pictures sent at once: a server takes 32 MB
_PAGE = 1000  # pictures asked for at once
_AFTER_ALL = 10**15  # later than any moment
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between attempts to send pictures, which may be sent twice


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
        kept = kept_metadata(client, name)
        self.settings = found = kept[SETTINGS]
        self.shape = Shape(*(int(found[name]) for name in Shape._fields))
        self._storage: StorageName = found["storage"]
        self._whole = WholeVector.read(name, self.shape, kept.get(WHOLE_BY))
        self._measured: dict[str, float] = kept.get(MEASURED_AS, {})

    @classmethod
    def create(
        cls,
        client: QdrantClient,
        name: str,
        settings: dict[str, Any],
        asked: Float32[np.ndarray, "q Q"] | None = None,
        *,
        anew: bool = False,
    ) -> QdrantIndex:
        """Make an empty collection.

        Args:
            client: connected to the server.
            name: of the collection, which is not there yet.
            anew: in place of the one of that name, if it is there and tagprism has made it.
            settings: kept with it; `vectors` (M), `dimension` (D), `shared` (S) and `storage` say its form.
            asked: scoring vectors that are usually asked for, as candidates are found by them from then on.

        Raises:
            InputError: there is a collection of that name.
            MachineError: the server does not answer, or refuses.
        """
        shape = Shape(*(int(settings[name]) for name in Shape._fields))
        whole = WholeVector.for_asked(shape, np.empty((0, shape.width), np.float32) if asked is None else asked)
        (replace_collection if anew else make_collection)(client, name, settings, whole.kept())
        return cls(client, name)

    def _errors(self) -> Any:
        return server_errors(self._name)

    def keep_settings(self, settings: dict[str, Any]) -> None:
        """Replace the settings that are kept with the collection."""
        with self._errors():
            self._client.update_collection(self._name, metadata={SETTINGS: settings})
        self.settings = settings

    def add(self, pictures: Sequence[Picture], records: Records) -> None:
        """Add pictures, or replace those of the same id; where a server fails midway, some of more than 256."""
        check_added(pictures, records, self.shape)
        limit = float(np.finfo(np.float32 if self._storage == "float32" else np.float16).max)
        rows, shared = (np.clip(part, -limit, limit) for part in (records.rows, records.shared))
        whole = np.clip(self._whole.of(rows, shared), -limit, limit)
        for start in range(0, len(pictures), _UPLOAD):
            points = [
                models.PointStruct(
                    id=picture.id,
                    vector={ROWS: its_rows.tolist(), WHOLE: its_whole.tolist()},
                    payload={**as_json(picture), **searched(picture)},
                )
                for picture, its_rows, its_whole in zip(
                    pictures[start : start + _UPLOAD], rows[start:], whole[start:], strict=False
                )
            ]
            self._send(points)

    def _send(self, points: list[models.PointStruct]) -> None:
        """Send pictures, again where a node has just gone or is busy: points of the same ids are replaced."""
        for pause in (*_PAUSES, None):
            with self._errors():
                try:
                    self._client.upsert(self._name, points, wait=True)
                    return
                except ApiException as error:
                    refused = isinstance(error, UnexpectedResponse) and error.status_code not in _PASSING
                    if pause is None or refused:
                        raise
            time.sleep(pause)

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""
        if ids:
            with self._errors():
                self._client.delete(self._name, models.PointIdsList(points=list(ids)), wait=True)

    def search(
        self,
        scoring_vectors: Float32[np.ndarray, "q Q"],
        limit: int,
        *,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The best pictures for each of q scoring vectors, best first; ties: lowest id first."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        conditions, total = None if where is None else conditions_of(where), self.info().pictures

        def found(vectors: Float32[np.ndarray, "q Q"], count: int) -> list[list[Hit]]:
            first = None if exact else self._candidates(count, total)
            return self._query(vectors, count, conditions, max(total, 1), first)

        return _by_score_then_id(found, scoring_vectors, limit)

    def lowest(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], limit: int, *, where: Filter | None = None
    ) -> list[list[Hit]]:
        """The pictures of the lowest scores for each scoring vector, lowest first: what `NOT label` asks for."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        conditions, total = None if where is None else conditions_of(where), max(self.info().pictures, 1)

        def found(vectors: Float32[np.ndarray, "q Q"], count: int) -> list[list[Hit]]:
            return self._query(vectors, count, conditions, total, formula=_MINUS_SUM)

        best = _by_score_then_id(found, scoring_vectors, limit)
        return [[Hit(hit.id, -hit.score) for hit in hits] for hits in best]

    def newest(self, where: Filter | None = None) -> Iterator[Picture]:
        """The pictures that meet a filter, the newest first and those of unknown time last, fetched page by page."""
        conditions = models.Filter() if where is None else conditions_of(where)
        order, before = models.OrderBy(key=MOMENT, direction=models.Direction.DESC), _AFTER_ALL
        while True:
            earlier = models.FieldCondition(key=MOMENT, range=models.Range(lt=before))
            with self._errors():
                page, _ = self._client.scroll(self._name, _with(conditions, earlier), limit=_PAGE, order_by=order)
            dated = sorted(((int((one.payload or {})[MOMENT]), int(one.id), one) for one in page), key=_newest_first)
            if len(page) == _PAGE:  # of the last moment there may be more
                before = dated[-1][0]
                dated = [one for one in dated if one[0] > before]
            yield from (from_json(number, one.payload or {}) for _, number, one in dated)
            if len(page) < _PAGE:
                break
            at_once = models.FieldCondition(key=MOMENT, match=models.MatchValue(value=before))
            yield from self._by_id(_with(conditions, at_once))
        yield from self._by_id(_with(conditions, models.IsEmptyCondition(is_empty=models.PayloadField(key=MOMENT))))

    def _by_id(self, conditions: models.Filter | None, start: Any = None) -> Iterator[Picture]:
        while True:
            with self._errors():
                records, start = self._client.scroll(
                    self._name, scroll_filter=conditions, offset=start, limit=_PAGE, with_payload=True
                )
            yield from (from_json(int(record.id), record.payload or {}) for record in records)
            if start is None:
                return

    def _query(
        self,
        scoring_vectors: Float32[np.ndarray, "q Q"],
        count: int,
        conditions: models.Filter | None,
        total: int,
        first: int | None = None,
        formula: models.FormulaQuery = _SUM,
    ) -> list[list[Hit]]:
        """The best of all that meet conditions, `total` at most, or of the first so many by the vector of the whole."""
        D, plain = self.shape.dimension, models.SearchParams(exact=True, quantization=_PLAIN)
        zeros, requests = [0.0] * D, []
        for vector, whole in zip(scoring_vectors, self._whole.asked(scoring_vectors).tolist(), strict=True):
            among: dict[str, Any] = {"limit": total, "filter": conditions}
            if first is not None:
                chosen = models.Prefetch(query=whole, using=WHOLE, params=_INT8, limit=first, filter=conditions)
                among = {"limit": first, "prefetch": chosen}
            row = models.Prefetch(query=[vector[:D].tolist()], using=ROWS, params=plain, **among)
            rest = models.Prefetch(query=zeros + whole[D:], using=WHOLE, params=plain, **among)
            requests.append(models.QueryRequest(query=formula, prefetch=[row, rest], limit=count, with_payload=False))
        with self._errors():
            answers = self._client.query_batch_points(self._name, requests) if requests else []
        return [[Hit(int(point.id), float(point.score)) for point in answer.points] for answer in answers]

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each scoring vector, as in `search`; a `KeyError` for an id not there."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        only, count = models.Filter(must=[models.HasIdCondition(has_id=list(set(ids)))]), max(1, len(ids))
        by_id = [{hit.id: hit.score for hit in hits} for hits in self._query(scoring_vectors, count, only, count)]
        return np.array([[its[one] for one in ids] for its in by_id], np.float32).reshape(len(by_id), len(ids))

    def whole(self) -> None:
        """As `Index.whole`."""

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""
        found: dict[int, Picture] = {}
        for start in range(0, len(ids), _PAGE):
            with self._errors():
                records = self._client.retrieve(self._name, list(ids[start : start + _PAGE]), with_payload=True)
            found |= {int(record.id): from_json(int(record.id), record.payload or {}) for record in records}
        return [found.get(one) for one in ids]

    def records(self, ids: Sequence[int]) -> Records:
        """Records as float32, as near to those added as the storage keeps them; a `KeyError` for an id not there."""
        with self._errors():
            points = self._client.retrieve(self._name, list(ids), with_payload=False, with_vectors=True) if ids else []
        found: dict[int, Any] = {int(one.id): one.vector for one in points}
        M, D, S = self.shape
        rows = np.array([found[one][ROWS] for one in ids], np.float32).reshape(len(ids), M, D)
        whole = np.array([found[one][WHOLE] for one in ids], np.float32).reshape(len(ids), D + S)
        return Records(rows, self._whole.shared(whole, D))

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id; those changed meanwhile may be among them or not."""
        return self._by_id(None, after + 1)

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"], progress: Progress = silent) -> None:
        """Measure with the first vectors the recall that `info` states; a server tidies up by itself."""
        scoring_vectors = scoring_vectors[:MEASURED]
        if self._candidates(100, self.info().pictures) is not None:
            exact, found = (self.search(scoring_vectors, 100, exact=one) for one in (True, False))
            shares = measured_recalls(exact, found)
            self._measured = {"recall": float(np.mean(shares)), "worst": min(shares)} if shares else {}
            with self._errors():
                self._client.update_collection(self._name, metadata={MEASURED_AS: self._measured})

    def _candidates(self, limit: int, pictures: int) -> int | None:
        return candidates(limit, pictures, by_mean=self._whole.summary is None)

    def info(self) -> IndexInfo:
        """Size, form and exactness."""
        with self._errors():
            count = self._client.count(self._name, exact=True).count
        exact = self._storage == "float32" and self._candidates(100, count) is None
        measured = {"recall": 1.0, "worst": 1.0} if self._candidates(100, count) is None else self._measured
        recall, worst, fitted = measured.get("recall"), measured.get("worst"), self._whole.summary is not None
        return IndexInfo(count, *self.shape, self._storage, exact, recall, worst, fitted)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _by_score_then_id(
    search: Callable[[Float32[np.ndarray, "q Q"], int], list[list[Hit]]],
    scoring_vectors: Float32[np.ndarray, "q Q"],
    limit: int,
) -> list[list[Hit]]:
    """Search, with equal hits by rising id, also where the last position is shared by more than it can hold.

    Args:
        search: (scoring vectors, how many) -> hits of each, best first, equal ones in any order.
        scoring_vectors: q of them, asked for at once.
        limit: hits per vector at most.
    """
    if limit < 1:
        return [[] for _ in scoring_vectors]
    answers = search(scoring_vectors, limit + 1)
    for position, vector in enumerate(scoring_vectors):
        count = limit + 1
        while len(answers[position]) >= count and answers[position][-1].score == answers[position][limit - 1].score:
            count *= 2  # the ties reach beyond what was asked for
            answers[position] = search(vector[None], count)[0]
    return [sorted(hits, key=lambda hit: (-hit.score, hit.id))[:limit] for hits in answers]


def _newest_first(one: tuple[int, int, Any]) -> tuple[int, int]:
    return -one[0], one[1]


def _with(conditions: models.Filter, *more: models.Condition) -> models.Filter:
    must = [*(conditions.must or []), *more]
    return models.Filter(must=must, must_not=conditions.must_not)
