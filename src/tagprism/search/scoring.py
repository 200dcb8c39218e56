"""What pictures score in a search: their matches with a query, what these can be at best, and their order.

An index that is open in this process scores all pictures, or of a large one those that likely match best. Another gives
lists of the best pictures of each label (`threshold`). Knows neither words nor files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from tagprism.bundle.record import score_records
from tagprism.labels.vocabulary import Groups, groups_of
from tagprism.search.conditions import Filter, meets
from tagprism.search.contract import Index, Whole
from tagprism.search.filtered import filter_logits
from tagprism.search.match import LabelLogits, Logits, is_likely, log_match, log_probability, ranks_of
from tagprism.search.parse import leaves
from tagprism.search.query import FilterLeaf, Label, Leaf, Query, Tagged
from tagprism.search.similar import Likeness

_LEAST_DEPTH = 500  # pictures that are looked for at least: so many take no longer than 20
_AT_ONCE = 4096  # records that are read together
_ROUNDING = 1e-4  # of logits whose scores are computed twice: one just below the line may be likely


@dataclass(frozen=True)
class Ranking:
    """Pictures in their order.

    Args:
        ids: best first; of equal ones the lower first.
        matches: logarithm of the match of each.
        likely: whether each is likely, which those are that come first; all are where an example is asked for.
        scores: for the query's labels, what the matches are made of.
        is_proven: whether no other picture can be among them.
    """

    ids: Int64[np.ndarray, " n"]
    matches: Float64[np.ndarray, " n"]
    likely: Bool[np.ndarray, " n"]
    scores: Float32[np.ndarray, "n L"]
    is_proven: bool = True

    def of(self, rows: Bool[np.ndarray, " n"]) -> Ranking:
        """Some of them, in the same order."""
        return Ranking(self.ids[rows], self.matches[rows], self.likely[rows], self.scores[rows], self.is_proven)

    @property
    def ranks(self) -> Float64[np.ndarray, " n"]:
        """What they are ordered by, the greatest first."""
        return ranks_of(self.matches, self.likely)


@dataclass(frozen=True)
class Scoring(ABC):
    """What the pictures of an index score in one search.

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
        phrases: (L,) which labels the vocabulary lacks; none when None.
        usual: (V,) as `LabelLogits.logits` takes it; nothing when None.
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
    phrases: Bool[np.ndarray, " L"] | None = None
    usual: Float32[np.ndarray, " V"] | None = None

    def best(self, limit: int, budget: int | None = None) -> Ranking:
        """The best pictures; those that cannot match at all are left out.

        Args:
            limit: pictures at most.
            budget: pictures times labels after which the best so far are taken unproven; None to go on to the proof.
        """
        if self.only is not None:
            return self._scored(np.array([], np.int64), limit)
        whole = self.index.whole()
        if whole is None or not self._by_best_row or (self._filters and not self._all_may_match):
            return self._by_lists(limit, budget)
        if self.exact or self._all_may_match:
            return self._best_of_all(whole, limit)
        ids, scores = whole.likely_scores(self._columns, self._depth(limit), self._ranks_of_vectors, self.where)
        return self._ranked(ids, self._best_of_each(scores.T), limit)

    @abstractmethod
    def _by_lists(self, limit: int, budget: int | None) -> Ranking:
        """As `best`, of an index that gives lists of the best pictures of each label."""

    def _best_of_all(self, whole: Whole, limit: int) -> Ranking:
        ids, scores = whole.all_scores(self._columns, self.where)
        return self._ranked(ids, self._best_of_each(scores.T), limit)

    def _depth(self, limit: int) -> int:
        """How many of the best pictures of each label, or of all together, are looked at to find so many."""
        return max(_LEAST_DEPTH, 4 * limit)

    @property
    def _by_best_row(self) -> bool:
        """Whether the scores are the largest products, which is what an index knows."""
        return self.label_logits.best_rows == 1

    @property
    def _all_may_match(self) -> bool:
        """Whether a picture without any of the labels may match, so that no list of the best can prove anything."""
        return bool(self._bounds(np.full((1, len(self._vectors_of)), -np.inf))[0] > -np.inf)

    def _ranks_of_vectors(
        self, scores: Float32[np.ndarray, "V n"], ids: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " n"]:
        """What pictures are ranked by, from the scores of all vectors."""
        return ranks_of(*self._matches(self._best_of_each(scores.T).T, ids))

    @cached_property
    def _columns(self) -> Float32[np.ndarray, "C Q"]:
        """Scoring vectors of the labels, then those of the likeness."""
        if self.likeness is None:
            return self.scoring_vectors
        return np.concatenate([self.scoring_vectors, self.likeness.scoring_vectors])

    @cached_property
    def _vectors_of(self) -> list[list[int]]:
        """Of each label and then of each column of the likeness, its positions in `_columns`."""
        labels = [[position] for position in range(len(self.labels))] if self.groups is None else self.groups.tolist()
        first = len(self.scoring_vectors)
        return [*(list(dict.fromkeys(its)) for its in labels), *([at] for at in range(first, len(self._columns)))]

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
        return self._best_of_each(scores)

    def _best_of_each(self, scores: Float32[np.ndarray, "n V"]) -> Float32[np.ndarray, "n C"]:
        """Scores of the labels and of the likeness, from those of all their vectors."""
        return scores if self.groups is None else np.stack([scores[:, its].max(axis=1) for its in self._vectors_of], 1)

    def _logits(self, columns: Sequence[int], scores: Float32[np.ndarray, "n c"]) -> Float64[np.ndarray, "n c"]:
        """Logits of scores of some labels or columns of the likeness."""
        asked = [self._vectors_of[column] for column in columns]
        groups = None if self.groups is None else groups_of([*map(len, asked)])
        more = len(self._vectors_of) - len(self.labels)
        phrases = None if self.phrases is None else np.append(self.phrases, np.zeros(more, bool))[columns]
        positions = [position for its in asked for position in its]
        usual = None
        if self.usual is not None:
            usual = np.append(self.usual, np.zeros(len(self._columns) - len(self.usual), np.float32))[positions]
        logits = self.label_logits.logits(self._columns[positions], scores, groups, phrases, usual)
        if self.shifts is not None:
            logits += np.append(self.shifts, np.zeros(more))[columns]
        return logits

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
        for position, its in self.marks.items():
            for added in (False, True):
                rows = np.isin(ids, [one for one, is_added in its.items() if is_added == added])
                logits[rows, position] = np.inf if added else -np.inf
        return logits

    def _matches(
        self, scores: Float32[np.ndarray, "C n"], ids: Int64[np.ndarray, " n"]
    ) -> tuple[Float64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Logarithms of how well pictures match, and whether they are likely, from their scores."""
        logits = self._marked(ids, self._logits(range(len(self._vectors_of)), scores.T))
        matches, likely = self._of_query(self._of_labels(logits) | self._of_filters(ids), None, len(ids))
        if self.likeness is not None:
            alike = self.likeness.log_match(logits[:, len(self.labels) :])
            matches = matches + np.where(np.isin(ids, list(self.copies)), 0.0, alike)
        return matches, likely

    def _of_query(
        self, greatest: Logits, least: Logits | None, count: int
    ) -> tuple[Float64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """The same by the query alone; with an example there is no line between likely pictures and others."""
        matches, likely = np.zeros(count), np.ones(count, bool)
        if self.query is not None:
            matches = matches + log_match(self.query, greatest, least)
            if self.likeness is None:
                likely = is_likely(self.query, greatest, least)
        return matches, likely

    def _ranked(self, ids: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, "n C"], limit: int) -> Ranking:
        matches, likely = self._matches(scores.T, ids)
        possible = np.flatnonzero(matches > -np.inf)
        order = possible[np.lexsort((ids[possible], -ranks_of(matches, likely)[possible]))][:limit]
        return Ranking(ids[order], matches[order], likely[order], scores[order, : len(self.labels)])

    def _bounds(self, logits: Float64[np.ndarray, "n C"], *, falling: bool = False) -> Float64[np.ndarray, " n"]:
        """The best ranks of pictures whose logits are at most these; falling: at least."""
        most, least = self._of_labels(logits + _ROUNDING), self._of_labels(np.full_like(logits, -np.inf))
        if falling:
            most, least = self._of_labels(np.full_like(logits, np.inf)), self._of_labels(logits - _ROUNDING)
        for leaf in self._filters:
            most[leaf], least[leaf] = np.full(len(logits), np.inf), np.full(len(logits), -np.inf)
        bounds = ranks_of(*self._of_query(most, least, len(logits)))
        if self.likeness is not None:
            bounds = bounds + self.likeness.log_match(logits[:, len(self.labels) :])
        return bounds

    def _of_labels(self, logits: Float64[np.ndarray, "n C"]) -> dict[Leaf, Float64[np.ndarray, " n"]]:
        return {Label(label): logits[:, position] for position, label in enumerate(self.labels)}

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


def still_held(index: Index, ids: Sequence[int]) -> set[int]:
    """Those of some pictures that an index still holds, fewer than were asked for.

    Raises:
        KeyError: it holds all of them.
    """
    left = {one for one, picture in zip(ids, index.get(ids), strict=True) if picture is not None}
    if len(left) == len(ids):
        raise KeyError("the index gives no scores of pictures that it holds")
    return left
