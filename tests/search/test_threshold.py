"""The best pictures of a search against a plain ranking of all pictures, and how little of the index it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagprism.bundle.record import Records, Shape, score_records
from tagprism.labels.vocabulary import Groups, groups_of
from tagprism.search import scoring, threshold
from tagprism.search.conditions import Filter, meets
from tagprism.search.contract import Hit, Match, Picture
from tagprism.search.find import _only
from tagprism.search.match import LabelLogits, is_likely, log_match, ranks_of
from tagprism.search.parse import labels_of, leaves, parse
from tagprism.search.query import InPath, Label, Query, Tagged, Taken
from tagprism.search.scoring import filter_logits
from tagprism.search.similar import Likeness
from tagprism.search.threshold import Search
from tests.search.numpy_index import NumpyIndex
from tests.search.test_match import grow

N, SHAPE = 400, Shape(3, 4, 2)
Q = SHAPE.width
LABELS = ("a", "b", "c", "d")
_LEAVES = st.sampled_from([*map(Label, LABELS), Taken("2021", "2022"), InPath("/1"), Tagged("x"), Tagged("y")])
TAGGED = {Tagged("x"): frozenset(range(1, N, 5)), Tagged("y"): frozenset(range(1, N, 3))}
_TREES: st.SearchStrategy[Query] = st.recursive(_LEAVES, grow, max_leaves=6)


class Counted:
    """An index that counts what is asked of it."""

    def __init__(self, index: NumpyIndex) -> None:
        self._index = index
        self.depths: list[int] = []
        self.searched = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, scoring_vectors: np.ndarray, limit: int, **how: Any) -> Any:
        self.depths.append(limit)
        self.searched += len(scoring_vectors)
        return self._index.search(scoring_vectors, limit, **how)


class OnServer(Counted):
    """An index that also gives the lowest scores, as that on a server does."""

    def lowest(self, scoring_vectors: np.ndarray, limit: int, *, where: Filter | None = None) -> list[list[Hit]]:
        self.depths.append(limit)
        return [hits[::-1][:limit] for hits in self._index.search(scoring_vectors, N, where=where)]


class InProcess(Counted):
    """An index that gives at once what likely matches best, as a large one that is open in this process does."""

    def whole(self) -> InProcess:
        return self

    def all_scores(self, scoring_vectors: np.ndarray, where: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
        ids = np.array([one.id for one in self._index.pictures() if where is None or meets(one, where)], np.int64)
        return ids, self._index.scores(scoring_vectors, ids.tolist())

    def likely_scores(
        self, scoring_vectors: np.ndarray, limit: int, match: Match, where: Filter | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        ids, scores = self.all_scores(scoring_vectors, where)
        best = np.sort(np.argsort(-match(scores, ids), kind="stable")[:limit])
        return ids[best], scores[:, best]

    def newest(self, where: Filter | None, limit: int) -> list[Picture]:
        raise NotImplementedError


class Made(NamedTuple):
    index: NumpyIndex
    records: Records
    pictures: list[Picture]

    def __repr__(self) -> str:
        return "made"  # hypothesis warns of long ones, and a warning would hide the failure


def drawn(random: np.random.Generator, count: int) -> Records:
    shapes = ((count, *SHAPE[:2]), (count, SHAPE.shared))
    return Records(*(random.standard_normal(shape).astype(np.float32) for shape in shapes))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    random = np.random.default_rng(0)
    records = drawn(random, N)
    records.rows[100:110], records.shared[100:110] = records.rows[90:100], records.shared[90:100]  # ties
    pictures = [
        Picture(
            i + 1, f"/{i % 7}/{i}.jpg", 1, 1, f"{i:064x}", 9, 9, f"{2020 + i % 5}-01-02T03:04:05" if i % 3 else None
        )
        for i in range(N)
    ]
    index = NumpyIndex(tmp_path_factory.mktemp("index"), SHAPE)
    index.add(pictures, records)
    yield Made(index, records, pictures)
    index.close()


VECTORS = np.random.default_rng(1).standard_normal((len(LABELS), Q)).astype(np.float32)
FURTHER = np.random.default_rng(4).standard_normal((len(LABELS), Q)).astype(np.float32)  # another vector of each label
LIKENESS = Likeness(
    np.random.default_rng(2).standard_normal((3, Q)).astype(np.float32), np.array([0.3, 0.7, 1.0]), own=-3.0
)
BACKGROUND = drawn(np.random.default_rng(3), 50)


def vectors_of(places: Sequence[int], grouped: bool) -> tuple[np.ndarray, Groups | None]:
    """Scoring vectors of labels, two of each where they are grouped."""
    if not grouped or not places:
        return VECTORS[places], None
    return np.stack([VECTORS[places], FURTHER[places]], axis=1).reshape(-1, Q), groups_of([2] * len(places))


def plain(
    tree: Query | None,
    like: Likeness | None,
    label_logits: LabelLogits,
    made: Made,
    marks: dict[int, dict[int, bool]],
    grouped: bool = False,
) -> list[tuple[float, int]]:
    """Every picture's rank and id, best first."""
    _, records, pictures = made
    known: dict[Any, np.ndarray] = {}
    if tree is not None:
        vectors, groups = vectors_of(range(len(LABELS)), grouped)
        logits = label_logits.logits(vectors, score_records(records, vectors, groups)[0], groups)
        for place, its in marks.items():
            for one, added in its.items():
                logits[one - 1, place] = np.inf if added else -np.inf
        known = {Label(name): logits[:, place] for place, name in enumerate(LABELS)}
        for leaf in leaves(tree):
            if not isinstance(leaf, Label):
                known[leaf] = filter_logits(leaf, pictures, TAGGED)
    match = np.zeros(N) if tree is None else log_match(tree, known)
    if like is None and tree is not None:
        match = ranks_of(match, is_likely(tree, known))
    if like is not None:
        scores, _ = score_records(records, like.scoring_vectors)
        match = match + like.log_match(label_logits.logits(like.scoring_vectors, scores))
    return sorted(((-value, place + 1) for place, value in enumerate(match) if value > -np.inf))


def search_of(
    index: Any,
    tree: Query | None,
    like: Likeness | None,
    label_logits: LabelLogits,
    marks: Any = None,
    grouped: bool = False,
) -> Search:
    labels = labels_of(tree) if tree is not None else ()
    places = [LABELS.index(label) for label in labels]
    own = {labels.index(LABELS[place]): its for place, its in (marks or {}).items() if LABELS[place] in labels}
    tagged = {leaf: TAGGED[leaf] for leaf in (leaves(tree) if tree else ()) if isinstance(leaf, Tagged)}
    only = _only(tree, tagged)
    vectors, groups = vectors_of(places, grouped)
    return Search(index, None, tree, labels, vectors, like, label_logits, own, tagged, only, groups=groups)


@pytest.mark.parametrize("standardised", [True, False])
@given(
    tree=_TREES.filter(labels_of) | st.none(),
    likes=st.booleans(),
    grouped=st.booleans(),
    kept=st.sampled_from([Counted, OnServer, InProcess]),
    limit=st.integers(1, 30),
    marks=st.dictionaries(st.integers(0, 3), st.dictionaries(st.integers(1, N), st.booleans(), max_size=6), max_size=2),
)
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@pytest.mark.slow
def test_the_best_are_those_of_a_plain_ranking(
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
    standardised: bool,
    tree: Query | None,
    likes: bool,
    grouped: bool,
    kept: type[Counted],
    limit: int,
    marks: dict[int, dict[int, bool]],
) -> None:
    monkeypatch.setattr(scoring, "_LEAST_DEPTH", 4)
    monkeypatch.setattr(threshold, "_FIRST", 1)
    like = LIKENESS if likes or tree is None else None
    label_logits = LabelLogits(BACKGROUND, standardised)
    expected = plain(tree, like, label_logits, made, marks if tree is not None else {}, grouped)[:limit]
    found = search_of(kept(made[0]), tree, like, label_logits, marks, grouped).best(limit)
    assert found.ranks.tolist() == pytest.approx([-value for value, _ in expected], abs=threshold._ROUNDING)
    matches = np.array([value for value, _ in expected])
    if len(matches) < 2 or np.diff(matches).min() > threshold._ROUNDING:  # else the last bits of a product decide
        assert found.ids.tolist() == [one for _, one in expected]


def test_what_only_rejects_takes_little_of_a_server(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_LEAST_DEPTH", 4)
    index, label_logits, tree = OnServer(made[0]), LabelLogits(BACKGROUND, standardised=True), parse("NOT a NOT b")
    found = search_of(index, tree, None, label_logits).best(5)
    assert found.ids.tolist() == [one for _, one in plain(tree, None, label_logits, made, {})[:5]]
    assert max(index.depths) < N / 2 and not index.searched


@pytest.mark.parametrize("grouped", [False, True])
def test_an_index_in_this_process_needs_no_lists(made: Made, grouped: bool) -> None:
    index, label_logits, tree = InProcess(made[0]), LabelLogits(BACKGROUND, standardised=True), parse("a AND b NOT c")
    found = search_of(index, tree, None, label_logits, grouped=grouped).best(5)
    assert found.ids.tolist() == [one for _, one in plain(tree, None, label_logits, made, {}, grouped)[:5]]
    assert not index.searched


@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_order_the_first_pictures_anew(made: Made, monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(threshold, "_LEAST_AMONG", 30)
    label_logits, tree, records = LabelLogits(BACKGROUND, standardised=True), parse("a NOT b"), made[1]
    first = [one for _, one in plain(tree, None, label_logits, made, {})[:100]]  # ten for each that is wanted
    means = records.rows[np.array(first) - 1].mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    alike = means @ means.T - 2 * np.eye(100)
    nearest = np.argsort(-alike, axis=1)[:, :k]
    scores, _ = score_records(records[np.array(first) - 1], VECTORS[:2])
    mixed = 0.7 * scores + 0.3 * scores[nearest].mean(axis=1)
    known = dict(zip(map(Label, LABELS[:2]), label_logits.logits(VECTORS[:2], mixed).T, strict=True))
    ranks = ranks_of(log_match(tree, known), is_likely(tree, known))
    found = search_of(made[0], tree, None, label_logits).best_smoothed(10, k)
    assert found.ranks.tolist() == pytest.approx(sorted(ranks, reverse=True)[:10], abs=1e-5)
    places = [first.index(one) for one in found.ids.tolist()]
    assert len(set(places)) == 10 and found.ranks == pytest.approx(ranks[places], abs=1e-5)
    assert found.scores == pytest.approx(mixed[places], abs=1e-5)
    assert found.ids.tolist() != first[:10]


@pytest.mark.parametrize(
    ("query", "searched", "whole"),
    [("a", 1, False), ("a NOT b", 1, False), ("NOT a", 1, True), ("a AND b", None, False), ("a OR NOT b", 2, True)],
)
def test_no_more_of_the_index_is_read_than_the_proof_needs(
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    searched: int | None,
    whole: bool,
) -> None:
    monkeypatch.setattr(scoring, "_LEAST_DEPTH", 20)
    index = Counted(made[0])
    search_of(index, parse(query), None, LabelLogits(BACKGROUND, standardised=True)).best(5)
    assert (max(index.depths) > N) == whole
    assert searched is None or index.searched == searched


def test_a_picture_that_is_removed_during_the_search_is_left_out(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    class Losing(Counted):
        def scores(self, scoring_vectors: np.ndarray, ids: Sequence[int]) -> Any:
            if gone := first & set(ids):
                raise KeyError(gone.pop())
            return self._index.scores(scoring_vectors, ids)

        def get(self, ids: Sequence[int]) -> Any:
            return [None if one in first else self._index.get([one])[0] for one in ids]

    monkeypatch.setattr(scoring, "_LEAST_DEPTH", 20)
    label_logits, tree = LabelLogits(BACKGROUND, standardised=True), parse("a AND b")
    ids = search_of(made[0], tree, None, label_logits).best(8).ids.tolist()
    first = set(ids[:3])
    assert search_of(Losing(made[0]), tree, None, label_logits).best(5).ids.tolist() == ids[3:]
    smoothed = search_of(Losing(made[0]), tree, None, label_logits).best_smoothed(9, 3).ids.tolist()
    assert len(smoothed) == 9 and not first & set(smoothed)


def test_pictures_that_come_during_the_search_push_none_out(
    made: Made,
) -> None:
    class Growing(Counted):
        def info(self) -> Any:
            return replace(self._index.info(), pictures=150)  # so many there were when they were counted

    label_logits, tree = LabelLogits(BACKGROUND, standardised=True), parse("a AND b")
    wanted = search_of(made[0], tree, None, label_logits).best(30).ids.tolist()
    assert search_of(Growing(made[0]), tree, None, label_logits).best(30).ids.tolist() == wanted


def test_a_mark_of_a_picture_outside_the_filters_brings_it_not_in(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_LEAST_DEPTH", 20)
    label_logits, where = LabelLogits(BACKGROUND, standardised=True), Filter(path=("/1/",))
    marks = {0: {2: True, 3: True, 9: False}}  # 2 and 9 are in /1/, 3 is in /2/
    found = Search(made[0], where, Label("a"), ("a",), VECTORS[:1], None, label_logits, marks).best(60).ids.tolist()
    assert found[0] == 2 and 9 not in found and all(meets(made[2][one - 1], where) for one in found)


def test_an_empty_index_has_nothing(tmp_path: Path) -> None:
    index = NumpyIndex(tmp_path, SHAPE)
    assert not len(search_of(index, parse("a"), None, LabelLogits(BACKGROUND, standardised=True)).best(5).ids)
    index.close()
