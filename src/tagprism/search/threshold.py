"""The best pictures of a ranking, proved by Fagin's threshold algorithm. Knows neither words nor files.

Each label gives a list of its best pictures. What stands in none of the lists can be no better than the last of all
lists together, and the lists grow until that is worse than the last picture found. Labels below a NOT need no list: at
best a picture has none of them. Where lists can prove nothing (only NOT), all pictures are scored.

Source: R. Fagin, A. Lotem, M. Naor, Optimal aggregation algorithms for middleware (2003), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tagprism.search.contract import Filter, Hit, Index, Picture
from tagprism.search.filters import meets
from tagprism.search.logic import Leaf, as_filter, log_chance, log_match, positive_labels
from tagprism.search.odds import Odds
from tagprism.search.query_tree import InPath, Label, Query, Taken, leaves
from tagprism.search.similar import Likeness

_LEAST_DEPTH, _GROWTH = 1000, 8  # of the lists; a list of 1,000 takes no longer than one of 20


@dataclass(frozen=True)
class Ranked:
    """Pictures in their order.

    Args:
        ids: best first; of equal ones the lower first.
        matches: logarithm of the match of each.
    """

    ids: Int64[np.ndarray, " n"]
    matches: Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Search:
    """One search of an index.

    Args:
        index: the pictures.
        where: filters that every picture must meet.
        query: what ranks them, or None for a likeness alone.
        labels: those of the query, L.
        queries: (L, Q) of the labels.
        likeness: what else ranks them.
        odds: what scores are worth.
        marks: place of a label -> id -> added or rejected by a person.
    """

    index: Index
    where: Filter | None
    query: Query | None
    labels: tuple[str, ...]
    queries: Float32[np.ndarray, "L Q"]
    likeness: Likeness | None
    odds: Odds
    marks: Mapping[int, Mapping[int, bool]]

    def best(self, limit: int) -> Ranked:
        """The best pictures; those that cannot match at all are left out."""
        total = self.index.info().pictures
        depth = max(_LEAST_DEPTH, 4 * limit)
        nothing = np.full((1, len(self._columns)), -np.inf)
        if self._bound(nothing) > -np.inf:  # a picture without any of the labels may match
            depth = total
        while depth < total:
            lists = self.index.search(self._columns[self._rising], depth, where=self.where)
            ranked = self._ranked(*self._scored(lists), limit)
            if all(len(hits) < depth for hits in lists):  # all that meet the filters are in every list
                return ranked
            last = np.array([[hits[-1].score for hits in lists]])
            at_best = nothing.copy()
            at_best[:, self._rising] = self.odds.logits(self._columns[self._rising], last)
            if len(ranked.ids) == limit and ranked.matches[-1] > self._bound(at_best):
                return ranked
            depth *= _GROWTH
        return self._ranked(*_aligned(self.index.search(self._columns, max(total, 1), where=self.where)), limit)

    @cached_property
    def _columns(self) -> Float32[np.ndarray, "C Q"]:
        """Queries of the labels, then those of the likeness."""
        if self.likeness is None:
            return self.queries
        return np.concatenate([self.queries, self.likeness.queries])

    @cached_property
    def _rising(self) -> list[int]:
        """Columns with which the match can rise."""
        rising = set(positive_labels(self.query)) if self.query is not None else set()
        own = [place for place, label in enumerate(self.labels) if label in rising]
        return [*own, *range(len(self.labels), len(self._columns))]

    def _scored(self, lists: Sequence[Sequence[Hit]]) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n C"]]:
        """Scores in all columns of the pictures that stand in any list, or were added by a person."""
        ids = {hit.id for hits in lists for hit in hits}
        added = {one for its in self.marks.values() for one, is_added in its.items() if is_added} - ids
        pictures = zip(added, self.index.get(list(added)), strict=True)
        ids |= {one for one, picture in pictures if picture and (self.where is None or meets(picture, self.where))}
        while True:
            known = np.array(sorted(ids), np.int64)
            try:
                return known, self.index.scores(self._columns, known.tolist()).T
            except KeyError:  # removed meanwhile
                ids = there(self.index, known.tolist())

    def chances(self, ids: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, "n L"]) -> Float64[np.ndarray, "n L"]:
        """How well pictures match each label by itself, 0 to 1."""
        found: Float64[np.ndarray, "n L"] = np.exp(
            log_chance(self._marked(ids, self.odds.logits(self.queries, scores)))
        )
        return found

    def _marked(self, ids: Int64[np.ndarray, " n"], logits: Float64[np.ndarray, "n C"]) -> Float64[np.ndarray, "n C"]:
        """Logits with what a person has said: certain or impossible."""
        for place, its in self.marks.items():
            for added in (False, True):
                rows = np.isin(ids, [one for one, is_added in its.items() if is_added == added])
                logits[rows, place] = np.inf if added else -np.inf
        return logits

    def _ranked(self, ids: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, "n C"], limit: int) -> Ranked:
        logits = self._marked(ids, self.odds.logits(self._columns, scores))
        matches = np.zeros(len(ids))
        if self.query is not None:
            matches = matches + log_match(self.query, self._of_labels(logits) | self._of_filters(ids))
        if self.likeness is not None:
            matches = matches + self.likeness.log_match(logits[:, len(self.labels) :])
        possible = np.flatnonzero(matches > -np.inf)
        order = possible[np.lexsort((ids[possible], -matches[possible]))][:limit]
        return Ranked(ids[order], matches[order])

    def _bound(self, logits: Float64[np.ndarray, "1 C"]) -> float:
        """Logarithm of the best match of a picture whose logits are at most these."""
        bound = 0.0
        if self.query is not None:
            most, least = self._of_labels(logits), self._of_labels(np.full_like(logits, -np.inf))
            for leaf in self._filters:
                most[leaf], least[leaf] = np.array([np.inf]), np.array([-np.inf])
            bound += float(log_match(self.query, most, least)[0])
        if self.likeness is not None:
            bound += float(self.likeness.log_match(logits[:, len(self.labels) :])[0])
        return bound

    def _of_labels(self, logits: Float64[np.ndarray, "n C"]) -> dict[Leaf, Float64[np.ndarray, " n"]]:
        return {Label(label): logits[:, place] for place, label in enumerate(self.labels)}

    @cached_property
    def _filters(self) -> frozenset[Taken | InPath]:
        """Filters in the query that `where` does not hold."""
        found = leaves(self.query) if self.query is not None else ()
        return frozenset(leaf for leaf in found if isinstance(leaf, Taken | InPath))

    def _of_filters(self, ids: Int64[np.ndarray, " n"]) -> dict[Leaf, Float64[np.ndarray, " n"]]:
        pictures = self.index.get(ids.tolist()) if self._filters else []
        return {leaf: truths(leaf, pictures) for leaf in self._filters}


def there(index: Index, ids: Sequence[int]) -> set[int]:
    """Those of some pictures that an index still holds, fewer than were asked for.

    Raises:
        KeyError: it holds all of them.
    """
    left = {one for one, picture in zip(ids, index.get(ids), strict=True) if picture is not None}
    if len(left) == len(ids):
        raise KeyError("the index gives no scores of pictures that it holds")
    return left


def truths(leaf: Taken | InPath, pictures: Sequence[Picture | None]) -> Float64[np.ndarray, " n"]:
    """Logits of a filter: +inf for pictures that meet it, -inf for others."""
    where = as_filter(leaf)
    return np.array([np.inf if one is not None and meets(one, where) else -np.inf for one in pictures])


def _aligned(lists: Sequence[Sequence[Hit]]) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n C"]]:
    """Scores of the pictures that stand in every list."""
    ids = [np.fromiter((hit.id for hit in hits), np.int64, len(hits)) for hits in lists]
    scores = [np.fromiter((hit.score for hit in hits), np.float32, len(hits)) for hits in lists]
    common = ids[0]
    for others in ids[1:]:
        common = np.intersect1d(common, others)
    common = np.sort(common)
    columns = []
    for own, values in zip(ids, scores, strict=True):
        order = np.argsort(own)
        columns.append(values[order[np.searchsorted(own[order], common)]])
    return common, np.stack(columns, axis=1)
