"""Metrics against scikit-learn, the authors' numbers, slow versions and their own definitions."""

from __future__ import annotations

import doctest
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tagprism.errors import InputError
from tagprism.evaluation import metrics
from tagprism.evaluation.metrics import (
    average_precisions,
    labelled_images,
    mean_average_precision,
    precision_recall_curve,
    precision_recall_f1_at_k,
)
from tagprism.evaluation.ranking import expected_average_precision

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 6))
FEW = st.sampled_from([-1.0, 0.0, 0.5, 2.0])


@st.composite
def problems(draw: st.DrawFn, marks: tuple[int, ...] = (-1, 0, 1)) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    return draw(arrays(np.float64, shape, elements=FEW)), draw(arrays(np.int8, shape, elements=st.sampled_from(marks)))


def slow_average_precision(scores: list[float], targets: list[int]) -> float:
    """The definition, word for word; unknown images are not there."""
    ranking = sorted((-score, image) for image, score in enumerate(scores) if targets[image] != -1)
    hits, precisions = 0, []
    for place, (_, image) in enumerate(ranking, 1):
        if targets[image] == 1:
            hits += 1
            precisions.append(hits / place)
    return 100 * sum(precisions) / len(precisions) if precisions else float("nan")


def slow_at_k(scores: np.ndarray, targets: np.ndarray, k: int) -> tuple[int, int, int]:
    """Hits, predictions and positives, one image at a time."""
    hits = predicted = 0
    for own, marks in zip(scores.tolist(), targets.tolist(), strict=True):
        known = sorted((-score, label) for label, score in enumerate(own) if marks[label] != -1)
        best = [label for _, label in known[:k]]
        predicted += len(best)
        hits += sum(marks[label] == 1 for label in best)
    return hits, predicted, int((targets == 1).sum())


@given(problems())
def test_average_precision_is_its_definition(problem: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = problem
    slow = [slow_average_precision(scores[:, i].tolist(), targets[:, i].tolist()) for i in range(scores.shape[1])]
    np.testing.assert_allclose(average_precisions(scores, targets), slow, rtol=1e-12)


def test_average_precision_is_scikit_learns_where_nothing_ties() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    scores = generator.permutation(4000).reshape(200, 20).astype(np.float32)
    targets = (generator.random((200, 20)) < 0.1).astype(np.int8)
    expected = [100 * sklearn_metrics.average_precision_score(targets[:, i], scores[:, i]) for i in range(20)]
    np.testing.assert_allclose(average_precisions(scores, targets), expected, rtol=1e-12)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_authors_numbers_in_the_authors_options(shared: Path, case: int) -> None:
    description = json.loads((shared / "golden/official_metrics.json").read_text())[case]
    arrays_ = np.load(shared / "golden/official_metrics.npz", allow_pickle=False)
    name, vectors = description["name"], arrays_[f"{description['name']}/label_vectors"]
    matrices = arrays_[f"{name}/flat_output"].reshape(-1, vectors.shape[1], description["M"]).swapaxes(1, 2)
    columns = description["relevant"]
    scores = (matrices.astype(np.float64) @ vectors.T.astype(np.float64)).max(axis=1)[:, columns]
    targets = arrays_[f"{name}/targets"][:, columns]
    keep = labelled_images(targets)
    expected = description["result"]
    for k in (3, 5):
        for key, value in precision_recall_f1_at_k(scores, targets, k, unknown="negative").items():
            assert value == pytest.approx(expected[key], rel=1e-12)
    # The authors divide by the number of positives + 1e-8, which is all that is between their mAP and ours.
    ours = mean_average_precision(scores[keep], targets[keep], empty="zero", unknown="negative")
    assert ours == pytest.approx(expected["mAP"], rel=1e-8)
    positives = (targets[keep] == 1).sum(axis=0)
    values = np.nan_to_num(average_precisions(scores[keep], targets[keep], unknown="negative"))
    assert np.mean(values * positives / (positives + 1e-8)) == pytest.approx(expected["mAP"], rel=1e-12)


@given(problems(), st.data())
def test_precision_recall_f1_are_their_definitions(problem: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    scores, targets = problem
    k = data.draw(st.integers(1, scores.shape[1]))
    image_set = data.draw(st.sampled_from(["labelled", "all"]))
    keep = (targets == 1).any(axis=1) if image_set == "labelled" else np.ones(len(targets), bool)
    hits, predicted, positives = slow_at_k(scores[keep], targets[keep], k)
    result = precision_recall_f1_at_k(scores, targets, k, image_set=image_set)
    expected = {
        f"P@{k}": 100 * hits / predicted if predicted else np.nan,
        f"R@{k}": 100 * hits / positives if positives else np.nan,
        f"F1@{k}": 200 * hits / (predicted + positives) if predicted + positives else np.nan,
    }
    assert result == pytest.approx(expected, nan_ok=True)


@given(problems())
def test_unknown_as_negative_is_zero_in_place_of_minus_one(problem: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = problem
    zeros = np.maximum(targets, 0)
    for metric in (average_precisions, mean_average_precision):
        np.testing.assert_array_equal(metric(scores, targets, unknown="negative"), metric(scores, zeros))
    result = precision_recall_f1_at_k(scores, targets, 1, unknown="negative")
    assert result == pytest.approx(precision_recall_f1_at_k(scores, zeros, 1), nan_ok=True)


@given(problems())
def test_everything_is_a_percentage_or_not_a_number(problem: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = problem
    numbers = [
        *average_precisions(scores, targets),
        mean_average_precision(scores, targets),
        *precision_recall_f1_at_k(scores, targets, 1).values(),
    ]
    assert all(0 <= number <= 100 or np.isnan(number) for number in numbers)
    assert np.isnan(numbers[-1]) == (not (targets == 1).any())


@given(problems(), st.data())
def test_no_method_is_above_the_ceiling_and_the_truth_reaches_it(
    problem: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    scores, targets = problem
    k = data.draw(st.integers(1, scores.shape[1]))
    ceiling = precision_recall_f1_at_k(targets, targets, k)
    positives = (targets == 1).sum(axis=1)
    most = 100 * np.minimum(positives, k).sum() / positives.sum() if positives.any() else np.nan
    assert ceiling[f"R@{k}"] == pytest.approx(most, nan_ok=True)
    for key, value in precision_recall_f1_at_k(scores, targets, k).items():
        assert not value > ceiling[key]


@pytest.mark.parametrize(("n", "positives"), [(1, 1), (5, 1), (5, 2), (6, 5), (6, 6), (7, 3)])
def test_chance_is_the_mean_over_every_order(n: int, positives: int) -> None:
    all_places = itertools.combinations(range(1, n + 1), positives)
    values = [np.mean([(i + 1) / place for i, place in enumerate(places)]) for places in all_places]
    assert expected_average_precision(n, positives) == pytest.approx(100 * np.mean(values), rel=1e-12)


def test_chance_of_many_labels_at_once_leaves_out_those_without_positives() -> None:
    chance = expected_average_precision(np.array([5, 5, 0]), np.array([1, 0, 0]))
    np.testing.assert_array_equal(np.isnan(chance), [False, True, True])


def test_labels_without_positives_are_left_out_or_count_as_zero() -> None:
    scores, targets = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1, 0], [0, 0]])
    assert mean_average_precision(scores, targets) == 100
    assert mean_average_precision(scores, targets, empty="zero") == 50
    assert np.isnan(mean_average_precision(scores, np.zeros((2, 2))))
    assert mean_average_precision(scores, np.zeros((2, 2)), empty="zero") == 0


def test_of_equal_scores_the_lower_index_comes_first() -> None:
    assert average_precisions(np.zeros((2, 1)), np.array([[1], [0]]))[0] == 100
    assert average_precisions(np.zeros((2, 1)), np.array([[0], [1]]))[0] == 50
    assert precision_recall_f1_at_k(np.zeros((1, 3)), np.array([[0, 1, 0]]), 1)["P@1"] == 0
    assert precision_recall_f1_at_k(np.zeros((1, 3)), np.array([[1, 0, 0]]), 1)["P@1"] == 100


@given(problems())
def test_a_curve_has_one_point_per_positive_and_the_average_precision_as_its_mean(
    problem: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, targets = problem
    recall, precision = precision_recall_curve(scores[:, 0], targets[:, 0])
    assert len(recall) == len(precision) == (targets[:, 0] == 1).sum()
    if len(recall):
        assert recall[-1] == 100
        assert (np.diff(recall) > 0).all()
        assert np.mean(precision) == pytest.approx(average_precisions(scores, targets)[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_are_taken_as_they_are(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    scores = torch.tensor([[0.5, 2.0], [1.0, -1.0]], dtype=getattr(torch, dtype), requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(average_precisions(scores, targets), [50, 50])
    assert labelled_images(targets).all()
    assert precision_recall_f1_at_k(scores, targets, 1) == {"P@1": 0, "R@1": 0, "F1@1": 0}


def test_booleans_integers_and_lists_are_taken_too() -> None:
    assert mean_average_precision([[2, 1], [1, 2]], [[True, False], [False, True]]) == 100
    assert mean_average_precision(np.array([[2.0]], np.float16), [[1]]) == 100


BAD: list[tuple[Any, Any, dict[str, Any], str]] = [
    (
        [[1.0]],
        [[2]],
        {},
        r"^targets must be 1 \(positive\), 0 \(negative\) or -1 \(unknown\), not 2 \(image 0, label 0\)\.$",
    ),
    ([[1.0, 2.0]], [[1, 0.7]], {}, r"^targets must be 1 .*, not 0\.7 \(image 0, label 1\)\.$"),
    ([[1.0]], [[np.nan]], {}, "^targets must be 1 .*, not nan"),
    ([[1.0]], np.array([[2]], np.int8), {}, "^targets must be 1 .*, not 2"),
    ([[1.0], [1.0, 2.0]], [[1], [0]], {}, r"^scores and targets must be arrays \("),
    ([["a"]], [[1]], {}, "^scores and targets must be numbers, not <U1.$"),
    ([[1.0]], [[257]], {}, "^targets must be 1"),
    ([1.0], [1], {}, r"^targets must have the shape \(images, labels\), not \(1,\)\.$"),
    ([[1.0, 2.0]], [[1]], {}, r"^scores \(1, 2\) and targets \(1, 1\) must have the same shape"),
    ([[np.nan]], [[1]], {}, r"^the score of image 0 for label 0 is nan, not finite\. Find out where"),
    ([[1.0], [np.inf]], [[1], [0]], {}, "^the score of image 1 for label 0 is inf"),
    ([[1.0]], [[1]], {"unknown": "maybe"}, "^unknown must be one of ignore, negative, not 'maybe'.$"),
    ([[1.0]], [[1]], {"empty": "skip"}, "^empty must be one of exclude, zero, not 'skip'.$"),
]


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(("scores", "targets", "options", "message"), BAD)
def test_what_cannot_be_ranked_is_refused(scores: Any, targets: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mean_average_precision(scores, targets, **options)


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(
    ("k", "options", "message"),
    [
        (0, {}, "^k is 0, but must be a whole number from 1 to the number of labels, 2.$"),
        (3, {}, "^k is 3, but must be"),
        (1.5, {}, "^k is 1.5, but must be"),
        (True, {}, "^k is True, but must be"),
        (1, {"image_set": "some"}, "^image_set must be one of labelled, all, not 'some'.$"),
    ],
)
def test_a_wrong_k_or_image_set_is_refused(k: Any, options: dict[str, Any], message: str) -> None:
    targets = np.array([[1, 0]])
    with pytest.raises(InputError, match=message):
        precision_recall_f1_at_k(targets, targets, k, **options)


def test_the_examples_of_the_docstrings_run() -> None:
    assert doctest.testmod(metrics).failed == 0 < doctest.testmod(metrics).attempted
