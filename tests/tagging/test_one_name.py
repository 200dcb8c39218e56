"""One name a thing: made vectors whose groups are known, and a photo with the model in the box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tagprism
from tagprism.tagging.tags import LabelRanker, SameThing

PHOTO = Path(__file__).parents[1] / "photos/chelsea.jpg"


def things(
    *rows: list[float], classes: int = 0, trained: tuple[int, ...] = (), names: tuple[str, ...] = ()
) -> SameThing:
    """Labels with two-dimensional vectors, a 1, and class affinities; their names have nothing in common."""
    known = np.isin(np.arange(len(rows)), trained)
    return SameThing(names or tuple("abcdefgh"[: len(rows)]), np.array(rows, np.float32), 2, classes, known)


def groups(of: SameThing, *chances: float) -> list[list[int]]:
    return of.groups(np.arange(len(chances)), np.array(chances))


def test_near_vectors_are_one_thing_and_others_are_not() -> None:
    near = things([1, 0, 1], [0.9, 0.1, 1], [0, 1, 1], [0.1, 1, 1])
    assert groups(near, 0.9, 0.6, 0.5, 0.4) == [[0, 1], [2, 3]]
    assert groups(things([1, 0, 1], [0, 1, 1], [-1, 0, 1]), 0.9, 0.8, 0.7) == [[0], [1], [2]]


def test_rather_near_vectors_need_the_same_evidence() -> None:
    turned = [0.65, 0.76]
    alike = things([1, 0, 1, 1, 0], [*turned, 1, 1, 0.1], classes=2)
    unlike = things([1, 0, 1, 1, 0], [*turned, 1, 0, 1], classes=2)
    assert groups(alike, 0.9, 0.8) == [[0, 1]] and groups(unlike, 0.9, 0.8) == [[0], [1]]
    evidence_alone = things([1, 0, 1, 1, 0], [0, 1, 1, 1, 0], classes=2)
    assert groups(evidence_alone, 0.9, 0.8) == [[0], [1]]


def test_the_common_name_is_shown_unless_another_is_far_likelier() -> None:
    def shown(*chances: float) -> int:
        rows = [[1.0, 0.0, 1.0]] * 2
        names = [*map(str, range(5001))]
        many = SameThing(names, np.tile(np.array(rows[0], np.float32), (5001, 1)), 2, 0, np.arange(5001) == 3)
        ((first, _),) = many.groups(np.array([5000, 3]), np.array(chances))
        return [5000, 3][first]

    assert shown(0.80, 0.78) == 3 and shown(0.98, 0.5) == 5000


def test_a_name_is_no_chain_of_names() -> None:
    """The second is near the first and the third, which are far from each other: the first is shown, and the third."""
    chain = things([1, 0, 1], [0.8, 0.6, 1], [0.28, 0.96, 1], trained=(0, 1, 2))
    assert groups(chain, 0.9, 0.8, 0.7) == [[0, 1], [2]]
    assert groups(chain, 0.7, 0.9, 0.7) == [[1, 0, 2]]


def test_words_tell_apart_what_vectors_do_not() -> None:
    alike = things([1, 0, 1], [1, 0, 1], [1, 0, 1], names=("cat", "cathode", "domestic cat"))
    assert groups(alike, 0.9, 0.8, 0.7) == [[0, 2], [1]]


def test_a_vector_of_zeros_is_a_name_of_its_own() -> None:
    assert groups(things([1, 0, 1], [0, 0, 1], [0, 0, 1]), 0.9, 0.8, 0.7) == [[0], [1], [2]]


def test_the_words_of_the_model_in_the_box() -> None:
    ranker = LabelRanker(tagprism.load(), None)
    assert ranker._things is not None

    def joined(*names: str) -> bool:
        rows = np.array([ranker.names.index(name) for name in names])
        return len(ranker._things.groups(rows, np.full(len(rows), 0.9))) == 1

    for pair in (
        ("cat", "domestic cat"),
        ("cat", "kitten"),
        ("couch", "sofa"),
        ("jump", "jumping"),
        ("coffee", "coffee mill"),
    ):
        assert joined(*pair), pair
    for pair in ("cat", "cathode"), ("chameleon", "chaise"), ("man", "woman"):
        assert not joined(*pair), pair


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
