"""Lists of words in an XMP file: read them, add to them and take from them, and leave every other byte as it is.

Knows how XMP writes a list, not whose words they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tagprism.keywords.xml_tree import Element, XmlError, decode, escaped, parse

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*(?:"[^"]*"|'[^']*')""")
_SPACE = b" \t\r\n"


class ListName(NamedTuple):
    """What a list is called.

    Args:
        uri: its namespace.
        name: its local name.
        prefix: the usual prefix of the namespace.
        container: `Bag` (no order) or `Seq`, for a list that is not there yet.
    """

    uri: str
    name: str
    prefix: str
    container: str = "Bag"


class Change(NamedTuple):
    """What becomes of one list.

    Args:
        remove: words to take away, exactly as read.
        add: words to put at its end.
    """

    remove: frozenset[str] = frozenset()
    add: tuple[str, ...] = ()


class _Splice(NamedTuple):
    """Replace `data[start:end]`."""

    start: int
    end: int
    new: bytes


@dataclass(frozen=True)
class _Item:
    """One word of a list; `text` is None where it is a structure without a value."""

    text: str | None
    start: int
    end: int


@dataclass(frozen=True)
class _Found:
    """Where a list stands: an element with a container, an element with text, or an attribute."""

    owner: Element  # the property, or the Description that has the attribute
    container: Element | None
    items: tuple[_Item, ...]
    is_attribute: bool = False


class XmpLists:
    """The lists of one XMP file.

    Args:
        data: the file's bytes.

    Raises:
        XmlError: not well-formed, or no XMP.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._encode = decode(data)
        rdf = _find_rdf(parse(self._data))
        if rdf is None:
            raise XmlError("is not XMP: it has no rdf:RDF")
        self._rdf = rdf
        self._newline = b"\r\n" if b"\r\n" in self._data else b"\n"

    def words(self, name: ListName) -> tuple[str, ...]:
        """The words of a list, in order; empty where there is no such list.

        Raises:
            XmlError: the list is written in a way that XMP does not know.
        """
        texts = (item.text for found in self._find(name) for item in found.items)
        return tuple(text for text in texts if text and text.strip())

    def changed(self, changes: Mapping[ListName, Change]) -> bytes:
        """The file's bytes with lists changed; a list that loses its last word goes away.

        Raises:
            XmlError: a list is written in a way that XMP does not know.
        """
        splices: list[_Splice] = []
        new: list[tuple[ListName, tuple[str, ...]]] = []
        for name, change in changes.items():
            to_write = change.add
            for found in self._find(name):
                if found.is_attribute and to_write:  # an attribute holds one word: it becomes an element
                    kept = tuple(item.text for item in found.items if item.text and item.text not in change.remove)
                    splices += (_Splice(item.start, item.end, b"") for item in found.items)
                    to_write = (*kept, *to_write)
                else:
                    splices += self._changed_list(found, change.remove, to_write)
                    to_write = ()
            if to_write:
                new.append((name, to_write))
        if new:
            splices.append(self._new_lists(new))
        return self._encode(_spliced(self._data, splices))

    def _find(self, name: ListName) -> list[_Found]:
        """Wherever the list stands; those that can take more words come last, the first of them foremost."""
        attributes, elements = [], []
        for node in self._rdf.children:
            if (name.uri, name.name) in node.attributes:
                start, end = self._attribute_position(node, name)
                item = _Item(node.attributes[name.uri, name.name], start, end)
                attributes.append(_Found(node, None, (item,), is_attribute=True))
            for owner in node.children:
                if owner.is_a(name.uri, name.name):
                    container = _container(owner)
                    elements.append(_Found(owner, container, tuple(_items(owner, container))))
        return attributes + elements

    def _attribute_position(self, node: Element, name: ListName) -> tuple[int, int]:
        for found in _ATTRIBUTE.finditer(self._data, node.start, node.inner):
            prefix, _, local = found[1].decode("utf-8").rpartition(":")
            if prefix and local == name.name and node.scope.get(prefix) == name.uri:
                return found.start(), found.end()
        raise XmlError(f"keeps {name.prefix}:{name.name} in a form that is not understood")

    def _changed_list(self, found: _Found, remove: frozenset[str], add: Sequence[str]) -> Iterator[_Splice]:
        gone = [item for item in found.items if item.text in remove]
        if found.is_attribute:
            yield from (_Splice(item.start, item.end, b"") for item in gone)
        elif gone and len(gone) == len(found.items) and not add:
            yield self._without(found.owner.start, found.owner.end)
        elif found.container is not None:
            yield from (self._without(item.start, item.end) for item in gone)
            if add:
                yield self._longer(found.container, found.items, add)
        elif found.items and add:  # a single word as text: it becomes the list that it should have been
            kept = None if gone else self._data[found.owner.inner : found.owner.close]
            yield _Splice(found.owner.inner, found.owner.close, self._bag(found.owner, kept, add))
        elif add:
            yield self._filled(found.owner, self._bag(found.owner, None, add))

    def _without(self, start: int, end: int) -> _Splice:
        return _Splice(start - len(self._space_before(start)), end, b"")

    def _longer(self, container: Element, items: Sequence[_Item], add: Sequence[str]) -> _Splice:
        prefix = container.prefix
        if items:
            gap = self._space_before(items[0].start)
            return _Splice(items[-1].end, items[-1].end, b"".join(gap + _item(prefix, word) for word in add))
        return self._filled(container, b"".join(_item(prefix, word) for word in add))

    def _bag(self, owner: Element, kept: bytes | None, add: Sequence[str]) -> bytes:
        prefix, declaration = _prefix(owner.scope, RDF, "rdf")
        first = b"" if kept is None else f"<{prefix}li>".encode() + kept + f"</{prefix}li>".encode()
        items = first + b"".join(_item(prefix, word) for word in add)
        return f"<{prefix}Bag{declaration}>".encode() + items + f"</{prefix}Bag>".encode()

    def _new_lists(self, lists: Iterable[tuple[ListName, Sequence[str]]]) -> _Splice:
        node = next(iter(self._rdf.children), None)
        outer = node or self._rdf
        last = outer.children[-1].start if outer.children else None
        indent = self._space_before(outer.start if last is None else last)
        step = b" " if self._newline in indent else b""
        indent += step if last is None else b""
        if node is None:
            prefix, declaration = _prefix(self._rdf.scope, RDF, "rdf", for_attribute=True)
            inside = b"".join(_new_list(self._rdf.scope, *one, indent + step, step) for one in lists)
            head = f'<{prefix}Description{declaration} {prefix}about="">'.encode()
            return self._filled(self._rdf, indent + head + inside + indent + f"</{prefix}Description>".encode())
        inside = b"".join(_new_list(node.scope, *one, indent, step) for one in lists)
        if node.children:
            return _Splice(node.children[-1].end, node.children[-1].end, inside)
        return self._filled(node, inside)

    def _filled(self, element: Element, inside: bytes) -> _Splice:
        """Put `inside` at the end of an element that has no child yet."""
        if element.close < element.end:
            space = self._space_before(element.close)
            if space or self._newline not in inside:
                position = max(element.inner, element.close - len(space))
                return _Splice(position, position, inside)
        if self._newline in inside:
            inside += self._space_before(element.start)
        if element.close < element.end:
            return _Splice(element.close, element.close, inside)
        tag = re.match(rb"<([^\s/>]+)", self._data[element.start : element.inner])
        assert tag is not None
        return _Splice(element.inner - 2, element.inner, b">" + inside + b"</" + tag[1] + b">")

    def _space_before(self, position: int) -> bytes:
        """White space before a position, from the last line break on where there is one."""
        start = position
        while start and self._data[start - 1] in _SPACE:
            start -= 1
        space = self._data[start:position]
        return space[max(0, space.rfind(self._newline)) :]


def _find_rdf(root: Element) -> Element | None:
    waiting = [root]
    for element in waiting:
        if element.is_a(RDF, "RDF"):
            return element
        waiting += element.children
    return None


def _container(owner: Element) -> Element | None:
    """The Bag, Seq or Alt of a property, also where it has qualifiers (`rdf:value`); None where it has plain text."""
    inside = owner
    while inside.children:
        values = [child for child in inside.children if child.is_a(RDF, "Bag", "Seq", "Alt", "value", "Description")]
        if len(values) != 1:
            raise XmlError(f"keeps {owner.prefix}{owner.name} in a form that is not understood")
        inside = values[0]
        if inside.is_a(RDF, "Bag", "Seq", "Alt"):
            return inside
    if inside is not owner or any(uri == RDF for uri, _ in owner.attributes):
        raise XmlError(f"keeps {owner.prefix}{owner.name} in a form that is not understood")
    return None


def _items(owner: Element, container: Element | None) -> Iterator[_Item]:
    if container is not None:
        for item in container.children:
            yield _Item(_value(item), item.start, item.end)
    elif owner.text.strip():
        yield _Item(owner.text, owner.inner, owner.close)


def _value(item: Element) -> str | None:
    """The text of a list's item; of an item with qualifiers its `rdf:value`."""
    while item.children:
        inner = [child for child in item.children if child.is_a(RDF, "value", "Description")]
        if len(inner) != 1:
            return None
        item = inner[0]
    return item.attributes.get((RDF, "value"), item.text)


def _prefix(scope: Mapping[str, str], uri: str, usual: str, *, for_attribute: bool = False) -> tuple[str, str]:
    """The prefix of a namespace with its colon, and the declaration that an element needs where it is not known."""
    known = [prefix for prefix, bound in scope.items() if bound == uri and (prefix or not for_attribute)]
    if known:
        best = usual if usual in known else known[0]
        return (f"{best}:" if best else ""), ""
    return f"{usual}:", f' xmlns:{usual}="{uri}"'


def _item(prefix: str, word: str) -> bytes:
    return f"<{prefix}li>{escaped(word)}</{prefix}li>".encode()


def _new_list(scope: Mapping[str, str], name: ListName, words: Sequence[str], indent: bytes, step: bytes) -> bytes:
    prefix, declaration = _prefix(scope, name.uri, name.prefix)
    inner = {**scope, name.prefix: name.uri} if declaration else scope
    rdf, rdf_declaration = _prefix(inner, RDF, "rdf")
    lines = [
        (0, f"<{prefix}{name.name}{declaration}>".encode()),
        (1, f"<{rdf}{name.container}{rdf_declaration}>".encode()),
        *((2, _item(rdf, word)) for word in words),
        (1, f"</{rdf}{name.container}>".encode()),
        (0, f"</{prefix}{name.name}>".encode()),
    ]
    return b"".join(indent + depth * step + line for depth, line in lines)


def _spliced(data: bytes, splices: Iterable[_Splice]) -> bytes:
    parts, done = [], 0
    for start, end, new in sorted(splices, key=lambda splice: splice[:2]):
        assert start >= done  # no two changes in one place
        parts += [data[done:start], new]
        done = end
    return b"".join([*parts, data[done:]])
