"""The sentence that says whether one method beats another."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tagprism.comparing.verdict import verdict
from tagprism.evaluation.protocols import Evaluation
from tests.evaluation.conftest import random_problem


def perfect(problem: Any, seed: int, noise: float) -> Evaluation:
    """A method that knows the answers, more or less."""
    scores = problem.targets + noise * np.random.default_rng(seed).standard_normal(problem.targets.shape)
    matrices = np.concatenate([scores, np.zeros((len(scores), 1))], axis=1).astype(np.float32)[:, None]
    labels = np.eye(problem.targets.shape[1], dtype=np.float32)
    found: Evaluation = replace(problem, matrices=matrices, vectors=labels).evaluate()
    return found


def test_with_one_split_the_labels_are_the_pairs() -> None:
    problem = random_problem()
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
    error = statistics.stdev(differences) / len(differences) ** 0.5
    assert f"ZSL mAP {statistics.fmean(differences):+.1f} ± {error:.1f}, GZSL" in said
    assert statistics.fmean(differences) == pytest.approx(ours.zsl.labelled.mean_ap - theirs.zsl.labelled.mean_ap)
    assert "standard error over paired labels" in said


def test_with_several_splits_the_splits_are_the_pairs() -> None:
    problems = [random_problem(seed) for seed in range(4)]
    ours, theirs = ([perfect(one, by, 0.5) for one in problems] for by in (1, 2))
    said = verdict("SDL", ours, "CLIP", theirs)
    values = [a.zsl.labelled.mean_ap - b.zsl.labelled.mean_ap for a, b in zip(ours, theirs, strict=True)]
    error = statistics.stdev(values) / 2
    assert f"ZSL mAP {statistics.fmean(values):+.1f} ± {error:.1f}" in said and "over paired splits" in said
    better = abs(statistics.fmean(values)) > 2 * error
    assert ("NOT SHOWN" in said.partition(":")[0].partition(" and ")[0]) is not better
