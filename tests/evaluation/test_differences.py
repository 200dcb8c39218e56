"""Differences of methods, how sure they are, and the sentence that says whether one beats another."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tagprism.bundle.record import Records
from tagprism.evaluation.differences import over_labels, over_splits, verdict
from tagprism.evaluation.protocols import Evaluation

MakeProblem = Callable[..., Any]  # of conftest.py


def perfect(problem: Any, seed: int, noise: float) -> Evaluation:
    """A method that knows the answers, more or less."""
    scores = problem.targets + noise * np.random.default_rng(seed).standard_normal(problem.targets.shape)
    records = Records(scores.astype(np.float32)[:, None], np.zeros((len(scores), 1), np.float32))
    labels = np.eye(problem.targets.shape[1], dtype=np.float32)
    found: Evaluation = replace(problem, records=records, vectors=labels).evaluate()
    return found


def test_with_one_split_the_labels_are_the_pairs(make_problem: MakeProblem) -> None:
    problem = make_problem()
    ours, theirs = perfect(problem, 1, 0.2), problem.evaluate()
    assert verdict("SDL", [ours], "CLIP", [ours]).startswith(
        "SDL is NOT SHOWN to beat CLIP in both tasks: ZSL mAP +0.0"
    )
    said = verdict("SDL", [ours], "CLIP", [theirs])
    assert said.startswith("SDL beats CLIP in both tasks: ")
    assert verdict("SDL", [theirs], "CLIP", [ours]).startswith("SDL is WORSE than CLIP in both tasks: ")
    differences = [
        mine.average_precision["zsl"] - its.average_precision["zsl"]
        for mine, its in zip(ours.per_label, theirs.per_label, strict=True)
        if mine.unseen and mine.positives
    ]
    expected = statistics.pstdev(differences) / len(differences) ** 0.5  # what the bootstrap is an estimate of
    mean, error = over_labels([ours], [theirs], "zsl")
    assert error == pytest.approx(expected, rel=0.05) and (mean, error) == over_labels([ours], [theirs], "zsl")
    assert f"ZSL mAP {statistics.fmean(differences):+.1f} ± {error:.1f}, GZSL" in said
    assert statistics.fmean(differences) == pytest.approx(ours.zsl.labelled.mean_ap - theirs.zsl.labelled.mean_ap)
    assert "standard error over paired labels" in said


def test_the_bootstrap_of_two_labels_by_hand(make_problem: MakeProblem) -> None:
    evaluation = make_problem().evaluate()
    base = evaluation.per_label[0]
    theirs = replace(evaluation, per_label=tuple(replace(base, average_precision={"zsl": 50.0}) for _ in range(2)))
    ours = replace(theirs, per_label=tuple(replace(base, average_precision={"zsl": value}) for value in (60.0, 40.0)))
    # The means of two labels drawn of +10 and -10 are 10, 0, 0 and -10: deviation sqrt(50).
    assert over_labels([ours], [theirs], "zsl") == (0, pytest.approx(50**0.5, rel=0.05))
    one = [replace(side, per_label=side.per_label[:1]) for side in (ours, theirs)]
    mean, error = over_labels(one[:1], one[1:], "zsl")
    assert mean == 10 and np.isnan(error)


def test_differences_over_splits_by_hand() -> None:
    assert over_splits([12.0, 20.0], [11.0, 16.0]) == pytest.approx((2.5, 1.5))
    assert np.isnan(over_splits([12.0], [11.0])[1])


def test_with_several_splits_the_splits_are_the_pairs(make_problem: MakeProblem) -> None:
    problems = [make_problem(seed) for seed in range(4)]
    ours, theirs = ([perfect(one, by, 0.5) for one in problems] for by in (1, 2))
    said = verdict("SDL", ours, "CLIP", theirs)
    values = [a.zsl.labelled.mean_ap - b.zsl.labelled.mean_ap for a, b in zip(ours, theirs, strict=True)]
    error = statistics.stdev(values) / 2
    assert f"ZSL mAP {statistics.fmean(values):+.1f} ± {error:.1f}" in said and "over paired splits" in said
    better = abs(statistics.fmean(values)) > 2 * error
    assert ("NOT SHOWN" in said.partition(":")[0].partition(" and ")[0]) is not better
