"""Lists in XMP files: whatever way they are written, words come in and go, and everything else stays."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagprism.keywords import xml_tree
from tagprism.keywords.merge import FLAT, OURS, PATHS
from tagprism.keywords.xml_tree import XmlError, parse
from tagprism.keywords.xmp_lists import Change, XmpLists
from tests.keywords.sidecars import INSERT_ONLY, LONG, PLAIN, REFUSED, SIDECARS

NEW = ("beach", "Bär & <Tiger>", "日本 😀")
DC, RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def is_inside(short: Iterable[int], long: Iterable[int]) -> bool:
    """Whether `long` is `short` with insertions."""
    rest = iter(long)
    return all(byte in rest for byte in short)


def without_lists(data: bytes) -> str:
    """Everything but the lists, in canonical form."""
    root = ET.fromstring(data)
    gone = {f"{{{name.uri}}}{name.name}" for name in (FLAT, PATHS, OURS)}
    for node in [element for element in root.iter() if element.tag.startswith(RDF)]:
        for tag in gone:
            node.attrib.pop(tag, None)
        for child in list(node):
            if child.tag in gone:
                node.remove(child)
    if root.tag == f"{RDF}RDF" and not len(root):
        ET.SubElement(root, f"{RDF}Description", {f"{RDF}about": ""})
    return ET.canonicalize(ET.tostring(root), strip_text=True)


@pytest.mark.parametrize("name", SIDECARS)
def test_words_are_read(name: str) -> None:
    data, words = SIDECARS[name]
    assert list(XmpLists(data).words(FLAT)) == words


@pytest.mark.parametrize("name", SIDECARS)
def test_words_are_added_and_all_else_stays(name: str) -> None:
    data, words = SIDECARS[name]
    changed = XmpLists(data).changed({FLAT: Change(add=NEW), PATHS: Change(add=("a|b",)), OURS: Change(add=NEW)})
    again = XmpLists(changed)
    # where a list stands in several places, the new words follow those of the first
    assert sorted(again.words(FLAT)) == sorted([*words, *NEW])
    assert again.words(OURS) == NEW and again.words(PATHS)[-1] == "a|b"
    assert without_lists(changed) == without_lists(data)


@pytest.mark.parametrize("name", INSERT_ONLY)
def test_adding_takes_no_byte_away(name: str) -> None:
    data, _ = SIDECARS[name]
    assert is_inside(data, XmpLists(data).changed({FLAT: Change(add=("beach",)), OURS: Change(add=("beach",))}))


@pytest.mark.parametrize("name", SIDECARS)
def test_what_was_added_can_be_taken_away_again(name: str) -> None:
    data, words = SIDECARS[name]
    longer = XmpLists(data).changed({FLAT: Change(add=NEW), OURS: Change(add=NEW)})
    shorter = XmpLists(longer).changed({FLAT: Change(frozenset(NEW)), OURS: Change(frozenset(NEW))})
    assert sorted(XmpLists(shorter).words(FLAT)) == sorted(words)
    assert XmpLists(shorter).words(OURS) == ()
    assert without_lists(shorter) == without_lists(data)


@pytest.mark.parametrize("name", ["darktable", "lightroom", "windows line ends", "utf-16", "on one line", "a sequence"])
def test_where_lists_are_written_as_lists_adding_and_taking_away_gives_the_same_bytes(name: str) -> None:
    data, _ = SIDECARS[name]
    longer = XmpLists(data).changed({FLAT: Change(add=NEW), OURS: Change(add=NEW)})
    assert XmpLists(longer).changed({FLAT: Change(frozenset(NEW)), OURS: Change(frozenset(NEW))}) == data


@pytest.mark.parametrize("name", SIDECARS)
def test_one_word_replaces_all_others(name: str) -> None:
    data, words = SIDECARS[name]
    changed = XmpLists(data).changed({FLAT: Change(frozenset(words), ("new",))})
    assert XmpLists(changed).words(FLAT) == ("new",)
    assert without_lists(changed) == without_lists(data)


@pytest.mark.parametrize("name", SIDECARS)
def test_the_last_word_takes_its_list_along(name: str) -> None:
    data, words = SIDECARS[name]
    changed = XmpLists(data).changed({FLAT: Change(frozenset(words))})
    assert XmpLists(changed).words(FLAT) == ()
    assert without_lists(changed) == without_lists(data)


def test_new_lists_are_laid_out_like_the_file() -> None:
    changed = XmpLists(SIDECARS["windows line ends"][0]).changed(
        {FLAT: Change(add=("beach",)), OURS: Change(add=("a",))}
    )
    lines = changed.decode().split("\r\n")
    assert "\n" not in "".join(lines)
    assert "     <rdf:li>beach</rdf:li>" in lines
    place = lines.index('   <tagprism:keywords xmlns:tagprism="https://tagprism.invalid/xmp/1.0/">')
    assert lines[place + 1 : place + 5] == [
        "    <rdf:Bag>",
        "     <rdf:li>a</rdf:li>",
        "    </rdf:Bag>",
        "   </tagprism:keywords>",
    ]


def test_what_an_encoding_lacks_is_written_as_a_reference() -> None:
    changed = XmpLists(SIDECARS["latin-1"][0]).changed({FLAT: Change(add=("日本",))})
    assert b"<rdf:li>&#26085;&#26412;</rdf:li>" in changed
    assert XmpLists(changed).words(FLAT) == ("Familie", "Küste", "日本")


@pytest.mark.timeout(20)
def test_a_long_text_takes_no_time() -> None:
    changed = XmpLists(LONG).changed({FLAT: Change(add=NEW)})
    assert XmpLists(changed).words(FLAT) == NEW and len(changed) > len(LONG)


def test_elements_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_tree, "_MAX_ELEMENTS", 1000)
    assert len(parse(b"<a>" + b"<b/>" * 999 + b"</a>").children) == 999
    with pytest.raises(XmlError, match="more than 1,000 elements"):
        parse(b"<a>" + b"<b/>" * 1000 + b"</a>")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_safely_is_refused(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(XmlError, match=reason):
        XmpLists(data).words(FLAT)


def test_a_list_of_another_resource_form_is_left_alone_until_it_is_asked_for() -> None:
    data = (PLAIN % '<dc:subject rdf:parseType="Literal"><b>x</b></dc:subject>').encode()
    assert XmpLists(XmpLists(data).changed({OURS: Change(add=("a",))})).words(OURS) == ("a",)


_xml_text = st.text(
    st.one_of(
        st.sampled_from("\t\n\r &<>\"']|/"),
        st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"),
    ),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip() != "")


@given(st.lists(_xml_text, max_size=5), st.lists(_xml_text, min_size=1, max_size=5), st.sampled_from(INSERT_ONLY))
@settings(deadline=None)
@pytest.mark.slow
def test_any_text_goes_in_and_comes_out(first: list[str], second: list[str], name: str) -> None:
    data, words = SIDECARS[name]
    once = XmpLists(data).changed({OURS: Change(add=tuple(first))} if first else {})
    twice = XmpLists(once).changed({OURS: Change(add=tuple(second))})
    assert XmpLists(twice).words(OURS) == (*first, *second)
    assert list(XmpLists(twice).words(FLAT)) == words
    assert is_inside(data, twice)


@given(
    st.sampled_from(sorted(SIDECARS)),
    st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=150)
def test_damaged_bytes_are_refused_or_changed_rightly(name: str, damage: list[tuple[int, bytes, int]]) -> None:
    data = bytearray(SIDECARS[name][0])
    for place, new, length in damage:
        place %= len(data) + 1
        data[place : place + length] = new
    try:
        lists = XmpLists(bytes(data))
        before = lists.words(FLAT)
        changed = lists.changed({FLAT: Change(add=("beach",)), OURS: Change(add=("beach",))})
    except XmlError:
        return
    assert sorted(XmpLists(changed).words(FLAT)) == sorted([*before, "beach"])
