"""The error of a query that cannot be read, which points at the place where it fails. Knows no grammar."""

from __future__ import annotations

import unicodedata

from tagprism.errors import InputError

_EXCERPT = 70  # characters of the query that an error shows


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
