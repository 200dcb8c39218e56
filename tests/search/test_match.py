"""AND, OR, NOT and weights against plain chances, and the bounds that the search relies on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tagprism.search.conditions import Filter
from tagprism.search.filtered import divided
from tagprism.search.match import LIKELY, LIKELY_LOGIT, PhraseLogits, is_likely, log_match, log_probability, ranks_of
from tagprism.search.parse import parse
from tagprism.search.query import And, Label, Not, Or, Query, Weighted, positive_labels
from tagprism.tagging.calibration import MonotoneMap

LABELS = [Label(name) for name in "abcd"]


def grow(parts: st.SearchStrategy[Query]) -> st.SearchStrategy[Query]:
    weighted = st.builds(Weighted, st.floats(0.1, 5), parts)
    several = st.lists(parts | weighted, min_size=2, max_size=3).map(tuple)
    return several.map(And) | several.map(Or) | parts.map(Not)


TREES: st.SearchStrategy[Query] = st.recursive(st.sampled_from(LABELS), grow, max_leaves=8)
LOGITS = st.lists(st.floats(-6, 6), min_size=len(LABELS), max_size=len(LABELS))


def chance(tree: Query, of: dict[str, float]) -> float:
    """The match as people would compute it."""
    match tree:
        case Label(text):
            return of[text]
        case Not(part):
            return 1 - chance(part, of)
        case Weighted(_, part):
            return chance(part, of)
        case And(parts):
            return float(np.prod([chance(part, of) ** getattr(part, "weight", 1) for part in parts]))
        case Or(parts):
            return 1 - float(np.prod([(1 - chance(part, of)) ** getattr(part, "weight", 1) for part in parts]))
    raise AssertionError(tree)


def known(logits: list[float]) -> dict[Label, np.ndarray]:
    return {label: np.array([value]) for label, value in zip(LABELS, logits, strict=True)}


@given(TREES, LOGITS)
def test_the_match_is_that_of_independent_chances(tree: Query, logits: list[float]) -> None:
    of = {label.text: 1 / (1 + np.exp(-value)) for label, value in zip(LABELS, logits, strict=True)}
    assert np.exp(log_match(tree, known(logits)))[0] == pytest.approx(chance(tree, of), abs=1e-9)


def likely(tree: Query, of: dict[str, float]) -> bool:
    """Whether a picture is likely, as people would find out."""
    match tree:
        case Label(text):
            return of[text] >= LIKELY
        case Not(part):
            return not likely(part, of)
        case Weighted(_, part):
            return likely(part, of)
        case And(parts):
            return all(likely(part, of) for part in parts)
        case Or(parts):
            short = chance(tree, of) - (1 - LIKELY if [*positive_labels(Not(tree))] else LIKELY)
            assume(abs(short) > 1e-9)
            return any(likely(part, of) for part in parts) or short > 0
    raise AssertionError(tree)


@given(TREES, LOGITS)
def test_a_picture_is_likely_by_each_thing_that_it_must_have(tree: Query, logits: list[float]) -> None:
    of = {label.text: 1 / (1 + np.exp(-value)) for label, value in zip(LABELS, logits, strict=True)}
    assert is_likely(tree, known(logits))[0] == likely(tree, of)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a", [True, False, True, False]),
        ("a AND b", [False, False, True, False]),
        ("a NOT b", [True, False, False, False]),
        ("a OR b", [True, True, True, False]),
        ("NOT (a OR b)", [False, False, False, True]),
        ("NOT a NOT b", [False, False, False, True]),
        ("3*a AND 0.1*b", [False, False, True, False]),
        ("(a AND b) OR c", [False, False, True, False]),
        ("(a AND b) OR 0.1*d", [True, True, True, True]),
    ],
)
def test_what_is_likely_of_labels_that_are_just_likely_or_just_not(query: str, expected: list[bool]) -> None:
    """A certain `a` beside an unlikely `b` was once likely for `a AND b`, as their product was."""
    just = np.nextafter(LIKELY_LOGIT, -1)
    values = {Label("a"): np.array([9.0, just, LIKELY_LOGIT, -2.0]), Label("b"): np.array([just, 9.0, 9.0, -2.0])}
    values[Label("c")], values[Label("d")] = np.full(4, -np.inf), np.full(4, LIKELY_LOGIT)
    assert is_likely(parse(query), values).tolist() == expected


@given(TREES, st.lists(LOGITS, min_size=2, max_size=9))
def test_likely_pictures_are_ranked_before_all_others(tree: Query, logits: list[list[float]]) -> None:
    values = {label: np.array(column) for label, column in zip(LABELS, zip(*logits, strict=True), strict=True)}
    matches, are = log_match(tree, values), is_likely(tree, values)
    order = np.argsort(-ranks_of(matches, are), kind="stable")
    assert (np.diff(are[order].astype(int)) <= 0).all()
    for some in (are, ~are):  # and each of the two by the match
        assert (np.diff(matches[order[some[order]]]) <= 1e-9).all()


@given(TREES, LOGITS, LOGITS, LOGITS)
def test_bounds_hold(tree: Query, one: list[float], two: list[float], three: list[float]) -> None:
    least, middle, most = np.sort([one, two, three], axis=0).tolist()
    actual = log_match(tree, known(middle))[0]
    assert log_match(tree, known(most), known(least))[0] >= actual - 1e-9
    assert log_match(tree, known(least), known(most))[0] <= actual + 1e-9
    are = is_likely(tree, known(middle))[0]
    assert is_likely(tree, known(most), known(least))[0] >= are >= is_likely(tree, known(least), known(most))[0]


@given(TREES, LOGITS, LOGITS)
def test_the_match_rises_with_the_labels_that_are_said_to(tree: Query, one: list[float], two: list[float]) -> None:
    rising, falling = set(positive_labels(tree)), set(positive_labels(Not(tree)))
    low, high = np.sort([one, two], axis=0)
    for place, label in enumerate(LABELS):
        less, more = low.copy(), low.copy()
        more[place] = high[place]
        change = log_match(tree, known(more.tolist()))[0] - log_match(tree, known(less.tolist()))[0]
        assert change >= -1e-9 or label.text in falling
        assert change <= 1e-9 or label.text in rising


def test_one_label_ranks_as_its_logit_does_however_extreme() -> None:
    logits = np.linspace(-300, 300, 100_001)
    for query in ("a", "2*a", "a AND a", "a OR a", "NOT NOT a"):
        assert (np.diff(log_match(parse(query), {Label("a"): logits})) > 0).all(), query
    assert (np.diff(log_match(parse("NOT a"), {Label("a"): logits})) < 0).all()


def test_a_weight_counts_as_equal_parts() -> None:
    values = {Label(name): np.array([0.3, -2.0, 4.0]) for name in "ab"}
    values[Label("b")] = np.array([1.0, 0.5, -3.0])
    for weighted, plain in (
        ("2*a AND b", "a AND a AND b"),
        ("3*a OR b", "a OR a OR a OR b"),
        ("b NOT 2*a", "b NOT a NOT a"),
        ("2*(a OR b) AND b", "(a OR b) (a OR b) b"),
    ):
        assert log_match(parse(weighted), values) == pytest.approx(log_match(parse(plain), values))


def test_certain_and_impossible_labels() -> None:
    values = {Label("a"): np.array([np.inf, -np.inf]), Label("b"): np.array([0.0, 0.0])}
    half = np.log(0.5)
    assert log_match(parse("a AND b"), values).tolist() == pytest.approx([half, -np.inf])
    assert log_match(parse("a OR b"), values).tolist() == pytest.approx([0, half])
    assert log_match(parse("NOT a"), values).tolist() == [-np.inf, 0]
    assert log_probability(np.array([0.0]))[0] == pytest.approx(half)


def test_filters_of_the_outermost_and_are_sifted_by_the_index() -> None:
    assert divided(parse("dog")) == (None, parse("dog"))
    assert divided(parse("taken:2024")) == (Filter(taken=(("2024", "2024"),)), None)
    assert divided(parse("dog NOT cat path:a -path:b -taken:..2020 taken:2019..")) == (
        Filter((("2019", ""),), ("a",), (("", "2020"),), ("b",)),
        parse("dog NOT cat"),
    )
    assert divided(parse("dog path:a"))[1] == Label("dog")
    facts = divided(parse("camera:nikon dog NOT rating:1 type:raw"))
    sifted = Filter(fields=(("camera", "nikon"), ("type", "raw")), not_fields=(("rating", "1"),))
    assert facts == (sifted, Label("dog"))
    either = parse("dog AND (path:a OR path:b)")
    assert divided(either) == (None, either)


def test_a_phrase_ranks_by_its_score_also_where_the_map_is_level() -> None:
    level = MonotoneMap(np.array([0.0, 1.0, -0.5]), np.array([0.0, 2.0, 4.0]), np.array([-3.0, 1.0, 1.0]))
    scores = np.array([[1.0], [5.0], [6.0], [9.0]])
    logits = PhraseLogits(level, best=4.0, offset=1.0)(np.zeros((4, 1)), scores)[:, 0]
    np.testing.assert_allclose(logits, [-3.0, 1.0, 1.0, 1.0], atol=0.01)
    assert (np.diff(logits) > 0).all()
    nothing = np.full((1, 1), -np.inf)  # the bound of an empty list
    (bound,) = PhraseLogits(level, best=4.0, offset=1.0)(nothing, nothing).ravel()
    assert np.isfinite(bound) and bound < logits[0]
