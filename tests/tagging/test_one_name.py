"""One name a thing: made vectors whose groups are known, and a photo with the model in the box."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tagprism
from tagprism.labels.vocabulary import Vocabulary
from tagprism.tagging.tags import SameThing, common_names

PHOTO = Path(__file__).parents[1] / "photos/chelsea.jpg"


def things(*rows: list[float], classes: int = 0, trained: tuple[int, ...] = ()) -> SameThing:
    """Labels with two-dimensional vectors, a 1, and class affinities."""
    known = np.isin(np.arange(len(rows)), trained)
    return SameThing(np.array(rows, np.float32), 2, classes, known, np.arange(len(rows)))


def groups(of: SameThing, *chances: float) -> list[list[int]]:
    return of.groups(np.arange(len(chances)), np.array(chances))


def test_near_vectors_are_one_thing_and_others_are_not() -> None:
    near = things([1, 0, 1], [0.9, 0.1, 1], [0, 1, 1], [0.1, 1, 1])
    assert groups(near, 0.9, 0.6, 0.5, 0.4) == [[0, 1], [2, 3]]
    assert groups(things([1, 0, 1], [0, 1, 1], [-1, 0, 1]), 0.9, 0.8, 0.7) == [[0], [1], [2]]


def test_rather_near_vectors_need_the_same_evidence() -> None:
    turned = [0.6, 0.8]
    alike = things([1, 0, 1, 1, 0], [*turned, 1, 1, 0.1], classes=2)
    unlike = things([1, 0, 1, 1, 0], [*turned, 1, 0, 1], classes=2)
    assert groups(alike, 0.9, 0.8) == [[0, 1]] and groups(unlike, 0.9, 0.8) == [[0], [1]]
    evidence_alone = things([1, 0, 1, 1, 0], [0, 1, 1, 1, 0], classes=2)
    assert groups(evidence_alone, 0.9, 0.8) == [[0], [1]]


def test_the_common_name_is_shown_unless_another_is_far_likelier() -> None:
    def shown(*chances: float) -> int:
        rows = [[1.0, 0.0, 1.0]] * 2
        many = SameThing(np.tile(np.array(rows[0], np.float32), (5001, 1)), 2, 0, np.arange(5001) == 3, np.arange(5001))
        ((first, _),) = many.groups(np.array([5000, 3]), np.array(chances))
        return [5000, 3][first]

    assert shown(0.80, 0.78) == 3 and shown(0.98, 0.5) == 5000


def test_a_vector_of_zeros_is_a_name_of_its_own() -> None:
    assert groups(things([1, 0, 1], [0, 0, 1], [0, 0, 1]), 0.9, 0.8, 0.7) == [[0], [1], [2]]


def test_of_synonyms_the_same_name_is_shown_whatever_their_scores() -> None:
    far_apart = things([1, 0, 1], [0, 1, 1], [-1, 0, 1], trained=(0, 1, 2))
    synonyms = replace(far_apart, common=np.array([0, 1, 0]))  # the third is called as the first
    probabilities = synonyms.with_synonyms(np.array([0.2, 0.5, 0.9]))
    assert probabilities.tolist() == [0.9, 0.5, 0.9]
    order = np.array([2, 0, 1])
    assert synonyms.groups(order, probabilities[order]) == [[1, 0], [2]]
    unlike = replace(synonyms, scoring_vectors=np.array([[1, 0, 1], [0, 1, 1], [0, 1, 1]], np.float32))
    assert unlike.groups(np.array([0, 1, 2]), np.array([0.8, 0.5, 0.8])) == [[0, 2], [1]]  # not with what it is near


def test_the_commonest_name_that_was_trained_on_is_shown() -> None:
    names = ("bicycle", "bike", "tv set", "television", "cat", "person", "people", "plane", "airplane")
    roles = ("seen", "seen", "other", "seen", "seen", "seen", "seen", "other", "seen")
    vocabulary = Vocabulary(names, np.eye(9, dtype=np.float32), roles)
    shown = [names[row] for row in common_names(vocabulary)]
    assert shown == ["bike", "bike", "television", "television", "cat", "person", "people", "airplane", "airplane"]


@pytest.mark.slow
def test_a_cat_is_a_cat_and_listed_words_are_all_there() -> None:
    tagger = tagprism.load()
    (row,) = tagger.tag(PHOTO, top_k=8)
    names = [tag.label for tag in row.tags]
    first = row.tags[0]
    assert first.label == "cat" and "domestic cat" in first.also and "domestic cat" not in names and len(names) == 8
    (every,) = tagger.tag(PHOTO, top_k=12, all_names=True)
    assert every.tags[0].label == "cat" and "domestic cat" in [tag.label for tag in every.tags]
    assert not any(tag.also for tag in every.tags)
    (listed,) = tagger.tag(PHOTO, ["kitten", "house cat", "cat"])
    assert sorted(tag.label for tag in listed.tags) == ["cat", "house cat", "kitten"]
