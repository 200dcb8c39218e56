"""Ranking against slow, obvious versions, with many ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tagprism.evaluation.ranking import average_precision_of_ranks, best_labels, images_before

FEW = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 3.0])  # few values, so that ties are everywhere
SCORES = st.integers(1, 30).flatmap(lambda n: arrays(np.float32, n, elements=FEW))


@given(SCORES, st.data())
def test_counts_add_up_to_the_place_in_a_stable_sort(scores: np.ndarray, data: st.DataObject) -> None:
    inside = data.draw(arrays(bool, len(scores)))
    places = np.empty(len(scores), int)
    places[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    own = np.arange(len(scores))
    parts = [np.flatnonzero(inside), np.flatnonzero(~inside)]
    counts = sum(images_before(scores[part], part, scores, own) for part in parts)
    np.testing.assert_array_equal(counts, places)


def test_an_empty_list_has_nothing_before_and_nobody_asked_gives_nothing() -> None:
    nobody, nothing = np.empty(0, np.int64), np.empty(0, np.float32)
    np.testing.assert_array_equal(images_before(nothing, nobody, np.ones(2, np.float32), np.array([0, 5])), [0, 0])
    assert images_before(np.ones(3, np.float32), np.arange(3), nothing, nobody).shape == (0,)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=FEW), st.data())
def test_best_labels_are_the_first_of_a_stable_sort(scores: np.ndarray, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, scores.shape[1]))
    before = scores.copy()
    best, values = best_labels(scores, k)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(best, order)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, order, axis=1))
    np.testing.assert_array_equal(scores, before)


def test_labels_that_an_image_must_not_get_are_never_given() -> None:
    best, values = best_labels(np.array([[-np.inf, 2.0, -np.inf], [-np.inf] * 3], np.float32), 2)
    np.testing.assert_array_equal(best, [[1, -1], [-1, -1]])
    np.testing.assert_array_equal(values, [[2.0, -np.inf], [-np.inf, -np.inf]])


def test_average_precision_of_known_places() -> None:
    assert average_precision_of_ranks(np.array([4, 1])) == (1 / 1 + 2 / 4) / 2
    assert np.isnan(average_precision_of_ranks(np.empty(0, np.int64)))
