"""Whose keyword is whose: what a person wrote stays, what they took away stays away, and only ours is replaced."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tagprism.keywords.merge import FLAT, PATHS, Keywords, tidy
from tagprism.keywords.xmp_lists import Change, XmpLists
from tagprism.labels.phrases import same_label
from tests.keywords.sidecars import SIDECARS

A, B = "a" * 64, "b" * 64


def test_found_keywords_go_into_every_list_and_are_marked() -> None:
    new = Keywords().with_found(["beach", "sea|side"], A)
    assert new.flat == new.ours == ("beach", "sea|side")
    assert new.paths == ("tagprism|beach", "tagprism|sea side")
    assert (new.digikam, new.rejected, new.copied, new.model) == ((), (), (), (A,))


def test_the_same_again_changes_nothing() -> None:
    once = Keywords(flat=("Familie",)).with_found(["beach"], A)
    assert once.with_found(["beach"], A) == once


def test_another_model_replaces_only_ours() -> None:
    once = Keywords(("Familie",), ("Familie|Anna",)).with_found(["beach", "sea"], A)
    other = once.with_found(["sea", "dune"], B)
    assert other.flat == ("Familie", "sea", "dune")
    assert other.paths == ("Familie|Anna", "tagprism|sea", "tagprism|dune")
    assert (other.ours, other.rejected, other.model) == (("sea", "dune"), (), (B,))


def test_a_model_that_finds_nothing_takes_ours_away() -> None:
    before = Keywords(("Familie",), (), ("Familie",))
    assert before.with_found(["beach"], A).with_found([], B) == before


def test_a_keyword_of_the_person_is_theirs_in_any_spelling() -> None:
    before = Keywords(("Beaches", "ICE-CREAM"), ("Animals|Dogs|Rex",))
    new = before.with_found(["beach", "ice cream", "dog", "rex", "sea"], A)
    assert new.ours == ("sea",) and new.flat == ("Beaches", "ICE-CREAM", "sea")


def test_a_keyword_of_ours_that_the_person_takes_away_does_not_come_back() -> None:
    once = Keywords().with_found(["beach", "sea", "dune"], A)
    edited = replace(once, flat=("sea", "dune"), paths=("tagprism|sea", "tagprism|dune"))
    again = edited.with_found(["beach", "sea", "dune"], A)
    assert again.flat == again.ours == ("sea", "dune")
    assert again.rejected == ("beach",)
    assert again.with_found(["beaches", "sea", "dune"], B).flat == ("sea", "dune")


def test_a_program_that_knows_the_flat_list_alone_takes_away_too() -> None:
    once = Keywords().with_found(["beach", "sea"], A)
    again = replace(once, flat=("sea",)).with_found(["beach", "sea"], A)
    assert again.paths == ("tagprism|sea",) and again.rejected == ("beach",)


def test_a_keyword_of_ours_that_the_person_files_elsewhere_is_theirs() -> None:
    once = Keywords().with_found(["beach", "sea"], A)
    moved = replace(once, paths=("Places|beach", "tagprism|sea"))
    other = moved.with_found(["dune"], B)
    assert other.flat == ("beach", "dune") and other.paths == ("Places|beach", "tagprism|dune")
    assert other.ours == ("dune",) and other.rejected == ()


def test_a_keyword_taken_away_and_written_by_the_person_later_is_theirs() -> None:
    once = replace(Keywords().with_found(["beach"], A), flat=(), paths=())
    away = once.with_found(["beach"], A)
    back = replace(away, flat=("beach",))
    assert back.with_found(["beach"], A) == back


def test_paths_of_ours_alone_hide_nothing() -> None:
    """darktable and digiKam read the paths instead of the flat list."""
    once = Keywords(flat=("Familie", "Ostsee")).with_found(["beach"], A)
    assert once.paths == ("Familie", "Ostsee", "tagprism|beach") and once.copied == ("Familie", "Ostsee")
    fewer = replace(once, flat=("Ostsee", "beach")).with_found(["beach"], A)
    assert fewer.paths == ("Ostsee", "tagprism|beach") and fewer.copied == ("Ostsee",)
    more = replace(fewer, flat=("Ostsee", "beach", "Anna")).with_found(["beach"], A)
    assert more.paths == ("Ostsee", "tagprism|beach", "Anna")
    assert more.with_found([], A) == Keywords(flat=("Ostsee", "Anna"))


def test_paths_that_the_person_keeps_are_left_to_them() -> None:
    new = Keywords(("Familie", "Ostsee"), ("Orte|Ostsee",)).with_found(["beach"], A)
    assert new.paths == ("Orte|Ostsee", "tagprism|beach") and new.copied == ()


def test_the_list_of_digikam_gets_ours_where_it_is() -> None:
    before = Keywords(("Ostsee",), ("Orte|Ostsee",), ("Orte/Ostsee",))
    once = before.with_found(["beach", "sea/side"], A)
    assert once.digikam == ("Orte/Ostsee", "tagprism/beach", "tagprism/sea side")
    assert once.with_found(["dune"], B).digikam == ("Orte/Ostsee", "tagprism/dune")


_text = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=8,
).filter(lambda text: tidy(text) != "")
_words = st.lists(st.one_of(_text, st.sampled_from(["dog", "dogs", "Dog", "a|b", "a/b", "a b"])), max_size=6)
_SAMPLE = st.sampled_from(["darktable", "utf-16", "on one line", "no description", "a qualified list"])


@given(_SAMPLE, _words, _words, _words, _words)
@settings(deadline=None, max_examples=60)
def test_whatever_is_written_and_found_both_are_there_and_the_persons_stays(
    sample: str, own: list[str], paths: list[str], found: list[str], later: list[str]
) -> None:
    seeds = {FLAT: Change(add=tuple(own)), PATHS: Change(add=tuple(paths))}
    lists = XmpLists(XmpLists(SIDECARS[sample][0]).changed({name: one for name, one in seeds.items() if one.add}))
    before = Keywords.of(lists)
    for words in (found, later):
        old = Keywords.of(lists)
        new = old.with_found(words, A)
        lists = XmpLists(lists.changed(old.changes_to(new)))
        there = Keywords.of(lists)
        assert not there.changes_to(new) and not new.changes_to(there)
        again = there.with_found(words, A)
        assert not there.changes_to(again)  # a second run changes nothing
        assert [word for word in there.flat if word in before.flat] == list(before.flat)
        assert set(before.paths) <= set(there.paths)
        known = (*before.yours, *there.still_ours)
        assert all(any(same_label(tidy(word), one) for one in known) for word in words)
        assert set(there.flat) == set(before.flat) | set(there.ours)
        assert not set(there.ours) & set(before.flat)


def test_what_a_person_adds_on_the_page_is_theirs() -> None:
    once = Keywords(("Familie",)).with_found(["beach", "sea"], A)
    new = once.with_marks(["sea", "Dune"], [])
    assert new.flat == ("Familie", "beach", "sea", "Dune") and new.ours == ("beach",)
    assert set(new.flat) - {"beach"} == set(new.copied)  # programs that read paths see them, too
    assert new.with_found([], B).flat == ("Familie", "sea", "Dune")


def test_what_a_person_rejects_on_the_page_leaves_and_does_not_come_back() -> None:
    once = Keywords(("Sand",)).with_found(["beach", "sea"], A)
    new = once.with_marks([], ["beaches", "sand", "dog"])
    assert new.flat == ("Sand", "sea") and new.ours == ("sea",) and new.rejected == ("beaches", "dog")
    assert new.with_found(["beach", "dog", "sea"], B).flat == ("Sand", "sea")
    assert new.with_marks(["dog"], []).rejected == ("beaches",)


@given(_words, _words, _words, _words)
@settings(deadline=None, max_examples=100)
def test_marks_keep_what_is_the_persons_and_the_same_again_changes_nothing(
    own: list[str], found: list[str], added: list[str], rejected: list[str]
) -> None:
    before = Keywords(tuple(dict.fromkeys(own))).with_found(found, A)
    new = before.with_marks(added, rejected)
    assert set(before.yours) <= set(new.yours)
    assert all(any(same_label(tidy(word), one) for one in new.yours) for word in added)
    assert not any(same_label(word, one) for word in rejected for one in new.still_ours)
    assert new.with_marks(added, rejected) == new
