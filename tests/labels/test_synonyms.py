"""Other names of a thing."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from tagprism.labels.phrases import bare_phrase
from tagprism.labels.synonyms import other_names


@pytest.mark.parametrize(
    ("phrase", "names"),
    [
        ("Motorbikes", ("motorcycle",)),
        ("motorcycle", ("motorbike",)),
        ("aeroplane", ("airplane",)),
        ("dog", ()),
        ("fall", ()),  # of water, or the season
        ("", ()),
    ],
)
def test_names_of_one_thing(phrase: str, names: tuple[str, ...]) -> None:
    assert other_names(phrase) == names


def test_no_name_stands_for_two_things() -> None:
    text = files("tagprism.labels").joinpath("synonyms.toml").read_text(encoding="utf-8")
    names = [bare_phrase(name) for group in tomllib.loads(text)["groups"] for name in group]
    assert len(names) == len(set(names))
