"""The collapse meter on matrices whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tagprism.tagging.collapse import Collapse, CollapseMeter, effective_rank, mean_cosine

ROW = np.array([1.0, 2.0, -1.0, 0.5], np.float32)
EQUAL = np.tile(ROW, (1, 3, 1))
ORTHOGONAL = 2 * np.eye(3, 4, dtype=np.float32)[None]


def measured(matrices: np.ndarray, vectors: np.ndarray, top: int = 10) -> Collapse:
    """Rows of records, measured one by one."""
    meter = CollapseMeter(vectors, top)
    for matrix in matrices:
        meter.add(matrix[None])
    return meter.result()


def test_equal_rows_are_one_direction_and_orthogonal_ones_are_three() -> None:
    both = np.concatenate([EQUAL, ORTHOGONAL])
    np.testing.assert_allclose(effective_rank(both), [1, 3])
    np.testing.assert_allclose(mean_cosine(both), [1, 0], atol=1e-7)


def test_two_directions_of_known_energies() -> None:
    matrix = np.array([[[3.0, 0.0], [0.0, 1.0]]])
    shares = np.array([0.9, 0.1])
    np.testing.assert_allclose(effective_rank(matrix), np.exp(-(shares * np.log(shares)).sum()))
    np.testing.assert_allclose(mean_cosine(np.array([[[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0]]])), [-1 / 3])


def test_rows_of_zeros_break_nothing() -> None:
    matrices = np.zeros((2, 3, 4), np.float32)
    matrices[1, 0] = ROW
    np.testing.assert_allclose(effective_rank(matrices), [1, 1])
    np.testing.assert_allclose(mean_cosine(matrices), [0, 0])


@given(
    arrays.arrays(
        np.float32, st.tuples(st.just(3), st.integers(2, 5), st.integers(1, 6)), elements=st.floats(-9, 9, width=32)
    )
)
def test_ranges_and_what_changes_nothing(matrices: np.ndarray) -> None:
    M = matrices.shape[1]
    ranks, cosines = effective_rank(matrices), mean_cosine(matrices)
    assert ((ranks >= 1 - 1e-9) & (ranks <= min(matrices.shape[1:]) + 1e-9)).all()
    assert ((cosines >= -1 / (M - 1) - 1e-9) & (cosines <= 1 + 1e-9)).all()
    np.testing.assert_allclose(effective_rank(4 * matrices[:, ::-1]), ranks, rtol=1e-6)
    np.testing.assert_allclose(mean_cosine(4 * matrices[:, ::-1]), cosines, atol=1e-6)


def test_a_collapsed_model_is_called_so() -> None:
    found = measured(np.tile(EQUAL, (4, 1, 1)), np.eye(4, dtype=np.float32))
    assert found.verdict == "collapsed"
    np.testing.assert_allclose(found.gain, 0, atol=1e-6)
    assert (found.wins.tolist(), found.dead) == ([1, 0, 0], [1, 2])  # ties go to the first


def test_close_vectors_that_decide_tags_are_not_collapsed() -> None:
    common = np.array([0, 0, 0, 20], np.float32)  # the same for every label below
    vectors = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], np.float32)
    found = measured(np.tile(ORTHOGONAL + common, (4, 1, 1)), vectors)
    assert found.cosine.mean() > 0.95 and found.effective_rank.mean() < 1.1
    assert found.verdict == "close" and not found.dead


def test_wins_are_counted_over_all_labels_and_over_the_best() -> None:
    vectors = np.array([[2, 0, 0, 0], [1, 0, 0, 0], [0, 0.5, 0, 0], [0, 0.1, 0, 0]], np.float32)
    found = measured(np.tile(ORTHOGONAL, (3, 1, 1)), vectors, top=2)
    np.testing.assert_allclose(found.wins, [0.5, 0.5, 0])
    np.testing.assert_allclose(found.top_wins, [1, 0, 0])
    assert (found.verdict, found.dead) == ("diverse", [2])
    scores = np.array([4, 2, 1, 0.2])
    np.testing.assert_allclose(found.gain, np.mean([4 - 4 / 3, 2 - 2 / 3]) / scores.std(), rtol=1e-6)


def test_a_single_vector_cannot_collapse() -> None:
    found = measured(np.tile(ROW, (2, 1, 1)), np.eye(4, dtype=np.float32))
    assert (found.verdict, found.dead, found.wins.tolist()) == ("single", [], [1])
    assert np.isnan(found.cosine).all() and found.effective_rank == pytest.approx([1, 1])
