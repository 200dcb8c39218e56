"""Queries as people write them (`"polar bear" AND snow NOT people taken:2024`), read into a tree. Knows no pictures.

    query  = all { OR all }
    all    = part { [AND] part }
    part   = { NOT | - | NUMBER* } leaf
    leaf   = ( query ) | word { word } | "phrase" | taken:FROM..TO | path:TEXT

Words next to each other are one phrase, as tags are (`night sky`). Operators are in capitals, so
`black and white` is one too.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NoReturn

from tagprism.labels.phrases import normalise_phrase
from tagprism.search.query_tokens import Kind, QueryError, Token, tokens
from tagprism.search.query_tree import And, InPath, Label, Not, Or, Query, Taken, Weighted, labels_of

__all__ = ["Query", "QueryError", "parse"]

DEEPEST = 40  # groups, NOTs and weights inside each other
MOST_LABELS = 32  # each is a search of its own
LONGEST_LABEL = 200  # characters
WEIGHTS = (0.01, 100.0)
_BEGIN: tuple[Kind, ...] = ("word", "phrase", "taken", "path", "weight", "NOT", "(")
_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d)?)?)?)?)?", re.ASCII)
_EARLIEST = "0001-01-01T00:00:00"


def parse(text: str) -> Query:
    """Read a query.

    Args:
        text: at most 10,000 characters with at most 32 labels.

    Returns:
        The tree; `query_tree.show` writes it again.

    Raises:
        QueryError: it cannot be read; the error points at the place.
    """
    return _Parser(text).query()


class _Parser:
    """One pass over the tokens, by recursive descent."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(tokens(text))
        self._at = 0
        self._depth = 0
        self._labels: set[str] = set()

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _taken(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _fail(self, what: str, place: int, remedy: str) -> NoReturn:
        raise QueryError(what, self._text, place, remedy)

    def query(self) -> Query:
        """The whole text."""
        if self._next.kind == "end":
            self._fail("the query is empty.", 0, "Write a tag, such as beach.")
        whole = self._any()
        if self._next.kind == ")":
            self._fail("this `)` closes nothing.", self._next.place, "Leave it away, or open a group with `(`.")
        return whole

    def _any(self) -> Query:
        parts = [self._all()]
        while self._next.kind == "OR":
            self._at += 1
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Query:
        parts = [self._part()]
        while self._next.kind in ("AND", *_BEGIN):
            if self._next.kind == "AND":
                self._at += 1
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _part(self) -> Query:
        if self._next.kind not in _BEGIN:
            self._no_part()
        if self._depth == DEEPEST:
            remedy = f"At most {DEEPEST} groups, NOTs and weights may stand inside each other."
            self._fail("the query is too deep.", self._next.place, remedy)
        self._depth += 1
        token = self._taken()
        if token.kind == "NOT":
            part = _negated(self._part())
        elif token.kind == "weight":
            part = self._weighted(token, self._part())
        elif token.kind == "(":
            part = self._group(token)
        else:
            part = self._leaf(token)
        self._depth -= 1
        return part

    def _no_part(self) -> NoReturn:
        """Say what is missing before the next token."""
        token, before = self._next, self._tokens[self._at - 1] if self._at else None
        if token.kind in ("AND", "OR") and (before is None or before.kind == "("):
            self._fail(f"{token.kind} has nothing before it.", token.place, "Write a tag there, or leave it away.")
        if token.kind == ")" and before is not None and before.kind == "(":
            self._fail("the group is empty.", token.place, "Write a tag between the parentheses.")
        if token.kind == ")" and before is None:
            self._fail("this `)` closes nothing.", token.place, "Leave it away, or open a group with `(`.")
        if before is not None and before.kind == "(":
            self._fail("this `(` is not closed.", before.place, "Write a tag and `)`, or leave it away.")
        name = before.text if before is not None and before.kind != "weight" else "the weight"
        self._fail(f"{name} has nothing after it.", token.place, "Write a tag there, or leave it away.")

    def _group(self, opening: Token) -> Query:
        inside = self._any()
        if self._next.kind != ")":
            self._fail("this `(` is not closed.", opening.place, "Close the group with `)`.")
        self._at += 1
        return inside

    def _weighted(self, token: Token, part: Query) -> Query:
        weight, (least, most) = float(token.text), WEIGHTS
        if not least <= weight <= most:
            remedy = f"Use {least} to {most:g}; to keep something out write NOT."
            self._fail("the weight is out of range.", token.place, remedy)
        if isinstance(part, Weighted):
            self._fail("what follows has a weight already.", token.place, "Leave one of the two away.")
        if not labels_of(part):
            self._fail("a filter has no weight.", token.place, "Leave the number away: a filter is met or not.")
        return Weighted(weight, part)

    def _leaf(self, token: Token) -> Query:
        if token.kind == "taken":
            return self._time_range(token)
        if token.kind == "path":
            return InPath(token.text)
        words = [token.text]
        while token.kind == "word" and self._next.kind == "word":
            words.append(self._taken().text)
        return self._label(" ".join(" ".join(words).split()), token.place)

    def _label(self, text: str, place: int) -> Label:
        if not normalise_phrase(text):
            self._fail("there is no word in this phrase.", place, "Write a tag, such as beach.")
        if len(text) > LONGEST_LABEL:
            remedy = f"Use at most {LONGEST_LABEL}; AND and OR join several tags."
            self._fail(f"this phrase has {len(text):,} characters.", place, remedy)
        self._labels.add(text)
        if len(self._labels) > MOST_LABELS:
            self._fail(f"this is label {MOST_LABELS + 1}.", place, f"Use at most {MOST_LABELS} different ones.")
        return Label(text)

    def _time_range(self, token: Token) -> Taken:
        first, dots, last = token.text.partition("..")
        self._check_time(first, token.value_place, may_be_empty=bool(dots and last))
        if not dots:
            return Taken(first, first)
        self._check_time(last, token.value_place + len(first) + 2, may_be_empty=bool(first))
        if first and last and first[: len(last)] > last:
            self._fail("the range ends before it begins.", token.value_place, f"Write taken:{last}..{first}.")
        return Taken(first, last)

    def _check_time(self, value: str, place: int, *, may_be_empty: bool) -> None:
        if not value and may_be_empty:
            return
        if not _TIME.fullmatch(value):
            remedy = "Write a year, month or day, or a range: taken:2024, taken:2024-03..2024-07, taken:2024-03-15.."
            self._fail("this is no time.", place, remedy)
        try:
            datetime.fromisoformat(value + _EARLIEST[len(value) :])
        except ValueError:
            self._fail("this is not in the calendar.", place, "Months are 01 to 12, days 01 to 31.")


def _negated(part: Query) -> Query:
    return Weighted(part.weight, Not(part.part)) if isinstance(part, Weighted) else Not(part)
