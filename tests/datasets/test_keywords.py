"""Cleaning keywords: each rule by example, and what holds whatever is given."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tagprism.datasets.keywords import NOISE, SPELLED_OUT, clean_keywords
from tagprism.labels.phrases import normalise_phrase, same_label


def clean(*given: list[str], least: int = 1, author: str = "") -> list[list[str]]:
    return clean_keywords(given, [[author]] * len(given), least=least)[1]


def test_case_and_underscores() -> None:
    assert clean(["North_America", " FLAG "]) == [["flag", "north america"]]


def test_noise_is_dropped() -> None:
    noise = [
        "hash",
        "HASH(0x8a3ecd4)",
        "0x865f868",
        "unsorted",
        "signs_and_symbols",
        "lemon_theme_icon",
        "11",
        "(!)",
        "",
    ]
    assert clean([*noise, "menu", "icons", "dog"]) == [["dog"]]


def test_authors_name_is_no_label() -> None:
    assert clean(["architetto francesco rollandin", "bird"], author="Architetto  Francesco Rollandin") == [["bird"]]
    assert clean(["royal", "navy"], author="Royal Navy") == [["navy", "royal"]]


def test_misspelled_and_joined_words_are_written_out() -> None:
    assert clean(["vegitable", "imformation", "mapsym", "icecream"]) == [
        ["ice cream", "information", "map symbol", "vegetable"]
    ]


def test_rare_keywords_of_several_words_are_taken_apart() -> None:
    drawings = [["football pitch sport soccer"], ["soccer"], ["ice cream"], ["ice_cream"]]
    assert clean(*drawings, least=2) == [["soccer"], ["soccer"], ["ice cream"], ["ice cream"]]


def test_spellings_of_one_label_become_the_spaced_or_the_most_frequent_one() -> None:
    assert clean(["northamerica"], ["northamerica"], ["north_america"], least=1) == [["north america"]] * 3
    assert clean(["button"], ["buttons"], ["buttons"]) == [["buttons"]] * 3
    assert clean(["dog", "dogs"], ["dog"]) == [["dog"], ["dog"]]
    assert clean(["glass"], ["glasses"]) == [["glass"], ["glasses"]]


def test_rare_labels_are_dropped_after_spellings_are_counted_together() -> None:
    names, labels = clean_keywords([["cat"], ["cats"], ["dog"]], [[], [], []], least=2)
    assert names == ("cat",)
    assert labels == [["cat"], ["cat"], []]


def test_tables_are_written_as_they_are_compared() -> None:
    for word in (*NOISE, *SPELLED_OUT, *SPELLED_OUT.values()):
        assert word == normalise_phrase(word)
    assert not NOISE & {*SPELLED_OUT, *SPELLED_OUT.values()}
    assert not set(SPELLED_OUT) & set(SPELLED_OUT.values())


KEYWORDS = st.lists(
    st.one_of(
        st.sampled_from(
            ["cat", "cats", "Cat", "north_america", "northamerica", "moon space", "hash", "vegitable", "11"]
        ),
        st.text(max_size=6),
    ),
    max_size=5,
)


@given(st.lists(KEYWORDS, max_size=8), st.integers(1, 3))
def test_what_always_holds(given_keywords: list[list[str]], least: int) -> None:
    names, labels = clean_keywords(given_keywords, [[]] * len(given_keywords), least=least)
    count = Counter(label for each in labels for label in each)
    assert list(names) == sorted(count)
    assert all(times >= least for times in count.values())
    assert not {normalise_phrase(word) for word in NOISE} & set(names)
    assert not [(one, other) for one in names for other in names if one != other and same_label(one, other)]
    assert all(each == sorted(set(each)) for each in labels)
