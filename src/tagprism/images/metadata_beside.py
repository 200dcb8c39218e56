"""What XMP, the files beside a photo and its name say of it: time, camera, rating, location. Knows no pictures."""

# Paths are strings here, as in the walk.
# ruff: noqa: PTH118, PTH122

from __future__ import annotations

import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tagprism.errors import PictureError
from tagprism.images.picture_file import read_bytes

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


_LARGEST = 16 << 20  # bytes of a sidecar
_EXIF, _XMP, _TIFF = (
    "{http://ns.adobe.com/exif/1.0/}",
    "{http://ns.adobe.com/xap/1.0/}",
    "{http://ns.adobe.com/tiff/1.0/}",
)
_TIMES = {  # in the order of trust
    "photoshop:DateCreated": "{http://ns.adobe.com/photoshop/1.0/}DateCreated",
    "xmp:CreateDate": f"{_XMP}CreateDate",
    "exif:DateTimeOriginal": f"{_EXIF}DateTimeOriginal",
    "exif:DateTimeDigitized": f"{_EXIF}DateTimeDigitized",
}
_ANGLE = re.compile(r"(\d+),(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?([NSEW])", re.ASCII)
_COPY = re.compile(r"(.*)(\(\d+\))(\.[^.]+)")
_TAKEOUT, _LONGEST = ".supplemental-metadata", 46  # characters of a name that Takeout keeps before .json


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


@dataclass(frozen=True)
class FoundMetadata:
    """What one source says of a photo.

    Args:
        times: (source, time as in `dates`, or None), in the order of trust.
        camera: maker and model, or ''.
        rating: -1 for rejected, or 0 to 5 stars.
        location: (latitude, longitude) in degrees.
    """

    times: tuple[tuple[str, str | None], ...] = ()
    camera: str = ""
    rating: int | None = None
    location: tuple[float, float] | None = None


def xmp_metadata(packet: bytes, source: str) -> FoundMetadata:
    """What an XMP packet says; one that is damaged, or has entities, which XMP never has, says nothing.

    Args:
        packet: XML, perhaps empty.
        source: put before the names of its properties.
    """
    said: dict[str, str] = {}
    if packet and b"<!" not in packet:
        try:
            for element in ET.fromstring(packet.strip(b" \t\r\n\0")).iter():
                for name, value in (*element.attrib.items(), (element.tag, element.text or "")):
                    if value.strip():
                        said.setdefault(name, value.strip())
        except (ET.ParseError, ValueError, LookupError):
            return FoundMetadata()
    times = tuple((source + name, stated_time(said.get(key, ""))) for name, key in _TIMES.items())
    camera = camera_name(said.get(f"{_TIFF}Make", ""), said.get(f"{_TIFF}Model", ""))
    sides = (_angle(said.get(f"{_EXIF}{name}", "")) for name in ("GPSLatitude", "GPSLongitude"))
    return FoundMetadata(times, camera, checked_rating(said.get(f"{_XMP}Rating")), checked_location(*sides))


def xmp_beside(path: str) -> FoundMetadata:
    """What the sidecar of a photo says: `photo.jpg.xmp`, or else `photo.xmp`."""
    for name in _xmp_names(path):
        if data := _read(name):
            return xmp_metadata(data, "sidecar XMP-")
    return FoundMetadata()


def _xmp_names(path: str) -> Iterator[str]:
    return (base + ending for base in (path, os.path.splitext(path)[0]) for ending in (".xmp", ".XMP"))


def names_beside(path: str) -> Iterator[str]:
    """Where files may be that `xmp_beside` and `takeout` read."""
    yield from _xmp_names(path)
    yield from _takeout_names(*os.path.split(path))


def takeout(path: str) -> FoundMetadata:
    """What the JSON says that Google Takeout puts beside a photo; its time is in UTC."""
    for name in _takeout_names(*os.path.split(path)):
        try:
            said = json.loads(_read(name) or b"null")
            if isinstance(said, dict) and "photoTakenTime" in said:
                time = unix_time(float(said["photoTakenTime"]["timestamp"]))
                location = said.get("geoData") or {}
                sides = location.get("latitude"), location.get("longitude")
                return FoundMetadata((("Google Takeout", time),), location=checked_location(*sides))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # it is no JSON, or not Takeout's
    return FoundMetadata()


def _takeout_names(folder: str, name: str) -> Iterator[str]:
    """Where it may be: names are cut, and the number of a copy stands elsewhere."""
    number, copy = "", _COPY.fullmatch(name)
    for photo in (name, copy[1] + copy[3] if copy else "", re.sub(r"-edited(\.[^.]+)$", r"\1", name)):
        if photo and (photo != name or not number):
            number = copy[2] if copy and photo == copy[1] + copy[3] else ""
            for whole in (photo + _TAKEOUT, photo):
                yield os.path.join(folder, f"{whole[:_LONGEST]}{number}.json")


def _read(path: str) -> bytes | None:
    try:
        return read_bytes(path, _LARGEST)
    except PictureError:  # mostly there is none
        return None


def camera_name(make: str, model: str) -> str:
    """Maker and model in one, the maker not twice (`NIKON CORPORATION`, `NIKON D90`)."""
    make, model = (" ".join(part.replace("\0", " ").split()) for part in (make, model))
    if not make or not model or model.casefold().startswith(make.split()[0].casefold()):
        return model or make
    return f"{make} {model}"


def checked_rating(value: object) -> int | None:
    """Stars from -1 (rejected) to 5; None for anything else."""
    try:
        stars = float(str(value))
    except ValueError:
        return None
    return int(stars) if -1 <= stars <= 5 else None


def checked_location(latitude: object, longitude: object) -> tuple[float, float] | None:
    """A location on the Earth; None also for 0, 0, which programs write where they know none."""
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    known = math.isfinite(latitude) and math.isfinite(longitude) and (latitude or longitude)
    return (float(latitude), float(longitude)) if known and abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _angle(text: str) -> float | None:
    """XMP's `52,31.5N` in degrees."""
    found = _ANGLE.fullmatch(text)
    if not found:
        return None
    size = int(found[1]) + float(found[2]) / 60 + float(found[3] or 0) / 3600
    return -size if found[4] in "SW" else size
