"""A person's own hierarchy: how it is read, and where keywords of ours stand in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagprism.errors import InputError
from tagprism.keywords.hierarchy import read_hierarchy
from tagprism.keywords.merge import Keywords
from tagprism.keywords.sidecar import NEW
from tagprism.keywords.xmp_lists import XmpLists

A = "a" * 64
PLACES = {"cat": "animals|cat", "kitty": "animals|cat", "sea side": "Places|Coast|sea side"}


def test_a_mapping_file(tmp_path: Path) -> None:
    path = tmp_path / "tree.txt"
    path.write_text("\ufeff# mine\n\nanimals | cat\nkitty = animals|cat\nbeach\nPlaces|Coast|Sea  side\n", "utf-8")
    assert read_hierarchy(path) == {
        "cat": "animals|cat",
        "kitty": "animals|cat",
        "sea side": "Places|Coast|Sea side",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"animals||cat\n", "line 1"),
        (b"\n|cat\n", "line 2"),
        (b"= animals|cat\n", "line 1"),
        (b"animals|cat\nplants|Cat\n", "two places"),
        (b"cat\n", "no place in it"),
        (b"animals|\xff\n", "cannot be read"),
        (b"animals|a\x01\n", "no place in a hierarchy"),
    ],
)
def test_what_is_no_hierarchy(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "tree.txt"
    path.write_bytes(text)
    with pytest.raises(InputError, match=words):
        read_hierarchy(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_hierarchy(tmp_path / "missing")


def test_a_placed_keyword_stands_in_both_trees_and_by_its_last_level_in_the_flat_list() -> None:
    new = Keywords().with_found(["kitty", "dune"], A, PLACES)
    assert new.flat == new.ours == ("cat", "dune")
    assert new.paths == ("animals|cat", "tagprism|dune") and new.placed == ("animals|cat",)
    assert new.digikam == ("animals/cat", "tagprism/dune")
    assert new.with_found(["cat", "dune"], A, PLACES) == new


def test_the_persons_keywords_do_not_vanish_from_digikam() -> None:
    """It reads its own list before all others."""
    own = Keywords(("Urlaub", "Kenya"), ("Places|Kenya",))
    new = own.with_found(["cat"], A, PLACES)
    assert new.digikam == ("Places/Kenya", "animals/cat") and new.copied_tags == ("Places/Kenya",)
    assert new.with_found([], A, PLACES) == own
    assert new.with_found(["cat"], A) == own.with_found(["cat"], A)  # without the hierarchy: below our root
    flat = Keywords(("Urlaub",)).with_found(["cat"], A, PLACES)
    assert flat.digikam == ("Urlaub", "animals/cat") and flat.paths == ("Urlaub", "animals|cat")


def test_a_placed_keyword_that_the_person_moves_or_removes_is_theirs_or_stays_away() -> None:
    new = Keywords().with_found(["cat", "sea side"], A, PLACES)
    moved = replace(new, paths=("family|cat", "Places|Coast|sea side"))
    assert moved.still_ours == ("sea side",) and "cat" in moved.yours
    gone = replace(new, flat=("sea side",), paths=("Places|Coast|sea side",))
    assert gone.with_found(["cat", "sea side"], A, PLACES).flat == ("sea side",)


def test_marks_of_the_person_keep_the_hierarchy() -> None:
    new = Keywords(("Urlaub",)).with_found(["cat", "sea side"], A, PLACES).with_marks(["Kenya"], ["sea side"])
    assert new.paths == ("Urlaub", "animals|cat", "Kenya") and new.digikam == ("Urlaub", "animals/cat", "Kenya")
    assert new.with_found([], A, PLACES) == Keywords(("Urlaub", "Kenya"), rejected=("sea side",))


_level = st.text(st.sampled_from("abc /é"), min_size=1, max_size=5).filter(lambda text: text.strip())
_words = st.lists(_level, max_size=4)


@given(_words, st.lists(st.lists(_level, min_size=2, max_size=3).map("|".join), max_size=4), _words)
@settings(deadline=None, max_examples=100)
def test_whatever_the_hierarchy_the_same_again_changes_nothing_and_nothing_found_takes_all_away(
    own: list[str], paths: list[str], found: list[str]
) -> None:
    places = {path.rpartition("|")[2].strip(): path for path in paths}
    before = Keywords(tuple(dict.fromkeys(own)))
    new = before.with_found(found, A, places)
    assert new.with_found(found, A, places) == new
    assert set(before.yours) <= set(new.yours)
    assert new.with_found([], A, places) == replace(before, rejected=new.taken_away)
    lists = XmpLists(XmpLists(NEW).changed(Keywords().changes_to(new)))
    assert not Keywords.of(lists).changes_to(new)
