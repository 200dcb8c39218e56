"""Whether the words of two names tell them apart."""

from __future__ import annotations

import pytest

from tagprism.labels.word_kinship import told_apart


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "cathode"),
        ("chameleon", "chaise"),
        ("albatross", "albacore"),
        ("train", "train station"),
        ("snow", "snowplow"),
        ("flowers", "flower bed"),
        ("tennis racket", "tennis ball"),
        ("skateboard", "skateboarder"),
        ("traffic", "traffic light"),
    ],
)
def test_other_things(one: str, other: str) -> None:
    assert told_apart(one, other) and told_apart(other, one)


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
    ],
)
def test_names_that_may_be_one_thing(one: str, other: str) -> None:
    assert not told_apart(one, other) and not told_apart(other, one)
