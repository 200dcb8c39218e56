"""The values of filters in a query (`taken:2024-03`, `rating:4..`), read and checked. Knows no pictures."""

from __future__ import annotations

import re
from datetime import datetime

from tagprism.errors import InputError
from tagprism.search.conditions import field_conditions
from tagprism.search.query import Field, QueryError, Taken

_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d)?)?)?)?)?", re.ASCII)
_EARLIEST = "0001-01-01T00:00:00"


def time_range(value: str, query: str, offset: int) -> Taken:
    """When the photo was taken.

    Args:
        value: a beginning of an ISO time, or two with `..` between, one of which may be empty.
        query: that it stands in.
        offset: where it begins there.

    Raises:
        QueryError: it is no time.
    """
    first, dots, last = value.partition("..")
    _check_time(first, query, offset, may_be_empty=bool(dots and last))
    if not dots:
        return Taken(first, first)
    _check_time(last, query, offset + len(first) + 2, may_be_empty=bool(first))
    if first and last and first[: len(last)] > last:
        raise QueryError("the range ends before it begins.", query, offset, f"Write taken:{last}..{first}.")
    return Taken(first, last)


def _check_time(value: str, query: str, offset: int, *, may_be_empty: bool) -> None:
    if not value and may_be_empty:
        return
    if not _TIME.fullmatch(value):
        remedy = "Write a year, month or day, or a range: taken:2024, taken:2024-03..2024-07, taken:2024-03-15.."
        raise QueryError("this is no time.", query, offset, remedy)
    try:
        datetime.fromisoformat(value + _EARLIEST[len(value) :])
    except ValueError:
        remedy = "Months are 01 to 12, days 01 to 31."
        raise QueryError("this is not in the calendar.", query, offset, remedy) from None


def metadata_field(name: str, value: str, query: str, offset: int) -> Field:
    """What the picture's file shall say; arguments as for `time_range`.

    Raises:
        QueryError: it is none that a file can say.
    """
    try:
        field_conditions(name, value)
    except InputError as error:
        raise QueryError(error.what, query, offset, error.remedy or "") from None
    return Field(name, value)
