"""The words and signs of a query, each with its place, and the error that points at one. Knows no grammar."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tagprism.errors import InputError
from tagprism.search.query_tree import OPERATORS

LONGEST = 10_000  # characters of a query
FILTERS = ("taken", "path")
_WEIGHT = re.compile(r"([0-9]++(?:\.[0-9]++)?+|\.[0-9]++)\s*+\*")  # possessive: time linear in a hostile text
_OPENING, _CLOSING = '"“”„', {'"': '"', "“": "“”", "”": "“”", "„": "“”"}  # telephones write curly ones
_WORD = re.compile(rf"[^\s(){_OPENING}]+")
_NAMED = re.compile(r"([A-Za-z]+):")
_SYMBOLS = {"&": "AND", "&&": "AND", "+": "AND", "|": "OR", "||": "OR", "!": "NOT", "-": "NOT"}
_EXCERPT = 70  # characters of the query that an error shows

Kind = Literal["word", "phrase", "taken", "path", "weight", "AND", "OR", "NOT", "(", ")", "end"]


class QueryError(InputError):
    """A query that cannot be read, with the place where it fails.

    Args:
        what: one sentence saying what is wrong.
        text: the query.
        place: of the character that it is about, from 0; the length of the text for its end.
        remedy: one sentence saying what to do about it.

    Attributes:
        column: the place as people count it, from 1.
    """

    def __init__(self, what: str, text: str, place: int, remedy: str) -> None:
        self.column = place + 1
        line, before = _excerpt(text, place)
        super().__init__(f"{what}\n  {line}\n  {before}^\n", where=f"query, column {self.column}", remedy=remedy)
        self.what = what


@dataclass(frozen=True)
class Token:
    """One word or sign.

    Args:
        kind: what it is; `word` is bare, `phrase` was quoted, `taken` and `path` are filters.
        text: the word, phrase, value of the filter or number of the weight.
        place: of its first character, from 0.
        value_place: of the first character of `text`.
    """

    kind: Kind
    text: str
    place: int
    value_place: int


def tokens(text: str) -> Iterator[Token]:
    """Words and signs from left to right, then the end.

    Raises:
        QueryError: a character, filter or quote that cannot be read, or a text that is too long.
    """
    if len(text) > LONGEST:
        raise QueryError(f"the query has {len(text):,} characters.", text, LONGEST, f"Use at most {LONGEST:,}.")
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
        elif text[place] in "()":
            yield Token("(" if text[place] == "(" else ")", text[place], place, place)
            place += 1
        elif text[place] in _OPENING:
            inside, end = _quoted(text, place)
            yield Token("phrase", inside, place, place)
            place = end
        elif found := _WEIGHT.match(text, place):
            yield Token("weight", found[1], place, place)
            place = found.end()
        elif text[place] == "-" and place + 1 < len(text) and not text[place + 1].isspace():
            yield Token("NOT", "-", place, place)
            place += 1
        else:
            token, place = _word(text, place)
            yield token
    yield Token("end", "", len(text), len(text))


def _word(text: str, place: int) -> tuple[Token, int]:
    found = _WORD.match(text, place)
    assert found is not None  # the caller has seen a character that is none of the others
    word = found[0]
    if word in OPERATORS:
        return Token(word, word, place, place), found.end()  # type: ignore[arg-type]
    if named := _NAMED.match(word):
        return _filter(text, place, named[1], found.end())
    if word in _SYMBOLS:
        raise QueryError(f"`{word}` is no operator.", text, place, f"Write {_SYMBOLS[word]}.")
    if word.startswith("!"):
        raise QueryError("`!` is no operator.", text, place, "Write NOT before what shall not be there.")
    if "*" in word:
        remedy = "Write a weight as in 2*dog; words are never cut short. Quote the phrase if the * belongs to it."
        raise QueryError("`*` stands after a number only.", text, place + word.index("*"), remedy)
    if "," in word:
        remedy = "Write AND or OR between tags; quote the phrase if the comma belongs to it."
        raise QueryError("a comma joins no tags.", text, place + word.index(","), remedy)
    return Token("word", word, place, place), found.end()


def _filter(text: str, place: int, name: str, end: int) -> tuple[Token, int]:
    kind, start = name.lower(), place + len(name) + 1
    if kind not in FILTERS:
        remedy = "There are taken: and path:. Quote the phrase if the colon belongs to it."
        raise QueryError("there is no filter of this name.", text, place, remedy)
    if start < len(text) and text[start] in _OPENING:
        value, end = _quoted(text, start)
        start += 1
    else:
        value = text[start:end]
    if not value:
        example = "taken:2024" if kind == "taken" else "path:holiday"
        remedy = f"Write it right after the colon, as in {example}."
        raise QueryError(f"`{name}:` has no value.", text, min(start, len(text)), remedy)
    return Token("taken" if kind == "taken" else "path", value, place, start), end


def _quoted(text: str, place: int) -> tuple[str, int]:
    """What is quoted from a place on (a doubled quote stands for one), and the place after it."""
    closing, at, inside = _CLOSING[text[place]], place + 1, []
    while at < len(text):
        if text[at] not in closing:
            inside.append(text[at])
            at += 1
        elif text[at] == '"' and text[at + 1 : at + 2] == '"':
            inside.append('"')
            at += 2
        else:
            return "".join(inside), at + 1
    raise QueryError("the quote is not closed.", text, place, "Close it with a second quote.")


def _excerpt(text: str, place: int) -> tuple[str, str]:
    """The query around a place in one line, and as much white space as stands before the place."""
    start = max(0, place - _EXCERPT // 2)
    shown = [char if char.isprintable() else " " for char in text[start : start + _EXCERPT]]
    before, line = shown[: place - start], "".join(shown)
    if start:
        before, line = [*"…", *before], f"…{line}"
    return line + "…" * (start + _EXCERPT < len(text)), " " * sum(_cells(char) for char in before)


def _cells(char: str) -> int:
    """Columns that a terminal gives to a character."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
