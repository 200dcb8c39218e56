"""Bare words of a query: one tag or several, and what is said of them; with the vocabulary of the model in the box."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import tagprism
from tagprism.search.collection import Collection
from tagprism.search.parse import MOST_LABELS, parse
from tagprism.search.query import show
from tagprism.search.results import Reading
from tagprism.search.words import needed, read_words, remarks
from tagprism.tagging.learned import Learned, LearnedLabel

DOGS_BEACH = 'dogs AND beach OR 0.1*"dogs beach"'


def is_given(label: str) -> bool:
    """People gave pictures `old Rex`, `oma erna`, a `Hund` and `Trip 2019`, and nothing else."""
    return label in ("old Rex", "oma erna", "Hund", "Trip 2019")


@pytest.fixture(scope="module")
def tagger() -> Any:
    return tagprism.load()


def read(tagger: Any, query: str) -> Reading:
    learned = Learned((LearnedLabel("Bello", 0.0, line=(1.0, 0.0), vector=np.ones(4, np.float32)),))
    collection = SimpleNamespace(tagger=tagger, has_learned=learned.is_known)
    return read_words(parse(query), cast(Collection, collection), is_given)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("dogs beach", DOGS_BEACH),
        ("polar bear snow", 'polar bear AND snow OR 0.1*"polar bear snow"'),
        ("polar bear", "polar bear"),
        ('"dogs beach"', '"dogs beach"'),
        ("dog on a beach", "dog AND beach"),
        ("dogs beach snow", "dogs AND beach AND snow"),
        ("a dog", "dog"),
        ("NOT dogs beach OR cat", f"NOT ({DOGS_BEACH}) OR cat"),
        ("2*dogs beach taken:2024", f"2*({DOGS_BEACH}) AND taken:2024"),
        ("dogs beach taken:2024", f"({DOGS_BEACH}) AND taken:2024"),
        ("old Rex beach", "old Rex AND beach"),
        ("beach in Santorini", "beach"),
        ("photo of Santorini in summer", "photo AND summer"),
        ("a view from the Santorini Qwxzvbn to the sea", "view AND sea"),
        ("sunset in the Santorini evening", "sunset AND evening"),
        ("dogs qwxzvbn beach OR the Hagia at night", f"({DOGS_BEACH}) OR night"),
        ("NOT beach in Santorini", "NOT beach in Santorini"),
        ('"beach in Santorini"', '"beach in Santorini"'),
        ("in Santorini", "in Santorini"),
        ("old Rex on a beach in Santorini", "old Rex AND beach"),
        ("dog not Santorini", "dog not Santorini"),
        ("beach without Santorini", "beach without Santorini"),
        ("beach except Santorini", "beach except Santorini"),
        ("Santorini 42", "Santorini 42"),
        ("tag:old", "tag:old"),
        ("rubbish bin", "rubbish bin"),
        ("Chopping Boards knife", 'Chopping Boards AND knife OR 0.1*"Chopping Boards knife"'),
    ],
)
def test_words_are_the_fewest_known_tags(tagger: Any, query: str, expected: str) -> None:
    reading = read(tagger, query)
    assert show(reading.query) == expected
    assert show(read(tagger, show(reading.query)).query) == expected  # reading it again changes nothing


def test_no_query_grows_over_the_limit_of_labels(tagger: Any) -> None:
    query = " OR ".join(f"path:{place} dogs beach" if place else "sea" for place in range(MOST_LABELS))
    assert len(read(tagger, query).apart) == 1
    words = ["dog", "cat", "sea", "sky", "sun", "tree", "car", "bus"]
    many = " OR ".join(f"{one} {other}" for one in words for other in words if one != other)[:190]
    assert read(tagger, many).query is not None


def test_what_was_read_otherwise_and_what_is_unknown_is_said(tagger: Any) -> None:
    def said(query: str) -> list[str]:
        return remarks(read(tagger, query), tagger, found=True)

    for query in ("dogs", "polar bear", "Hund", "Bello OR bellos", "Trip 2019"):
        assert said(query) == []
    assert said("dogs beach") == [
        "`dogs beach` was read as dogs AND beach, or the phrase; put it in quotes to ask for it as one tag."
    ]
    assert "`plage` is unknown to this model; is" in said("plage OR dogs")[0]
    assert "`plage` (in `dog plage`) is unknown" in said("dog plage")[0]
    assert "`2024` is unknown" in said("2024")[0] and "taken:2024" in said("2024")[0]
    assert "`2024` (in `beach 2024`) is unknown" in said("beach 2024")[0]
    strange, cut = said("my qwxzvbn beach")
    assert strange.startswith("`qwxzvbn` (in `my qwxzvbn beach`) is unknown to this model")
    assert cut == "`my qwxzvbn beach` was read as `beach`."
    assert said("my Hund on grass") == [
        "`my Hund on grass` was read as Hund AND grass; put it in quotes to ask for it as one tag."
    ]
    own = ["`Hund` (in `my Hund`) is a tag of your own; write AND between it and others."]
    assert said('"my Hund"') == own and said("a beach with Bello") == [
        "`a beach with Bello` was read as `beach AND Bello`."
    ]
    many = said("OR".join(f" qwxz{letter} vbnm{letter} " for letter in "abcdef"))
    assert len(many) == 6 and many[-1] == "7 more words are unknown."
    assert "write NOT in capitals" in said("dog not Santorini")[-1] and len(said("Santorini 2024")) == 2
    assert said("\U0001f600") == ["`\U0001f600` is unknown to this model."] and "meant" not in said("F OR 16")[-1]
    assert "read as black AND white AND house;" in said("black and white house")[0]
    assert "write OR in capitals" in said("dog or cat")[0]
    assert said('"beach without people"') == said('"black and white"') == []  # who quotes means it
    for query, word in (
        ("beach without people", "without"),
        ("beach no people", "no"),
        ("dog but no people", "no"),
        ("animals except dogs", "except"),
    ):
        assert said(query) == [
            f"`{query}` was taken as one tag; write NOT in capitals for `{word}` where it joins tags."
        ]


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        ("dog OR qwxz", ""),
        ("dog NOT qwxz", ""),
        ("NOT (qwxz OR dog)", ""),
        ("dog qwxz OR cat", ""),
        ("qwxz", "qwxz"),
        ("qwxz OR vbnm", "qwxz vbnm"),
        ("qwxz AND (cat OR vbnm) AND NOT xyzz", "qwxz"),
        ("NOT (NOT qwxz OR vbnm)", "qwxz"),
        ("2*qwxz AND path:vbnm", "qwxz"),
    ],
)
def test_those_unknown_words_are_named_without_which_there_is_no_answer(query: str, unknown: str) -> None:
    words = {"qwxz", "vbnm", "xyzz", "dog qwxz"}
    assert needed(parse(query), words) == set(unknown.split())


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("tag:oma erna", 'tag:"oma erna"'),
        ("tag:oma erna on a beach", 'tag:"oma erna"'),
        ("dog NOT tag:oma erna", 'tag:"oma erna"'),
        ("camera:canon eos", 'camera:"canon eos"'),
        ("camera:nikon beach", None),
        ("rating:5 eos", None),
        ("tag:opa qwxz", 'tag:"opa qwxz"'),
        ("path:trip qwxz", 'path:"trip qwxz"'),
        ('tag:oma "erna"', None),
        ('tag:"oma erna"', None),
        ("tag:oma beach", None),
        ("tag:Rex on the beach", None),
        ("camera:Canon ON the beach", None),
    ],
)
def test_a_filter_that_ends_at_a_blank_is_to_be_quoted(tagger: Any, query: str, hint: str | None) -> None:
    reading = read(tagger, query)
    assert [whole for whole, is_likely in reading.cut_short.items() if is_likely] == ([hint] if hint else [])
    assert any("A blank ends a filter" in one for one in remarks(reading, tagger, found=True)) == bool(hint)
    if " ON " in query.upper() and not hint:  # small words belong to no name
        assert not reading.cut_short
    if query == "tag:oma beach":  # is right, unless it finds nothing
        assert 'write `tag:"oma beach"`' in remarks(reading, tagger, found=False)[0]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("Beaches", "beach"), ("cups", "cup"), ("CAFES", "cafe"), ("tshirt", "T-shirt"), ("icecream", "ice cream")],
)
def test_words_are_known_as_people_write_them(tagger: Any, typed: str, meant: str) -> None:
    vocabulary = tagger.vocabulary
    assert vocabulary.find_alike(typed) is not None
    assert vocabulary.find_alike(typed) == vocabulary.find_alike(meant)
