"""What a query says, as a tree, and back as text. Knows neither scores nor pictures.

`And` and `Or` take their parts as equals; a `Weighted` part counts so many times. A weight never stands below a `Not`
or another weight: the parser pulls it out (`NOT 2*dog` is `2*NOT dog`) or refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

OPERATORS = ("AND", "OR", "NOT")
_BARE = re.compile(r"[^\W_][\w'-]*")


@dataclass(frozen=True)
class Label:
    """A word or phrase that the picture shall show, in single spaces."""

    text: str


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


Query: TypeAlias = Label | Taken | InPath | Not | Weighted | And | Or


def leaves(query: Query) -> Iterator[Label | Taken | InPath]:
    """Labels and filters from left to right."""
    match query:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part) | Weighted(part=part):
            yield from leaves(part)
        case leaf:
            yield leaf


def labels_of(query: Query) -> tuple[str, ...]:
    """The labels of a query from left to right, each once."""
    return tuple(dict.fromkeys(leaf.text for leaf in leaves(query) if isinstance(leaf, Label)))


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
        case Label(text):
            words = text.split(" ")
            bare = all(_BARE.fullmatch(word) and word not in OPERATORS for word in words)
            return text if bare else quoted(text)
        case Taken(first, last):
            return f"taken:{first}" if first == last else f"taken:{first}..{last}"
        case InPath(text):
            return f"path:{text if _BARE.fullmatch(text) else quoted(text)}"


def quoted(text: str) -> str:
    """Text in quotes; those in it are doubled."""
    return '"' + text.replace('"', '""') + '"'


def _inside(part: Query, *in_parentheses: type) -> str:
    return f"({show(part)})" if isinstance(part, in_parentheses) else show(part)
