"""The map for the further words of a large vocabulary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tagprism.bundle.record import Records, score_records, scoring_vectors
from tagprism.labels.encoders.encoder import unit_rows
from tagprism.labels.vocabulary import Role, Vocabulary
from tagprism.tagging.calibration import MonotoneMap, background_statistics, pair_features
from tagprism.training.calibrate import _for_many

MAP = MonotoneMap(np.array([0.5, 0.5, 0.0]), np.array([-3.0, 1.0, 3.0]), np.array([-6.0, 0.0, 3.0]))


def fitted(its: MonotoneMap, known: MonotoneMap) -> tuple[MonotoneMap, float, float]:
    """What becomes of a map for 400 further words, and the likely sums of the five trained labels and of the words."""
    random = np.random.default_rng(0)
    vectors = unit_rows(random.standard_normal((405, 6)).astype(np.float32))
    roles: tuple[Role, ...] = ("seen",) * 5 + ("other",) * 400
    vocabulary = Vocabulary(tuple(f"word {at}" for at in range(405)), vectors, roles)
    prepared: Any = SimpleNamespace(vocabulary=vocabulary, seen_vectors=vectors[:5])
    shapes = ((16, 2, 6), (16, 1))
    background = Records(*(random.standard_normal(shape).astype(np.float16) for shape in shapes))
    statistics, reference = background_statistics(background, vectors), scoring_vectors(vectors[:5])
    found = _for_many(its, known, prepared, background, None, statistics)

    def likely(map_: MonotoneMap, rows: slice) -> float:
        scores, _ = score_records(background, scoring_vectors(vectors[rows]))
        probabilities = map_(pair_features(background, scores, statistics[rows], reference).reshape(-1, 3))
        return float(probabilities[probabilities >= 0.5].sum())

    return found, likely(known, slice(5)), likely(found, slice(5, 405))


def test_likely_further_words_are_a_fifth_of_the_trained_labels() -> None:
    found, trained, words = fitted(MAP, MAP)
    assert 0 < words <= trained / 5 < words + 1.5
    by = MAP.logits - found.logits
    assert (by > 0).all() and np.allclose(by, by[0])


def test_a_long_tail_of_unlikely_words_lowers_nothing() -> None:
    sure = MonotoneMap(MAP.weights, MAP.knots, np.array([1.0, 2.0, 3.0]))
    never = MonotoneMap(np.zeros(3), MAP.knots, np.array([-0.6, -0.6, -0.6]))  # 400 words at 0.35 each
    assert fitted(never, sure)[0] is never
