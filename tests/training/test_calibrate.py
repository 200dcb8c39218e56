"""The map for the further words of a large vocabulary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tagprism.labels.encoder_card import unit_rows
from tagprism.labels.vocabulary import Role, Vocabulary
from tagprism.model.max_similarity import max_similarity_numpy
from tagprism.model.queries import label_queries
from tagprism.tagging.calibration import MonotoneMap, background_statistics, pair_features
from tagprism.training.calibrate import _for_many

MAP = MonotoneMap(np.array([0.5, 0.5, 0.0]), np.array([-3.0, 1.0, 3.0]), np.array([-6.0, 0.0, 3.0]))


def expected(its: MonotoneMap, labels_per_picture: float) -> tuple[MonotoneMap, float, float]:
    """What becomes of a map for 400 further words, and what the likely and all of them sum to in a picture."""
    random = np.random.default_rng(0)
    vectors = unit_rows(random.standard_normal((405, 6)).astype(np.float32))
    roles: tuple[Role, ...] = ("seen",) * 5 + ("other",) * 400
    vocabulary = Vocabulary(tuple(f"word {at}" for at in range(405)), vectors, roles)
    prepared: Any = SimpleNamespace(vocabulary=vocabulary, seen_vectors=vectors[:5])
    background = random.standard_normal((16, 2, 7)).astype(np.float16)
    statistics = background_statistics(background, vectors)
    found = _for_many(its, prepared, background, None, statistics, labels_per_picture)
    scores, _ = max_similarity_numpy(background, label_queries(vectors[5:]))
    features = pair_features(background, scores, statistics[5:], label_queries(vectors[:5])).reshape(-1, 3)
    probabilities = found(features)
    return found, float(probabilities[probabilities >= 0.5].sum() / 16), float(probabilities.sum() / 16)


def test_further_words_that_are_likely_are_no_more_than_the_labels_of_a_picture() -> None:
    found, likely, _ = expected(MAP, 3.0)
    assert 2.0 < likely <= 3.0
    by = MAP.logits - found.logits
    assert (by > 0).all() and np.allclose(by, by[0])


def test_a_long_tail_of_unlikely_words_lowers_nothing() -> None:
    few = MonotoneMap(MAP.weights, MAP.knots, MAP.logits - 2)
    _, likely, every = expected(few, 1000.0)
    assert every > likely + 5
    found, _, _ = expected(few, likely + 0.1)
    assert found is few
