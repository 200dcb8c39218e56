"""How well probabilities hold, against the slow way and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, precision_score, recall_score

from tagprism.errors import InputError
from tagprism.evaluation.reliability import reliability

SHAPE = (6, 4)
CHANCES = arrays(np.float64, SHAPE, elements=st.floats(0, 1))
TARGETS = arrays(np.int8, SHAPE, elements=st.sampled_from([-1, 0, 1]))


@given(CHANCES, TARGETS, st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(1, 12))
def test_counts_are_those_of_a_loop_over_the_pairs(
    chances: np.ndarray, targets: np.ndarray, cut: float, bins: int
) -> None:
    pairs = [(p, t) for p, t in zip(chances.ravel().tolist(), targets.ravel().tolist(), strict=True) if t >= 0]
    if not pairs:
        with pytest.raises(InputError, match="known"):
            reliability(chances, targets)
        return
    found = reliability(chances, targets, cut=cut, bins=bins)
    places: dict[int, list[tuple[float, int]]] = {}
    for p, t in pairs:
        places.setdefault(min(int(p * bins), bins - 1), []).append((p, t))
    error = sum(abs(sum(p - t for p, t in its)) for its in places.values()) / len(pairs)
    given_, positives = [t for p, t in pairs if p >= cut], sum(t for _, t in pairs)
    assert found.pairs == len(pairs) and found.given == len(given_)
    assert found.ece == pytest.approx(100 * error, abs=1e-9)
    assert found.base_rate == pytest.approx(100 * positives / len(pairs))
    assert found.per_picture == pytest.approx(len(given_) / len(targets))
    assert [(round(b.low * bins), b.pairs) for b in found.bins] == sorted((at, len(its)) for at, its in places.items())
    for value, top, bottom in ((found.precision, sum(given_), len(given_)), (found.recall, sum(given_), positives)):
        assert math.isnan(value) if not bottom else value == pytest.approx(100 * top / bottom)
    assert 0 <= found.ece <= 100 and (math.isnan(found.skill) or found.skill <= 100)


def test_it_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    chances = random.random((300, 7)) ** 3
    targets = (random.random(chances.shape) < chances**1.3).astype(np.int8)
    found, p, t = reliability(chances, targets), chances.ravel(), targets.ravel()
    true, said = calibration_curve(t, p, n_bins=10)
    np.testing.assert_allclose([b.true for b in found.bins], 100 * true)
    np.testing.assert_allclose([b.said for b in found.bins], 100 * said)
    assert found.precision == pytest.approx(100 * precision_score(t, p >= 0.5))
    assert found.recall == pytest.approx(100 * recall_score(t, p >= 0.5))
    spread = t.mean() * (1 - t.mean())
    assert found.skill == pytest.approx(100 * (1 - brier_score_loss(t, p) / spread))


def test_what_is_so_has_no_error_and_the_base_rate_no_skill() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 1]], np.int8)
    perfect = reliability(targets.astype(float), targets)
    assert (perfect.ece, perfect.skill, perfect.precision, perfect.recall) == (0, 100, 100, 100)
    always = reliability(np.full((3, 2), 0.5), targets)
    assert always.ece == pytest.approx(0) and always.skill == pytest.approx(0)


def test_unknown_pairs_are_left_out_or_negative() -> None:
    chances, targets = np.array([[0.9, 0.9]]), np.array([[1, -1]])
    assert reliability(chances, targets).precision == 100
    assert reliability(chances, targets, unknown="negative").precision == 50


def test_json_has_null_where_there_is_no_value() -> None:
    row = reliability(np.array([[0.1]]), np.array([[0]])).to_json()
    assert row["P@p0.5"] is None and row["R@p0.5"] is None and row["brier_skill"] is None
    assert row["bins"][0]["pairs"] == 1


@pytest.mark.parametrize(
    ("chances", "targets", "words"),
    [([[0.5]], [[1, 0]], "shape"), ([[1.5]], [[1]], "outside"), ([[float("nan")]], [[1]], "outside")],
)
def test_what_cannot_be_compared_is_refused(chances: list[list[float]], targets: list[list[int]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        reliability(np.array(chances), np.array(targets))
