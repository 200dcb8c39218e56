"""When a photo was taken, from what its file, the files beside it and its name say. Knows no pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

# Year, month; day; hour and minute; second. Cameras and programs separate them in all ways, and leave the end away.
_STATED = re.compile(
    r"(\d{4})[-:/.](\d\d)(?:[-:/.](\d\d)(?:[T ]+(\d\d)[:.](\d\d)(?:[:.](\d\d)(?!\d))?)?)?(?!\d)", re.ASCII
)
# IMG_20190504_065057, PXL_20190504_065057123, 2019-05-04 06.50.57, Screenshot_2019-05-04-06-50-57, IMG-20190504-WA0001
_NAMED = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)"
    r"(?:(?:[-_ T.]*|\sat\s)(\d\d)([-_.:]?)(\d\d)\6(\d\d)(?:\d{3})?)?(?!\d)",
    re.ASCII,
)
_OLDEST = 1826  # no photo is older
_AHEAD = timedelta(days=1)  # a zone further east
_FORM, _PARTS = "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d-%H-%M-%S"


class Taken(NamedTuple):
    """A time and who says it.

    Args:
        time: as the camera's clock had it, without a zone: `2024-07-31T18:05:09`, or what is known of it from its
            beginning on.
        source: such as `EXIF:DateTimeOriginal`.
    """

    time: str
    source: str


def stated_time(text: str) -> str | None:
    """The time that a text of EXIF or XMP states, at its beginning.

    Args:
        text: such as `2024:07:31 18:05:09`; dashes for colons, a fraction, a zone, bytes behind it and a missing end
            are taken too. A zone is left out, as the clock on the wall is what people remember.

    Returns:
        A beginning of an ISO time, at least year and month; None for zeros, blanks and what is not in the calendar.
    """
    found = _STATED.match(text.strip("\0 \t\r\n"))
    return _joined(*found.groups()) if found else None


def named_time(name: str) -> str | None:
    """The time that the name of a photo's file states, such as `IMG_20190504_065057.jpg`; at least a day."""
    for found in _NAMED.finditer(name):
        year, _, month, day, hour, _, minute, second = found.groups()
        time = _joined(year, month, day, hour, minute, second)
        if time and len(time) >= len("2024-07-31"):
            return time
    return None


def unix_time(seconds: float) -> str | None:
    """A time in seconds since 1970, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(_FORM)
    except (OverflowError, OSError, ValueError):
        return None


def best_time(stated: Iterable[tuple[str, str | None]], now: datetime | None = None) -> Taken | None:
    """The first time that can be; one in the future, of a clock that was set wrong, only where there is no other.

    Args:
        stated: (source, time) in the order of trust.
        now: without a zone; the present when None.
    """
    latest = ((now or datetime.now()) + _AHEAD).strftime(_FORM)
    known = [Taken(time, source) for source, time in stated if time]
    return next((one for one in known if one.time <= latest), known[0] if known else None)


def _joined(year: str, month: str, day: str | None, *clock: str | None) -> str | None:
    """As much of a time as is in the calendar, from its beginning: a month, a day, a minute or a second."""
    hour, minute, second = clock
    if int(year) < _OLDEST or not _is_in_calendar(year, month):
        return None
    if day is None or not _is_in_calendar(year, month, day):
        return f"{year}-{month}"
    if hour is None or minute is None or not _is_in_calendar(year, month, day, hour, minute):
        return f"{year}-{month}-{day}"
    time = f"{year}-{month}-{day}T{hour}:{minute}"
    return f"{time}:{second}" if second and _is_in_calendar(year, month, day, hour, minute, second) else time


def _is_in_calendar(year: str, month: str, day: str = "01", *clock: str) -> bool:
    try:
        datetime.strptime("-".join((year, month, day, *clock)), _PARTS[: len("%Y-%m-%d") + 3 * len(clock)])
    except ValueError:
        return False
    return True
