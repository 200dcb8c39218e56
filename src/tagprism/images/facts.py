"""What XMP and the files beside a photo say of it: time, camera, rating, place. Knows no pictures."""

# ruff: noqa: PTH118, PTH122
# Paths are strings here, as in the walk.

from __future__ import annotations

import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

from tagprism.errors import PictureError
from tagprism.images.bytes_of import read_bytes
from tagprism.images.dates import stated_time, unix_time

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


@dataclass(frozen=True)
class Facts:
    """What one source says of a photo.

    Args:
        times: (source, time as in `dates`, or None), in the order of trust.
        camera: maker and model, or ''.
        rating: -1 for rejected, or 0 to 5 stars.
        place: (latitude, longitude) in degrees.
    """

    times: tuple[tuple[str, str | None], ...] = ()
    camera: str = ""
    rating: int | None = None
    place: tuple[float, float] | None = None


def xmp_facts(packet: bytes, source: str) -> Facts:
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
            return Facts()
    times = tuple((source + name, stated_time(said.get(key, ""))) for name, key in _TIMES.items())
    camera = camera_name(said.get(f"{_TIFF}Make", ""), said.get(f"{_TIFF}Model", ""))
    sides = (_angle(said.get(f"{_EXIF}{name}", "")) for name in ("GPSLatitude", "GPSLongitude"))
    return Facts(times, camera, checked_rating(said.get(f"{_XMP}Rating")), checked_place(*sides))


def xmp_beside(path: str) -> Facts:
    """What the sidecar of a photo says: `photo.jpg.xmp`, or else `photo.xmp`."""
    for base in (path, os.path.splitext(path)[0]):
        for ending in (".xmp", ".XMP"):
            if data := _read(base + ending):
                return xmp_facts(data, "sidecar XMP-")
    return Facts()


def takeout(path: str) -> Facts:
    """What the JSON says that Google Takeout puts beside a photo; its time is in UTC."""
    for name in _takeout_names(*os.path.split(path)):
        try:
            said = json.loads(_read(name) or b"null")
            if isinstance(said, dict) and "photoTakenTime" in said:
                time = unix_time(float(said["photoTakenTime"]["timestamp"]))
                place = said.get("geoData") or {}
                sides = place.get("latitude"), place.get("longitude")
                return Facts((("Google Takeout", time),), place=checked_place(*sides))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # it is no JSON, or not Takeout's
    return Facts()


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


def checked_place(latitude: object, longitude: object) -> tuple[float, float] | None:
    """A place on the Earth; None also for 0, 0, which programs write where they know none."""
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
