"""The best pictures of a ranking, proved by Fagin's threshold algorithm. Knows neither words nor files.

Each label gives a list of its best pictures. What stands in none of the lists can be no better than the last of all
lists together, and the lists grow until that is worse than the last picture found. Labels below a NOT need no list: at
best a picture has none of them. Where lists can prove nothing (only NOT), all pictures are scored.

An index that is open in this process needs no lists: it scores all pictures, or of a large one those that likely match
best.

With neighbours, the first of that ranking are ordered anew, by scores that are averaged over those among them that are
alike.

Source: R. Fagin, A. Lotem, M. Naor, Optimal aggregation algorithms for middleware (2003), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from tagprism.bundle.neighbours import nearest_pictures, smoothed
from tagprism.bundle.record import score_records
from tagprism.labels.vocabulary import Groups, groups_of
from tagprism.search.contract import Filter, Hit, Index, Picture, meets, whole_of
from tagprism.search.match import LabelLogits, log_match, log_probability
from tagprism.search.query import (
    FilterLeaf,
    Label,
    Leaf,
    Query,
    Tagged,
    as_filter,
    leaves,
    positive_labels,
)
from tagprism.search.similar import Likeness

_LEAST_DEPTH, _GROWTH = 500, 8  # of the lists; a list of 500 takes no longer than one of 20
_FIRST = 8  # times as many pictures as are wanted are scored before others are passed over
_BY_ID = 20  # times as long as to scan a picture takes it to score one by its id
_ROUNDING = 1e-5  # of scores that are computed twice
_AT_ONCE = 4096  # records that are read together
_LEAST_AMONG, _AMONG = 200, 10  # pictures that neighbours are looked for among: the first 200, or 10 for each wanted


@dataclass(frozen=True)
class Ranking:
    """Pictures in their order.

    Args:
        ids: best first; of equal ones the lower first.
        matches: logarithm of the match of each.
        scores: for the query's labels, what the matches are made of.
        is_proven: whether no other picture can be among them.
    """

    ids: Int64[np.ndarray, " n"]
    matches: Float64[np.ndarray, " n"]
    scores: Float32[np.ndarray, "n L"]
    is_proven: bool = True

    def of(self, rows: Bool[np.ndarray, " n"]) -> Ranking:
        """Some of them, in the same order."""
        return Ranking(self.ids[rows], self.matches[rows], self.scores[rows], self.is_proven)


@dataclass(frozen=True)
class Search:
    """One search of an index.

    Args:
        index: the pictures.
        where: filters that every picture must meet.
        query: what ranks them, or None for a likeness alone.
        labels: those of the query, L.
        scoring_vectors: (V, Q) of the labels.
        likeness: what else ranks them.
        label_logits: turns scores into logits.
        marks: column of a label -> id -> added or rejected by a person.
        tagged: ids of the pictures that have each tag which the query asks people for.
        only: ids that every match is among, or None.
        copies: ids of the pictures whose bytes are those of the example.
        exact: whether a large index looks at all records (`Index.search`).
        shifts: (L,) added to the labels' logits; none when None.
        groups: (L, K) the scoring vectors of each label, the best of which counts; None where each has one, V = L.
    """

    index: Index
    where: Filter | None
    query: Query | None
    labels: tuple[str, ...]
    scoring_vectors: Float32[np.ndarray, "V Q"]
    likeness: Likeness | None
    label_logits: LabelLogits
    marks: Mapping[int, Mapping[int, bool]]
    tagged: Mapping[Tagged, frozenset[int]] = field(default_factory=dict)
    only: frozenset[int] | None = None
    copies: frozenset[int] = frozenset()
    exact: bool = False
    shifts: Float64[np.ndarray, " L"] | None = None
    groups: Groups | None = None

    def best(self, limit: int, budget: int | None = None) -> Ranking:
        """The best pictures; those that cannot match at all are left out.

        Args:
            limit: pictures at most.
            budget: pictures times labels after which the best so far are taken unproven; None to go on to the proof.
        """
        if self.only is not None:
            return self._scored(np.array([], np.int64), limit)
        total = self.index.info().pictures
        depth = max(_LEAST_DEPTH, 4 * limit)
        if hasattr(self.index, "lowest") and self.likeness is None and not self._rising and self._is_plain:
            return self._best_without(limit, depth, total)
        if self._bounds(np.full((1, len(self._vectors_of)), -np.inf))[0] > -np.inf:
            depth = total  # a picture without any of the labels may match: no list can prove anything
        elif (whole := whole_of(self.index)) and self._is_plain and not self._filters:
            if self.exact:
                ids, scores = whole.all_scores(self._columns, self.where)
            else:
                ids, scores = whole.likely_scores(self._columns, depth, self._matches, self.where)
            return self._ranked(ids, scores.T, limit)
        spent, cost = 0, total * max(1, len(self._columns))
        while depth < total:
            spent += cost
            lists = self._lists(self._rising, depth)
            ids, at_best = self._listed(lists)
            ranked = self._best_of(ids, at_best[:-1], limit, budget)
            if any(len(hits) < depth for hits in lists):  # all that meet the filters are in the list
                return ranked
            if len(ranked.ids) == limit and ranked.matches[-1] > at_best[-1]:
                return ranked
            if budget is not None and len(ranked.ids) == limit and spent + cost > budget:
                return replace(ranked, is_proven=False)
            depth *= _GROWTH
        if (whole := whole_of(self.index)) and self._is_plain:
            ids, scores = whole.all_scores(self._columns, self.where)
            return self._ranked(ids, scores.T, limit)
        ids, scores = _aligned(self._whole_lists(max(total, 1)))
        return self._ranked(ids, scores, limit) if self.label_logits.best_rows == 1 else self._scored(ids, limit)

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
            if len(ranked.ids) == limit and ranked.matches[-1] > best:
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

    @cached_property
    def _columns(self) -> Float32[np.ndarray, "C Q"]:
        """Scoring vectors of the labels, then those of the likeness."""
        if self.likeness is None:
            return self.scoring_vectors
        return np.concatenate([self.scoring_vectors, self.likeness.scoring_vectors])

    @cached_property
    def _vectors_of(self) -> list[list[int]]:
        """Of each label and then of each column of the likeness, its places in `_columns`."""
        labels = [[place] for place in range(len(self.labels))] if self.groups is None else self.groups.tolist()
        first = len(self.scoring_vectors)
        return [*(list(dict.fromkeys(its)) for its in labels), *([at] for at in range(first, len(self._columns)))]

    def _lists(self, columns: Sequence[int], depth: int) -> Sequence[Sequence[Hit]]:
        """The best pictures of some labels or columns of the likeness; of several vectors each picture's best one."""
        asked = [self._vectors_of[column] for column in columns]
        vectors = self._columns[[place for its in asked for place in its]]
        lists = iter(self.index.search(vectors, depth, where=self.where, exact=self.exact))
        return [_merged([next(lists) for _ in its], depth) for its in asked]

    def _scores(self, ids: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n C"]:
        """Scores of pictures; an index knows the largest product alone, which is a bound of a soft maximum.

        Raises:
            KeyError: one of the pictures is no longer held.
        """
        best_rows = self.label_logits.best_rows
        if best_rows == 1:
            scores = self.index.scores(self._columns, ids.tolist()).T
        else:
            records = (self.index.records(ids[at : at + _AT_ONCE].tolist()) for at in range(0, len(ids) or 1, _AT_ONCE))
            parts = [score_records(some, self._columns, best_rows=best_rows)[0] for some in records]
            scores = np.concatenate(parts)
        return scores if self.groups is None else np.stack([scores[:, its].max(axis=1) for its in self._vectors_of], 1)

    @property
    def _is_plain(self) -> bool:
        """Whether each label has one vector, and the best row decides."""
        return self.groups is None and self.label_logits.best_rows == 1

    def _logits(self, columns: Sequence[int], scores: Float32[np.ndarray, "n c"]) -> Float64[np.ndarray, "n c"]:
        """Logits of scores of some labels or columns of the likeness."""
        asked = [self._vectors_of[column] for column in columns]
        groups = None if self.groups is None else groups_of([*map(len, asked)])
        logits = self.label_logits.logits(self._columns[[place for its in asked for place in its]], scores, groups)
        if self.shifts is not None:
            logits += np.append(self.shifts, np.zeros(len(self._vectors_of) - len(self.labels)))[columns]
        return logits

    @cached_property
    def _rising(self) -> list[int]:
        """Columns with which the match can rise."""
        rising = set(positive_labels(self.query)) if self.query is not None else set()
        own = [place for place, label in enumerate(self.labels) if label in rising]
        return [*own, *range(len(self.labels), len(self._vectors_of))]

    def _listed(self, lists: Sequence[Sequence[Hit]]) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " n1"]]:
        """Pictures that stand in any list, and the best match that each can reach; as the last that of all others."""
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
        least = ranked.matches[-1] if len(ranked.ids) == limit else -np.inf
        more = others[at_best[others] >= least - _ROUNDING]
        cost = _BY_ID * len(more) * len(self._columns)
        if budget is not None and cost > budget and len(ranked.ids) == limit:
            return replace(ranked, is_proven=False)
        return self._scored(ids[np.concatenate([some, more])], limit) if len(more) else ranked

    def _scored(self, ids: Int64[np.ndarray, " n"], limit: int) -> Ranking:
        """The best of some pictures, of copies of the example, and of those that were added by a person."""
        known = set(ids.tolist())
        added = {one for its in self.marks.values() for one, is_added in its.items() if is_added}
        added = (added | self.copies if self.only is None else set(self.only)) - known
        known |= still_there(self.index, added, self.where)
        while True:
            held = np.array(sorted(known), np.int64)
            try:
                scores = self._scores(held)
            except KeyError:  # removed meanwhile
                known = still_held(self.index, held.tolist())
            else:
                return self._ranked(held, scores, limit)

    def label_matches(
        self, ids: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, "n L"]
    ) -> Float64[np.ndarray, "n L"]:
        """How well pictures match each label by itself, 0 to 1."""
        logits = self._marked(ids, self._logits(range(len(self.labels)), scores))
        found: Float64[np.ndarray, "n L"] = np.exp(log_probability(logits))
        return found

    def _marked(self, ids: Int64[np.ndarray, " n"], logits: Float64[np.ndarray, "n C"]) -> Float64[np.ndarray, "n C"]:
        """Logits with what a person has said: certain or impossible."""
        for place, its in self.marks.items():
            for added in (False, True):
                rows = np.isin(ids, [one for one, is_added in its.items() if is_added == added])
                logits[rows, place] = np.inf if added else -np.inf
        return logits

    def _matches(self, scores: Float32[np.ndarray, "C n"], ids: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Logarithms of how well pictures match, from their scores."""
        logits = self._marked(ids, self._logits(range(len(self._vectors_of)), scores.T))
        matches = np.zeros(len(ids))
        if self.query is not None:
            matches = matches + log_match(self.query, self._of_labels(logits) | self._of_filters(ids))
        if self.likeness is not None:
            alike = self.likeness.log_match(logits[:, len(self.labels) :])
            matches = matches + np.where(np.isin(ids, list(self.copies)), 0.0, alike)
        return matches

    def _ranked(self, ids: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, "n C"], limit: int) -> Ranking:
        matches = self._matches(scores.T, ids)
        possible = np.flatnonzero(matches > -np.inf)
        order = possible[np.lexsort((ids[possible], -matches[possible]))][:limit]
        return Ranking(ids[order], matches[order], scores[order, : len(self.labels)])

    def _bounds(self, logits: Float64[np.ndarray, "n C"], *, falling: bool = False) -> Float64[np.ndarray, " n"]:
        """Logarithms of the best matches of pictures whose logits are at most these; falling: at least."""
        bounds = np.zeros(len(logits))
        if self.query is not None:
            most, least = self._of_labels(logits), self._of_labels(np.full_like(logits, -np.inf))
            if falling:
                most, least = self._of_labels(np.full_like(logits, np.inf)), most
            for leaf in self._filters:
                most[leaf], least[leaf] = np.full(len(logits), np.inf), np.full(len(logits), -np.inf)
            bounds = bounds + log_match(self.query, most, least)
        if self.likeness is not None:
            bounds = bounds + self.likeness.log_match(logits[:, len(self.labels) :])
        return bounds

    def _of_labels(self, logits: Float64[np.ndarray, "n C"]) -> dict[Leaf, Float64[np.ndarray, " n"]]:
        return {Label(label): logits[:, place] for place, label in enumerate(self.labels)}

    @cached_property
    def _filters(self) -> frozenset[FilterLeaf]:
        """Filters in the query that `where` does not hold."""
        found = leaves(self.query) if self.query is not None else ()
        return frozenset(leaf for leaf in found if not isinstance(leaf, Label))

    def _of_filters(self, ids: Int64[np.ndarray, " n"]) -> dict[Leaf, Float64[np.ndarray, " n"]]:
        pictures = self.index.get(ids.tolist()) if self._filters else []
        return {leaf: filter_logits(leaf, pictures, self.tagged) for leaf in self._filters}


def still_there(index: Index, ids: set[int], where: Filter | None) -> set[int]:
    """Those of some pictures that an index holds and that meet a filter."""
    pictures = zip(ids, index.get(list(ids)), strict=True)
    return {one for one, picture in pictures if picture is not None and (where is None or meets(picture, where))}


def _merged(lists: Sequence[Sequence[Hit]], depth: int) -> Sequence[Hit]:
    """The best of several lists of pictures, each with its best score; whole as far as each of them is."""
    if len(lists) == 1:
        return lists[0]
    best: dict[int, float] = {}
    for hit in (hit for hits in lists for hit in hits):
        best[hit.id] = max(hit.score, best.get(hit.id, -np.inf))
    ordered = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Hit(*pair) for pair in ordered[:depth]]


def still_held(index: Index, ids: Sequence[int]) -> set[int]:
    """Those of some pictures that an index still holds, fewer than were asked for.

    Raises:
        KeyError: it holds all of them.
    """
    left = {one for one, picture in zip(ids, index.get(ids), strict=True) if picture is not None}
    if len(left) == len(ids):
        raise KeyError("the index gives no scores of pictures that it holds")
    return left


def filter_logits(
    leaf: FilterLeaf, pictures: Sequence[Picture | None], tagged: Mapping[Tagged, frozenset[int]]
) -> Float64[np.ndarray, " n"]:
    """Logits of a filter: +inf for pictures that meet it, -inf for others."""
    if isinstance(leaf, Tagged):
        met = [one is not None and one.id in tagged[leaf] for one in pictures]
    else:
        where = as_filter(leaf)
        met = [one is not None and meets(one, where) for one in pictures]
    return np.where(met, np.inf, -np.inf).reshape(len(pictures))


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
