"""A small test set that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tagprism.bundle.record import Records
from tagprism.evaluation.protocols import Evaluation
from tagprism.evaluation.streaming import evaluate_records


@dataclass(frozen=True)
class Problem:
    """Random records and labels; `ties` makes scores coincide."""

    records: Records
    names: tuple[str, ...]
    vectors: np.ndarray
    unseen: np.ndarray
    targets: np.ndarray

    def evaluate(self, **options: object) -> Evaluation:
        """Evaluate the whole problem."""
        return evaluate_records(self.records, self.names, self.vectors, self.unseen, self.targets, **options)  # type: ignore[arg-type]


def random_problem(
    seed: int = 0, *, ties: bool = False, unknown: float = 0.0, images: int = 300, labels: int = 30
) -> Problem:
    """A third of the labels unseen; one unseen and one seen label without positives; many images without any."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((images, 3, 8)).astype(np.float32)
    shared = generator.standard_normal((images, 1)).astype(np.float32)
    vectors = generator.standard_normal((labels, 8)).astype(np.float32)
    if ties:
        rows, shared, vectors = np.round(rows), np.round(shared), np.round(vectors)
    targets = (generator.random((images, labels)) < 0.05).astype(np.int8)
    targets[generator.random(targets.shape) < unknown] = -1
    targets[:, [3, labels - 1]] = np.minimum(targets[:, [3, labels - 1]], 0)
    names = tuple(f"label {i}" for i in range(labels))
    return Problem(Records(rows, shared), names, vectors, np.arange(labels) < labels // 3, targets)


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    """Build a problem: `make_problem(seed, ties=True, unknown=0.3)`."""
    return random_problem


@pytest.fixture
def problem() -> Problem:
    """A plain problem without unknown labels."""
    return random_problem()
