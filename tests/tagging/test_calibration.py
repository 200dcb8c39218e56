"""Probabilities: what they depend on, that they rise with the score, and that nothing else in a call changes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from tagprism.bundle.record import Records, score_records, scoring_vectors
from tagprism.errors import InputError
from tagprism.files import read_tensors
from tagprism.labels.vocabulary import Role, Vocabulary
from tagprism.tagging.calibration import (
    Calibration,
    MonotoneMap,
    WordKnowledge,
    background_statistics,
    pair_features,
)
from tagprism.tagging.monotone_fit import fit_monotone
from tagprism.tagging.tagger import load

D, M = 5, 3


def unit(random: np.random.Generator, count: int) -> np.ndarray:
    vectors = random.standard_normal((count, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def vocabulary() -> Vocabulary:
    roles: tuple[Role, ...] = ("seen", "seen", "unseen", "other")
    return Vocabulary(("cat", "sea", "dog", "Ice Cream"), unit(np.random.default_rng(1), 4), roles, {"dog": ("hound",)})


def drawn(random: np.random.Generator, count: int) -> Records:
    shapes = ((count, M, D), (count, 1))
    return Records(*(random.standard_normal(shape).astype(np.float32) for shape in shapes))


@pytest.fixture
def calibration(vocabulary: Vocabulary) -> Calibration:
    random = np.random.default_rng(2)
    background = drawn(random, 40).astype(np.float16)
    maps: dict[Role, MonotoneMap] = {
        "seen": MonotoneMap(np.array([1.0, 0.5, -0.2]), np.array([-1.0, 0.0, 2.0]), np.array([-3.0, -1.0, 0.5])),
        "unseen": MonotoneMap(np.array([0.7, 0.0, 0.1]), np.array([0.0, 3.0]), np.array([-4.0, 1.0])),
        "other": MonotoneMap(np.array([0.7, 0.0, 0.1]), np.array([0.0, 3.0]), np.array([-6.0, -1.0])),
    }
    return Calibration(background, maps, background_statistics(background, vocabulary.vectors))


@st.composite
def maps(draw: st.DrawFn) -> MonotoneMap:
    number = st.floats(-20, 20)
    weights = [draw(st.floats(0, 5)), draw(st.floats(0, 5)), draw(number)]
    steps = draw(st.lists(st.tuples(st.floats(0.01, 5), st.floats(0, 5)), min_size=1, max_size=6))
    start = np.array([draw(number), draw(number)])
    line = start[:, None] + np.concatenate([np.zeros((2, 1)), np.cumsum(np.array(steps).T, axis=1)], axis=1)
    return MonotoneMap(np.array(weights), line[0], line[1])


@given(
    maps(),
    st.lists(st.floats(-50, 50), min_size=2, max_size=20),
    st.floats(-5, 5),
    st.floats(0.001, 5),
    st.floats(-9, 9),
)
def test_a_probability_lies_in_0_to_1_and_never_falls_with_the_score(
    its: MonotoneMap, scores: list[float], mean: float, deviation: float, best: float
) -> None:
    rising = np.sort(np.array(scores))
    features = np.stack([(rising - mean) / deviation, rising, np.full(len(rising), best)], axis=1)
    found = its(features)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= -1e-12).all()


def test_features_are_as_the_slow_way_gives_them(calibration: Calibration, vocabulary: Vocabulary) -> None:
    random = np.random.default_rng(3)
    records = drawn(random, 4)
    vectors, reference = vocabulary.vectors, vocabulary.vectors[:2]
    scores, _ = score_records(records, scoring_vectors(vectors))
    found = pair_features(records, scores, calibration.statistics, scoring_vectors(reference))

    def slowly(record: Records, w: np.ndarray) -> float:
        return max(float(row.astype(np.float64) @ w) for row in record.rows[0]) + float(record.shared[0, 0])

    for i, record in enumerate(records):
        best = max(slowly(record, w) for w in reference)
        for j, w in enumerate(vectors):
            own = [slowly(one, w) for one in calibration.background]
            score = slowly(record, w)
            expected = [(score - np.mean(own)) / np.std(own), score, best]
            np.testing.assert_allclose(found[i, j], expected, rtol=2e-4, atol=1e-4)


def test_a_probability_depends_on_picture_and_label_alone(calibration: Calibration, vocabulary: Vocabulary) -> None:
    random = np.random.default_rng(4)
    records, extra = drawn(random, 6), unit(random, 3)
    names = (*vocabulary.names, "one", "two", "cats")
    vectors = np.concatenate([vocabulary.vectors, extra])

    def chances(labels: list[int], pictures: list[int]) -> np.ndarray:
        its = calibration.of_labels([names[at] for at in labels], vectors[labels], vocabulary)
        chosen = records[np.array(pictures)]
        return its.probabilities(chosen, score_records(chosen, scoring_vectors(vectors[labels]))[0])

    everything = chances(list(range(7)), list(range(6)))
    for picture in range(6):
        for label in range(7):
            np.testing.assert_allclose(chances([label], [picture])[0, 0], everything[picture, label], rtol=1e-4)
    whole = calibration.of_labels(vocabulary.names, vocabulary.vectors, vocabulary)  # the quick way
    scores = score_records(records, scoring_vectors(vocabulary.vectors))[0]
    np.testing.assert_allclose(whole.probabilities(records, scores), everything[:, :4], rtol=1e-4)


def test_other_spellings_of_a_trained_label_count_as_trained_on(
    calibration: Calibration, vocabulary: Vocabulary
) -> None:
    labels = ["Cats", "sea", "SEAS", "dog", "hound", "ice cream", "boat"]
    its = calibration.of_labels(labels, unit(np.random.default_rng(0), 7), vocabulary)
    assert its.roles.tolist() == ["seen", "seen", "seen", "unseen", "unseen", "other", "unseen"]


def test_it_is_stored_and_read_back(calibration: Calibration, tmp_path: Path) -> None:
    file = tmp_path / "calibration.safetensors"
    calibration.save(file)
    assert read_tensors(file, "calibration", 4)[0]["version"] == 3  # programs without weights read it, too
    again = Calibration.load(file, D)
    np.testing.assert_array_equal(again.background.rows, calibration.background.rows)
    np.testing.assert_array_equal(again.background.shared, calibration.background.shared)
    features = np.random.default_rng(5).standard_normal((50, 3)).astype(np.float32) * 4
    for role, its in calibration.maps.items():
        np.testing.assert_array_equal(again.maps[role](features), its(features))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="safetensors"):
        Calibration.load(file, D)


def sample(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose logit is a sum of three features, cut off at the top: what no logistic curve can be."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, 3)).astype(np.float32)
    sums = features @ np.array([1.5, 0.5, -1.0]) - 1.0
    return features, random.random(count) < 1 / (1 + np.exp(-np.minimum(sums, 0.0)))


def test_the_logistic_curve_is_that_of_scikit_learn() -> None:
    features, positive = sample(4000, 0)
    reference = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(features, positive)
    ours = fit_monotone(features, positive, pieces=False)
    np.testing.assert_allclose(ours(features), reference.predict_proba(features)[:, 1], atol=2e-4)


def test_the_pieces_mend_what_the_logistic_curve_cannot() -> None:
    features, positive = sample(40_000, 1)
    fresh, truth = sample(40_000, 2)

    def loss(its: MonotoneMap) -> float:
        chance = its(fresh)
        return float(-np.log(np.where(truth, chance, 1 - chance)).mean())

    assert loss(fit_monotone(features, positive)) < loss(fit_monotone(features, positive, pieces=False)) - 0.002


def test_a_feature_that_must_rise_gets_no_negative_weight() -> None:
    features, positive = sample(4000, 3)
    features[:, 0] *= -1  # now the chance falls with it
    assert fit_monotone(features, positive).weights[0] == 0
    assert fit_monotone(features, positive).weights[2] < 0  # this one may fall


def test_pairs_that_can_be_told_apart_give_finite_maps() -> None:
    features = np.linspace(-1, 1, 300, dtype=np.float32)[:, None].repeat(3, axis=1)
    its = fit_monotone(features, features[:, 0] > 0.5)
    assert np.isfinite(its.weights).all() and np.isfinite(its.logits).all()
    assert (its(features) > 0.5).sum() == (features[:, 0] > 0.5).sum()


def test_common_words_strange_pictures_and_kinds_change_probabilities_as_the_slow_way_says(
    calibration: Calibration, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    random = np.random.default_rng(5)
    offsets, familiar = random.standard_normal(4).astype(np.float32), random.standard_normal(D + 2).astype(np.float32)
    kinds, weights = np.array([[3, 0], [3, 2]], np.int32), random.standard_normal(4).astype(np.float32)
    words = WordKnowledge(offsets, -0.3, familiar, kinds, weights)  # cat and dog: kinds of Ice Cream
    replace(calibration, words=words).save(tmp_path / "calibration.safetensors")
    assert read_tensors(tmp_path / "calibration.safetensors", "calibration", 4)[0]["version"] == 4
    read = Calibration.load(tmp_path / "calibration.safetensors", D)
    records, labels = drawn(random, 6), ["ice cream", "dog", "boat"]
    vectors = np.concatenate([vocabulary.vectors[[3, 2]], unit(random, 1)])
    scores = score_records(records, scoring_vectors(vectors))[0]
    found = read.of_labels(labels, vectors, vocabulary).probabilities(records, scores)

    everything, reference = np.concatenate([vocabulary.vectors, vectors[2:]]), scoring_vectors(vocabulary.vectors[:2])
    all_scores = score_records(records, scoring_vectors(everything))[0]
    features = pair_features(records, all_scores, background_statistics(calibration.background, everything), reference)
    for picture in range(6):
        plain = [
            calibration.maps[role](features[picture, [at]], float(offset + weight * records.shared[picture, 0]))[0]
            for at, (role, offset, weight) in enumerate(
                zip(("seen", "seen", "unseen", "other", "unseen"), (*offsets, -0.3), (*weights, 0.0), strict=True)
            )
        ]
        row = np.concatenate([records.rows[picture].mean(axis=0), records.shared[picture], [1.0]])
        kind = 1 / (1 + np.exp(-float(row @ familiar)))
        one_of_them = (max(plain[0], plain[2]) + 1 - (1 - plain[0]) * (1 - plain[2])) / 2
        expected = [kind * max(plain[3], one_of_them), kind * plain[2], kind * plain[4]]
        np.testing.assert_allclose(found[picture], expected, rtol=3e-4)  # what comes before its kind is 1e-4 above it


def test_a_listed_word_is_as_probable_as_a_known_one_of_the_same_thing() -> None:
    tagger, picture = load(), Path(__file__).parents[1] / "photos/coffee.jpg"

    def probability(*words: str) -> dict[str, float]:
        (row,) = tagger.tag(picture, list(words), top_k=None)
        return {tag.label: tag.probability or 0.0 for tag in row.tags}

    alone = probability("dog", "dining table")
    listed = probability("dog", "dinner tables", "settee")
    assert listed["dinner tables"] > alone["dining table"] - 1e-5 and listed["dog"] == pytest.approx(alone["dog"])
    # What is no word of the vocabulary has the probability of its other name there, where that is the greater one.
    assert listed["settee"] > probability("couch")["couch"] - 1e-5


def test_a_phrase_is_as_probable_as_the_names_it_is_made_of_are_together() -> None:
    tagger, photos = load(), Path(__file__).parents[1] / "photos"
    labels = ("person", "a person", "helmet", "Persons with a helmet", "cat", "sitting", "sitting cat", "cat or person")
    rows = tagger.tag([photos / "astronaut.jpg", photos / "chelsea.jpg"], labels, top_k=None)
    astronaut, chelsea = ({tag.label: tag.probability or 0.0 for tag in row.tags} for row in rows)
    assert tagger.calibration is not None and tagger.calibration.words is not None
    looked = [record for _, record, _ in tagger.records([photos / "astronaut.jpg", photos / "chelsea.jpg"])]
    records = Records.joined(record for record in looked if isinstance(record, Records))
    usual, usual_cat = tagger.calibration.words.familiarity(records)
    assert astronaut["Persons with a helmet"] == pytest.approx(
        astronaut["person"] * astronaut["helmet"] / usual, rel=1e-3
    )
    assert chelsea["sitting cat"] == pytest.approx(
        (chelsea["sitting"] * usual_cat) ** 0.5, rel=1e-3
    )  # its vector: a cat
    assert astronaut["a person"] == pytest.approx(astronaut["person"], rel=1e-3)
    assert chelsea["cat or person"] > 0.5 > chelsea["person"]  # an OR is no AND
