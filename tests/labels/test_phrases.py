"""Phrases: one normal spelling, and only safe merges."""

from __future__ import annotations

import itertools
import tomllib
from importlib.resources import files

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tagprism.labels.phrases import (
    bare_phrase,
    joined_variants,
    names_within,
    normalise_phrase,
    other_names,
    same_label,
    spoken_phrase,
    variants,
    word_parts,
    word_spellings,
)

WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=9)
PHRASES = st.lists(WORDS, min_size=1, max_size=6).flatmap(
    lambda words: st.sampled_from([" ", "-", "_"]).map(lambda mark: mark.join(words))
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Polar   Bear\n", "polar bear"),
        ("north_america", "north america"),
        ("shop/store", "shop store"),
        ("animals\\dog", "animals dog"),
        ("T-Shirt", "t-shirt"),
        ("ice – cream", "ice cream"),
        ("close\u2010up", "close-up"),
        ("women\u2019s", "women's"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ﬁsh", "fish"),
        ("cafe\u0301", "café"),
        ("zero\u200bwidth", "zerowidth"),
        ("tree_-_map", "tree map"),
        ("北京", "北京"),
        ("", ""),
        ("__", ""),
        (" - ", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise_phrase(text) == expected


@given(st.text(st.characters()))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_phrase(text)
    assert normalise_phrase(once) == once
    assert once == " ".join(once.split())
    assert once.encode().decode() == once


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_letters_take_a_shorter_way_to_the_same_spelling(text: str) -> None:
    assert normalise_phrase(text) == normalise_phrase(text + "\u200b")  # which is dropped on the longer one


@given(PHRASES)
def test_case_does_not_matter(phrase: str) -> None:
    assert normalise_phrase(phrase.upper()) == normalise_phrase(phrase.title()) == normalise_phrase(phrase)


def test_bytes_that_are_no_text() -> None:
    assert normalise_phrase("caf\udce9") == "caf\ufffd"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("dog", "dogs"),
        ("Dog", "dog"),
        ("bus", "buses"),
        ("church", "churches"),
        ("box", "boxes"),
        ("dress", "dresses"),
        ("horse", "horses"),
        ("house", "houses"),
        ("berry", "berries"),
        ("cookie", "cookies"),
        ("key", "keys"),
        ("tie", "ties"),
        ("bee", "bees"),
        ("shoe", "shoes"),
        ("potato", "potatoes"),
        ("photo", "photos"),
        ("glove", "gloves"),
        ("menu", "menus"),
        ("taxi", "taxis"),
        ("virus", "viruses"),
        ("comic", "comics"),
        ("man", "men"),
        ("woman", "women"),
        ("human", "humans"),
        ("fireman", "firemen"),
        ("specimen", "specimens"),
        ("child", "children"),
        ("grandchild", "grandchildren"),
        ("leaf", "leaves"),
        ("wolf", "wolves"),
        ("mouse", "mice"),
        ("foot", "feet"),
        ("tooth", "teeth"),
        ("goose", "geese"),
        ("knife", "knives"),
        ("scarf", "scarves"),
        ("scarf", "scarfs"),
        ("cactus", "cacti"),
        ("person", "persons"),
        ("ice cream", "icecream"),
        ("ice cream", "ice-creams"),
        ("T-shirt", "t shirts"),
        ("tshirts", "t-shirt"),
        ("north_america", "northamerica"),
        ("polar bears", "polarbear"),
        ("man made lake", "man-made lakes"),
        ("snow man", "snowmen"),
    ],
)
def test_same_label(a: str, b: str) -> None:
    assert same_label(a, b)
    assert same_label(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("glass", "glasses"),
        ("glass", "sunglasses"),
        ("sunglass", "sunglasses"),
        ("new", "news"),
        ("bu", "bus"),
        ("ga", "gas"),
        ("len", "lens"),
        ("gras", "grass"),
        ("person", "people"),
        ("arm", "arms"),
        ("wood", "woods"),
        ("cloth", "clothes"),
        ("short", "shorts"),
        ("physic", "physics"),
        ("tenni", "tennis"),
        ("viru", "virus"),
        ("species", "specie"),
        ("leave", "leaves"),
        ("plan", "planes"),
        ("car", "cares"),
        ("human", "humen"),
        ("woman", "womans"),
        ("specimen", "speciman"),
        ("olife", "olives"),
        ("men", "mens"),
        ("dog", "cat"),
        ("dogs house", "dog house"),
        ("princess", "princes"),
        ("", "s"),
    ],
)
def test_different_labels(a: str, b: str) -> None:
    assert not same_label(a, b)
    assert not same_label(b, a)


def test_the_variants_of_two_words_are_number_times_spelling() -> None:
    assert variants("Ice_Cream") == {head + form for head in ("ice ", "ice-", "ice") for form in ("cream", "creams")}


def test_a_long_phrase_gets_the_even_spellings_only() -> None:
    assert variants("a b c d e f") == {"a b c d e f", "a-b-c-d-e-f", "abcdef"}
    mixed = variants("a b c dxx")
    expected = {"a" + x + "b" + y + "c" + z + "dxx" for x, y, z in itertools.product((" ", "-", ""), repeat=3)}
    assert expected <= mixed


def test_variants_of_nothing() -> None:
    assert variants(" _ ") == {""}


@given(PHRASES)
def test_a_phrase_is_its_own_variant_and_variants_are_normal(phrase: str) -> None:
    assert normalise_phrase(phrase) in variants(phrase)
    assert all(normalise_phrase(spelling) == spelling for spelling in variants(phrase))


@given(WORDS)
@example("aaases")
def test_being_plural_holds_both_ways(word: str) -> None:
    for other in variants(word) - {word}:
        assert word in variants(other)


@given(PHRASES, PHRASES)
def test_same_label_is_symmetric(a: str, b: str) -> None:
    assert same_label(a, b) == same_label(b, a)
    assert same_label(a, a)


@pytest.mark.parametrize(
    ("label", "spoken"),
    [
        ("Bat (/m/01h44)", "bat"),
        ("Bat (/g/11bc5v_0f) ", "bat"),
        ("Cynthia (subgenus)", "cynthia (subgenus)"),
        ("Boeing f/a-18e/f", "boeing f a-18e f"),
        ("(/m/01h44) bat", "( m 01h44) bat"),
    ],
)
def test_an_identifier_is_not_spoken(label: str, spoken: str) -> None:
    assert spoken_phrase(label) == spoken


def test_labels_that_differ_in_identifier_alone_are_one() -> None:
    assert same_label("Rose (/m/06m11)", "Roses (/m/0h8l3)")
    assert normalise_phrase("Rose (/m/06m11)") != normalise_phrase("Rose (/m/0h8l3)")


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("(butterfly)", {"butterfly"}, "butterfly"),
        ("geese,", {"geese", "goose"}, "geese"),
        ("geese,", {"goose"}, "goose"),
        ("purée", {"puree"}, "puree"),
        ("purée", {"puree", "purée"}, "purée"),
        ("lions", {"lion"}, "lion"),
        ("lion", {"lions"}, "lions"),
        ("news", {"new"}, None),
        ("&", {"and"}, None),
    ],
)
def test_spellings_of_a_word_in_their_order(word: str, known: set[str], found: str | None) -> None:
    assert next((form for form in word_spellings(word) if form in known), None) == found


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("women's", ["women"]),
        ("jack-o'-lantern", ["jack", "lantern"]),
        ("s.p.a.", []),
        ("f-18", ["18"]),
        ("d'oeuvre", ["oeuvre"]),
        ("(t3)", ["t3"]),
    ],
)
def test_parts_of_a_word(word: str, parts: list[str]) -> None:
    assert word_parts(word) == parts


@given(st.text(max_size=12))
@example(":-[")
def test_spellings_are_words(text: str) -> None:
    for word in normalise_phrase(text).split():
        assert all(form and " " not in form for form in word_spellings(word))
        assert all(part and " " not in part for part in word_parts(word))


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


@pytest.mark.parametrize(
    ("phrase", "names"),
    [
        ("dog on the beach", ("dog", "beach")),
        ("Polar Bear snow", ("Polar Bear", "snow")),
        ("the field of wheat", ("field of wheat",)),
        ("dog", ("dog",)),
        ("on the beach", ("beach",)),
        ("on the", ()),
        ("dog qwxz", ()),
        ("dog not beach", ()),
        ("dog or beach", ()),
        (" ".join(["dog"] * 9), ()),
        ("", ()),
    ],
)
def test_names_that_a_phrase_is_made_of(phrase: str, names: tuple[str, ...]) -> None:
    known = {"dog", "beach", "polar bear", "bear", "snow", "field", "field of wheat", "wheat"}
    assert names_within(phrase, lambda text: text.lower() in known) == names


@given(
    st.lists(st.sampled_from(["a", "x", "y", "of", "z"]), min_size=1, max_size=6),
    st.sets(st.sampled_from(["x", "y", "z", "x y", "y z", "x of y", "a x", "x y z"])),
)
def test_the_fewest_names_are_those_that_trying_every_way_finds(words: list[str], known: set[str]) -> None:
    def ways(rest: list[str]) -> list[tuple[str, ...]]:
        found = [] if rest else [()]
        for end in range(1, len(rest) + 1):
            name = " ".join(rest[:end])
            here = [(name,)] if name in known else []
            here += [()] if name in {"a", "of"} else []
            found += [(*one, *others) for one in here for others in ways(rest[end:])]
        return found

    found = names_within(" ".join(words), known.__contains__)
    assert len(found) == min(map(len, ways(words)), default=0)
    assert not found or found in ways(words)


@given(st.lists(st.one_of(WORDS, st.sampled_from(["berries", "t-shirt", "men", "-", "buses"])), max_size=4))
def test_joined_variants_are_the_variants_without_blanks_and_hyphens(words: list[str]) -> None:
    phrase = " ".join(words)
    assert joined_variants(phrase) == {one.replace(" ", "").replace("-", "") for one in variants(phrase)}


def test_no_name_stands_for_two_things() -> None:
    text = files("tagprism.labels").joinpath("synonyms.toml").read_text(encoding="utf-8")
    names = [bare_phrase(name) for group in tomllib.loads(text)["groups"] for name in group]
    assert len(names) == len(set(names))
