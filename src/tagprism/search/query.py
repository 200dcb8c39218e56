"""A query as a tree, and as text; the error of one that cannot be read. Knows no scores.

`And` and `Or` take their parts as equals; a `Weighted` part counts so many times. A weight never stands below a `Not`
or another weight: the parser pulls it out (`NOT 2*dog` is `2*NOT dog`) or refuses it. The error of a query that cannot
be read points at the offset where it fails.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from tagprism.errors import InputError
from tagprism.search.conditions import Filter

OPERATORS = ("AND", "OR", "NOT")
_BARE = re.compile(r"[^\W_][\w'-]*")
_PLAIN = re.compile(r"[\w.,-]+")
_EXCERPT = 70  # characters of the query that an error shows


@dataclass(frozen=True)
class Label:
    """A word or phrase that the picture shall show.

    Args:
        text: in single spaces.
        quoted: whether its words belong together whatever is known of them (`search.words`); such labels are equal.
    """

    text: str
    quoted: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Taken:
    """When the photo was taken.

    Args:
        first: least beginning of an ISO time (`2024`, `2024-03`), included; empty for no limit.
        last: greatest beginning, included; empty for no limit.
    """

    first: str
    last: str


@dataclass(frozen=True)
class InPath:
    """A piece of text that the picture's path shall hold, in any case."""

    text: str


@dataclass(frozen=True)
class Tagged:
    """A tag that a person gave the picture: on the page, or as a keyword of its file; in any spelling."""

    text: str


@dataclass(frozen=True)
class Field:
    """What the picture's file shall say.

    Args:
        name: `camera`, `rating`, `type` or `gps`.
        text: as `conditions.field_conditions` reads it.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Not:
    """What shall not be."""

    part: Query


@dataclass(frozen=True)
class Weighted:
    """A part that counts as so many in the `And` or `Or` it stands in."""

    weight: float
    part: Query


@dataclass(frozen=True)
class And:
    """All of two or more parts."""

    parts: tuple[Query, ...]


@dataclass(frozen=True)
class Or:
    """Any of two or more parts."""

    parts: tuple[Query, ...]


FilterLeaf: TypeAlias = Taken | InPath | Tagged | Field
Leaf: TypeAlias = Label | FilterLeaf
Query: TypeAlias = Leaf | Not | Weighted | And | Or


def show(query: Query) -> str:
    """The query as text, which parses to this very tree."""
    match query:
        case And(parts):
            return " AND ".join(_inside(part, Or, And) for part in parts)
        case Or(parts):
            return " OR ".join(_inside(part, Or) for part in parts)
        case Not(part):
            return f"NOT {_inside(part, Or, And)}"
        case Weighted(weight, part):
            return f"{Decimal(repr(weight)).normalize():f}*{_inside(part, Or, And)}"
        case Label(text, whole):
            words = text.split(" ")
            bare = all(_BARE.fullmatch(word) and word not in OPERATORS for word in words)
            return text if bare and not (whole and len(words) > 1) else quoted(text)
        case Taken(first, last):
            return f"taken:{first}" if first == last else f"taken:{first}..{last}"
        case InPath(text):
            return f"path:{text if _BARE.fullmatch(text) else quoted(text)}"
        case Tagged(text):
            return f"tag:{text if _BARE.fullmatch(text) else quoted(text)}"
        case Field(name, text):
            return f"{name}:{text if _PLAIN.fullmatch(text) else quoted(text)}"


def quoted(text: str) -> str:
    """Text in quotes; those in it are doubled."""
    return '"' + text.replace('"', '""') + '"'


def _inside(part: Query, *in_parentheses: type) -> str:
    return f"({show(part)})" if isinstance(part, in_parentheses) else show(part)


def positive_labels(query: Query, *, positive: bool = True) -> Iterator[str]:
    """Labels with which the match rises, those below an even number of NOTs."""
    match query:
        case And(parts) | Or(parts):
            for part in parts:
                yield from positive_labels(part, positive=positive)
        case Not(part):
            yield from positive_labels(part, positive=not positive)
        case Weighted(part=part):
            yield from positive_labels(part, positive=positive)
        case Label(text) if positive:
            yield text


def as_filter(leaf: FilterLeaf) -> Filter:
    """The filter that a leaf is."""
    if isinstance(leaf, Field):
        return Filter(fields=((leaf.name, leaf.text),))
    return Filter(taken=((leaf.first, leaf.last),)) if isinstance(leaf, Taken) else Filter(path=(leaf.text,))


class QueryError(InputError):
    """A query that cannot be read, with the place where it fails.

    Args:
        what: one sentence saying what is wrong.
        text: the query.
        offset: of the character that it is about, from 0; the length of the text for its end.
        remedy: one sentence saying what to do about it.

    Attributes:
        column: the offset as people count it, from 1.
    """

    def __init__(self, what: str, text: str, offset: int, remedy: str) -> None:
        self.column = offset + 1
        line, before = _excerpt(text, offset)
        super().__init__(f"{what}\n  {line}\n  {before}^\n", where=f"query, column {self.column}", remedy=remedy)
        self.what = what


def _excerpt(text: str, offset: int) -> tuple[str, str]:
    """The query around an offset in one line, and as much white space as stands before it."""
    start = max(0, offset - _EXCERPT // 2)
    shown = [char if char.isprintable() else " " for char in text[start : start + _EXCERPT]]
    before, line = shown[: offset - start], "".join(shown)
    if start:
        before, line = [*"…", *before], f"…{line}"
    return line + "…" * (start + _EXCERPT < len(text)), " " * sum(_cells(char) for char in before)


def _cells(char: str) -> int:
    """Columns that a terminal gives to a character."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
