"""Whether two words merely begin alike."""

from __future__ import annotations

import pytest

from tagprism.labels.word_kinship import only_begin_alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "cathode"),
        ("chameleon", "chaise"),
        ("albatross", "albacore"),
    ],
)
def test_other_things(one: str, other: str) -> None:
    assert only_begin_alike(one, other) and only_begin_alike(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "domestic cat"),
        ("cat", "kitten"),
        ("cell phone", "cellular phone"),
        ("grocery", "grocery store"),
        ("jump", "jumping"),
        ("swim", "swimming"),
        ("skis", "skiing"),
        ("hike", "hiking"),
        ("lake", "lakeshore"),
        ("doorway", "door"),
        ("racket", "racquet"),
        ("photo", "photograph"),
        ("pram", "stroller"),
        ("dog", "dog"),
        ("train", "train station"),
        ("coffee", "coffeemaker"),
        ("tennis racket", "tennis ball"),
    ],
)
def test_names_that_may_be_one_thing(one: str, other: str) -> None:
    assert not only_begin_alike(one, other) and not only_begin_alike(other, one)
