"""The best pictures of a ranking, proved by Fagin's threshold algorithm. Knows neither words nor files.

Each label gives a list of its best pictures. What stands in none of the lists can be no better than the last of all
lists together, and the lists grow until that is worse than the last picture found. Labels below a NOT need no list: at
best a picture has none of them. Where lists can prove nothing (only NOT), all pictures are scored.

With neighbours, the first of that ranking are ordered anew, by scores that are averaged over those among them that are
alike.

Source: R. Fagin, A. Lotem, M. Naor, Optimal aggregation algorithms for middleware (2003), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tagprism.bundle.neighbours import nearest_pictures, smoothed
from tagprism.search.contract import Hit
from tagprism.search.query import positive_labels
from tagprism.search.scoring import Ranking, Scoring, still_held, still_there

_GROWTH = 8  # of the lists
_FIRST = 8  # times as many pictures as are wanted are scored before others are passed over
_BY_ID = 20  # times as long as to scan a picture takes it to score one by its id
_ROUNDING = 1e-5  # of scores that are computed twice
_LEAST_AMONG, _AMONG = 200, 10  # pictures that neighbours are looked for among: the first 200, or 10 for each wanted


class Search(Scoring):
    """One search of an index, by the lists of the best pictures of each label."""

    def _by_lists(self, limit: int, budget: int | None) -> Ranking:
        total = self.index.info().pictures
        depth = self._depth(limit)
        one_vector = self.groups is None and self._by_best_row
        if hasattr(self.index, "lowest") and self.likeness is None and not self._rising and one_vector:
            return self._best_without(limit, depth, total)
        if self._all_may_match:
            depth = total  # no list can prove anything
        spent, cost = 0, total * max(1, len(self._columns))
        while depth < total:
            spent += cost
            lists = self._lists(self._rising, depth)
            ids, at_best = self._listed(lists)
            ranked = self._best_of(ids, at_best[:-1], limit, budget)
            if any(len(hits) < depth for hits in lists):  # all that meet the filters are in the list
                return ranked
            if len(ranked.ids) == limit and ranked.ranks[-1] > at_best[-1]:
                return ranked
            if budget is not None and len(ranked.ids) == limit and spent + cost > budget:
                return replace(ranked, is_proven=False)
            depth *= _GROWTH
        if (whole := self.index.whole()) and self._by_best_row:
            return self._best_of_all(whole, limit)
        ids, scores = _aligned(self._whole_lists(max(total, 1)))
        return self._ranked(ids, scores, limit) if self._by_best_row else self._scored(ids, limit)

    def _best_without(self, limit: int, depth: int, total: int) -> Ranking:
        """The best of a query that only rejects labels, from those that a server finds to have least of each."""
        lowest = self.index.lowest  # type: ignore[attr-defined]  # of the form that is on a server
        said = {one for its in self.marks.values() for one, is_added in its.items() if not is_added}
        said = still_there(self.index, said, self.where)
        while True:
            lists = lowest(self._columns, depth, where=self.where)
            ids = np.array(sorted({hit.id for hits in lists for hit in hits} | said), np.int64)
            ranked = self._scored(ids, limit)
            if depth >= total or any(len(hits) < depth for hits in lists):
                return ranked
            last = np.array([[hits[-1].score for hits in lists]], np.float32)
            best = self._bounds(self._logits(range(len(self.labels)), last), falling=True)[0]
            if len(ranked.ids) == limit and ranked.ranks[-1] > best:
                return ranked
            depth *= _GROWTH

    def _whole_lists(self, total: int) -> list[_List]:
        """All pictures in each column, also those that have come since they were counted.

        One column is asked for at a time: what an engine gives takes many times the memory of its numbers.
        """
        while True:
            found = (self._lists([column], total + 1)[0] for column in range(len(self._vectors_of)))
            lists = [_as_arrays(hits) for hits in found]
            if all(len(ids) <= total for ids, _ in lists):  # where one is cut off, others may lack what it has
                return lists
            total *= 2

    def best_smoothed(self, limit: int, neighbours: int) -> Ranking:
        """The first pictures, those best that others like them match too.

        Args:
            limit: pictures at most.
            neighbours: pictures whose mean score is three tenths of each score, from 1.
        """
        ids = np.sort(self.best(max(_LEAST_AMONG, _AMONG * limit)).ids)
        while True:
            try:
                scores = self._scores(ids)
                rows = self.index.records(ids.tolist()).rows
            except KeyError:  # removed meanwhile
                ids = np.array(sorted(still_held(self.index, ids.tolist())), np.int64)
            else:
                nearest = nearest_pictures(rows, neighbours)
                return self._ranked(ids, smoothed(scores, np.arange(len(ids)), nearest), limit)

    def _lists(self, columns: Sequence[int], depth: int) -> Sequence[Sequence[Hit]]:
        """The best pictures of some labels or columns of the likeness; of several vectors each picture's best one."""
        asked = [self._vectors_of[column] for column in columns]
        vectors = self._columns[[position for its in asked for position in its]]
        lists = iter(self.index.search(vectors, depth, where=self.where, exact=self.exact))
        return [_merged([next(lists) for _ in its], depth) for its in asked]

    @cached_property
    def _rising(self) -> list[int]:
        """Columns with which the match can rise."""
        rising = set(positive_labels(self.query)) if self.query is not None else set()
        own = [position for position, label in enumerate(self.labels) if label in rising]
        return [*own, *range(len(self.labels), len(self._vectors_of))]

    def _listed(self, lists: Sequence[Sequence[Hit]]) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " n1"]]:
        """Pictures that stand in any list, and the best rank that each can reach; as the last that of all others."""
        ids = np.unique(np.array([hit.id for hits in lists for hit in hits], np.int64))
        scores = np.array([hits[-1].score if hits else -np.inf for hits in lists], np.float32)
        scores = np.tile(scores, (len(ids) + 1, 1))  # what stands not in a list is no better than its last
        for column, hits in enumerate(lists):
            own = np.searchsorted(ids, np.array([hit.id for hit in hits], np.int64))
            scores[own, column] = [hit.score for hit in hits]
        logits = np.full((len(scores), len(self._vectors_of)), -np.inf)
        logits[:, self._rising] = self._logits(self._rising, scores)
        return ids, self._bounds(logits)

    def _best_of(
        self, ids: Int64[np.ndarray, " n"], at_best: Float64[np.ndarray, " n"], limit: int, budget: int | None
    ) -> Ranking:
        """The best of some pictures; only those are scored that may be among them."""
        promising = np.argsort(-at_best, kind="stable")
        some, others = np.split(promising, [_FIRST * limit])
        ranked = self._scored(ids[some], limit)
        least = ranked.ranks[-1] if len(ranked.ids) == limit else -np.inf
        more = others[at_best[others] >= least - _ROUNDING]
        cost = _BY_ID * len(more) * len(self._columns)
        if budget is not None and cost > budget and len(ranked.ids) == limit:
            return replace(ranked, is_proven=False)
        return self._scored(ids[np.concatenate([some, more])], limit) if len(more) else ranked


def _merged(lists: Sequence[Sequence[Hit]], depth: int) -> Sequence[Hit]:
    """The best of several lists of pictures, each with its best score; whole as far as each of them is."""
    if len(lists) == 1:
        return lists[0]
    best: dict[int, float] = {}
    for hit in (hit for hits in lists for hit in hits):
        best[hit.id] = max(hit.score, best.get(hit.id, -np.inf))
    ordered = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Hit(*pair) for pair in ordered[:depth]]


_List = tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, " n"]]


def _as_arrays(hits: Sequence[Hit]) -> _List:
    """Ids and scores of one column."""
    ids = np.fromiter((hit.id for hit in hits), np.int64, len(hits))
    return ids, np.fromiter((hit.score for hit in hits), np.float32, len(hits))


def _aligned(lists: Sequence[_List]) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n C"]]:
    """Scores of the pictures that stand in every list."""
    common = lists[0][0]
    for others, _ in lists[1:]:
        common = np.intersect1d(common, others)
    common = np.sort(common)
    columns = []
    for own, values in lists:
        order = np.argsort(own)
        columns.append(values[order[np.searchsorted(own[order], common)]])
    return common, np.stack(columns, axis=1)
