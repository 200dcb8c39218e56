"""XML -> elements with their positions in the bytes, so that a file can be changed in one place and nowhere else.

Knows nothing of XMP. Entities cannot be declared, so nothing expands and nothing outside is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

XML = "http://www.w3.org/XML/1998/namespace"
_MAX_DEPTH = 256
_MAX_ELEMENTS = 100_000  # a long editing history has some thousands
_START_TAG = re.compile(rb"""<[^"'>]*(?:(?:"[^"]*"|'[^']*')[^"'>]*)*>""")
_DECLARED = re.compile(rb"""^<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_UNMARKED = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_ENCODINGS = {"utf-8": "utf-8", "us-ascii": "ascii", "ascii": "ascii", "iso-8859-1": "latin-1"}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlError(ValueError):
    """The bytes are not XML that can be read safely; the message is a sentence without its full stop."""


@dataclass(slots=True)
class Element:
    """One element and where it stands in the UTF-8 bytes.

    Args:
        uri: its namespace, perhaps empty.
        name: its local name.
        prefix: as written before its name, with the colon; empty for the default namespace.
        start: position of `<` of the start tag.
        inner: position after the start tag.
        close: position of the end tag; `inner` for `<empty/>`.
        end: position after the end tag.
        attributes: (namespace, name) -> value.
        scope: prefix (empty for the default) -> namespace, as known inside the element.
        children: the elements directly inside.
        text: the characters directly inside, joined.
    """

    uri: str
    name: str
    prefix: str
    start: int
    inner: int
    attributes: dict[tuple[str, str], str]
    scope: Mapping[str, str]
    close: int = -1
    end: int = -1
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def is_a(self, uri: str, *names: str) -> bool:
        """Whether it has this namespace and one of these names."""
        return self.uri == uri and self.name in names


def decode(data: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Bytes of a file -> the same text in UTF-8 without byte order mark, and the way back.

    Args:
        data: a file in UTF-8, UTF-16, ASCII or Latin-1.

    Returns:
        UTF-8 bytes; a function from such bytes to the file's encoding, with its byte order mark.

    Raises:
        XmlError: another encoding, or bytes that do not fit it.
    """
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS.get(mark) or _UNMARKED.get(data[:2]) or _declared(data)
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise XmlError(f"is damaged: byte {error.start} is not {error.encoding}") from error
    if "\0" in text:  # expat would take it for another encoding
        raise XmlError("is damaged: it holds a zero character")

    def encode(changed: bytes) -> bytes:
        return mark + changed.decode("utf-8").encode(encoding, "xmlcharrefreplace")

    return text.encode("utf-8"), encode


def _declared(data: bytes) -> str:
    found = _DECLARED.match(data)
    name = found[1].decode("ascii").lower() if found else "utf-8"
    if name not in _ENCODINGS:
        raise XmlError(f"has the encoding {name}, which is not read")
    return _ENCODINGS[name]


def parse(data: bytes) -> Element:
    """Parse UTF-8 bytes into their root element.

    Raises:
        XmlError: not well-formed, a DOCTYPE, or elements nested too deeply.
    """
    builder = _Builder(data)
    try:
        builder.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmlError(f"is damaged: {error}") from error
    assert builder.root is not None  # expat does not accept a document without an element
    return builder.root


class _Builder:
    """Receives expat's events and notes where they happen."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.root: Element | None = None
        self.open: list[Element] = []
        self.texts: list[list[str]] = []  # of the open elements
        self.elements = 0
        self.declared: dict[str, str] = {}
        # The separator cannot be part of a name or of a namespace that is written in XML without escapes.
        self.parser = expat.ParserCreate("utf-8", "\n")
        self.parser.namespace_prefixes = True
        self.parser.buffer_text = True
        self.parser.buffer_size = 2**16
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartNamespaceDeclHandler = self._declare
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        raise XmlError("declares a DOCTYPE, which could expand without end")

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        self.declared[prefix or ""] = uri or ""

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if len(self.open) >= _MAX_DEPTH or self.elements > _MAX_ELEMENTS:
            raise XmlError(f"has more than {_MAX_ELEMENTS:,} elements, or more than {_MAX_DEPTH} inside each other")
        start = self.parser.CurrentByteIndex
        tag = _START_TAG.match(self.data, start)
        assert tag is not None  # expat has accepted it
        uri, local, prefix = _split(name)
        outer: Mapping[str, str] = self.open[-1].scope if self.open else {"xml": XML}
        scope = {**outer, **self.declared} if self.declared else outer
        self.declared = {}
        named = {_split(key)[:2]: value for key, value in attributes.items()}
        element = Element(uri, local, f"{prefix}:" if prefix else "", start, tag.end(), named, scope)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)
        self.texts.append([])

    def _end(self, _: str) -> None:
        element = self.open.pop()
        element.text = "".join(self.texts.pop())
        if self.data[element.inner - 2 : element.inner] == b"/>":
            element.close = element.end = element.inner
        else:
            element.close = self.parser.CurrentByteIndex
            element.end = self.data.index(b">", element.close) + 1

    def _text(self, text: str) -> None:
        self.texts[-1].append(text)


def _split(name: str) -> tuple[str, str, str]:
    """Expat's `namespace local prefix` (the first and the last may be absent)."""
    parts = name.split("\n")
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""


def can_be_written(text: str) -> bool:
    """Whether XML has a way to write every character of a text."""
    return _NOT_IN_XML.search(text) is None


def escaped(text: str) -> str:
    """Text as it stands between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
