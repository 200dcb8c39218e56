"""What a picture file says of itself: its size upright, when the photo was taken, its keywords. Decodes no pixels."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image, IptcImagePlugin

from tagprism.errors import PictureError
from tagprism.images.damage import PNG, mended_png
from tagprism.images.decode import exif_of, read_bytes, upright_size
from tagprism.images.formats import kind_of_format
from tagprism.images.metadata_beside import (
    FoundMetadata,
    best_time,
    camera_name,
    checked_location,
    checked_rating,
    named_time,
    stated_time,
    takeout,
    xmp_beside,
    xmp_metadata,
)
from tagprism.images.picture_file import kind_of, picture_formats
from tagprism.images.raw import preview

_KEYWORDS, _CHARACTERS = (2, 25), (1, 90)  # IPTC datasets
_UTF8 = b"\x1b%G"
_PNG_XMP = b"XML:com.adobe.xmp\0"
_XMP = 700  # tag of TIFF
_EXIF_TIMES = ("DateTimeOriginal", "DateTimeDigitized")


class Embedded(NamedTuple):
    """What a picture file holds of keywords.

    Args:
        xmp: its XMP packet, perhaps empty.
        iptc: its IPTC keywords.
        windows: EXIF's XPKeywords, as the Windows Explorer writes them.
        charset: of IPTC text beyond ASCII without a stated UTF-8: `UTF8` or `Latin`; else empty.
    """

    xmp: bytes = b""
    iptc: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    charset: str = ""


def read_embedded_keywords(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Read the parts of a picture file that hold keywords; damage there is no error.

    Args:
        path: a picture file.

    Returns:
        The XMP packet, perhaps empty; the keywords of IPTC and of Windows, each once.

    Raises:
        PictureError: the file cannot be read.
    """
    found = embedded(read_bytes(path))
    return found.xmp, tuple(dict.fromkeys((*found.iptc, *found.windows)))


def embedded(data: bytes) -> Embedded:
    """What the bytes of a picture file hold of keywords; damage there is no error."""
    try:
        with Image.open(io.BytesIO(data), formats=picture_formats()) as image:
            xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or _late_png_packet(data)
            iptc = IptcImagePlugin.getiptcinfo(image) or {}
            windows = _windows(image)
    except Exception:  # readers of some twenty formats raise whatever they stumble over
        return Embedded()
    packet = xmp if isinstance(xmp, bytes) else str(xmp).encode()
    values = [value for found in iptc.values() for value in (found if isinstance(found, list) else [found])]
    plain = iptc.get(_CHARACTERS) == _UTF8 or all(map(bytes.isascii, values))
    charset = "" if plain else "UTF8" if all(map(_is_utf8, values)) else "Latin"
    words = iptc.get(_KEYWORDS, [])
    keywords = map(_text, words if isinstance(words, list) else [words])
    return Embedded(packet.strip(b" \t\r\n\0"), tuple(keywords), windows, charset)


def _text(word: bytes) -> str:
    """A word of IPTC: UTF-8 where it is valid UTF-8, stated or not, as no other text looks like it by chance."""
    return word.decode() if _is_utf8(word) else word.decode("cp1252", "replace")


def _is_utf8(word: bytes) -> bool:
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True


def _windows(image: Image.Image) -> tuple[str, ...]:
    try:
        text = bytes(image.getexif().get(ExifTags.Base.XPKeywords, b"")).decode("utf-16-le", "replace")
    except Exception:  # damaged EXIF is no reason to lose the other keywords
        return ()
    return tuple(word.strip() for word in text.rstrip("\0").split(";") if word.strip())


def _late_png_packet(data: bytes) -> bytes:
    """The XMP of a PNG that stands after the pixels, where exiftool puts it and Pillow looks only after decoding."""
    for kind, body in _png_chunks(data):
        if kind == b"iTXt" and body.startswith(_PNG_XMP):
            packed, rest = body[len(_PNG_XMP)], body[len(_PNG_XMP) + 2 :]
            text = rest.split(b"\0", 2)[2]
            return zlib.decompressobj().decompress(text, 2**26) if packed else text
    return b""


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = len(PNG) if data.startswith(PNG) else len(data)
    while offset + 8 <= len(data):
        end = offset + 8 + int.from_bytes(data[offset : offset + 4])
        yield data[offset + 4 : offset + 8], data[offset + 8 : end]
        offset = end + 4  # after the checksum


@dataclass(frozen=True)
class Metadata:
    """What is known of a picture beside its pixels.

    Args:
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
        taken: when the photo was taken, `2024-07-31T18:05:09` or a beginning of such a time, or None.
        taken_from: what says so: `EXIF:DateTimeOriginal`, `XMP-xmp:CreateDate`, `sidecar XMP-photoshop:DateCreated`,
            `Google Takeout`, `file name`; or ''.
        camera: maker and model, or ''.
        rating: stars, 0 to 5, or -1 for rejected; None where nothing says so.
        kind: of the file: `jpeg`, `heic`, `raw` ...
        location: (latitude, longitude) in degrees, north and east positive, or None.
    """

    width: int
    height: int
    taken: str | None = None
    taken_from: str = ""
    camera: str = ""
    rating: int | None = None
    kind: str = ""
    location: tuple[float, float] | None = None


def read_metadata(path: str | os.PathLike[str], data: bytes | None = None, *, beside: bool = True) -> Metadata:
    """Read a picture's header, the sidecars beside it, and its name; what is damaged there is no error.

    Args:
        path: a file that `decode.open_picture` has just opened, which sees to the caps on its size.
        data: its bytes, where they are at hand.
        beside: whether files may lie beside it; of a picture in a bucket or an archive there are none.

    Raises:
        PictureError: it is not what it was then.
    """
    where = os.fsdecode(path)
    try:
        data = read_bytes(path) if data is None else data
        is_raw = kind_of(data, where) == "camera raw"
        shown, turn = preview(data, where) if is_raw else (data, None)
        mended = mended_png(shown)[0] if shown.startswith(PNG) else shown
        with Image.open(io.BytesIO(mended), formats=picture_formats()) as image:
            if image.format == "JXL":
                image.load()  # its reader finds EXIF and XMP only then
            (width, height), format = upright_size(image, turn), image.format or ""
            inside = [*(_of_tiff(data) if is_raw else ()), *_metadata_inside(image)]
    except Exception as error:  # readers of some twenty formats raise whatever they stumble over
        raise PictureError("unreadable", "The file changed while it was read.", where=where) from error
    sidecar = xmp_beside(where) if beside else FoundMetadata()
    said = [*inside, sidecar, *([takeout(where)] if beside else ())]
    times = [time for one in said for time in one.times] + [("file name", named_time(Path(where).name))]
    taken = best_time(times)
    return Metadata(
        width,
        height,
        taken.time if taken else None,
        taken.source if taken else "",
        camera=next((one.camera for one in said if one.camera), ""),
        rating=next((one.rating for one in (sidecar, *said) if one.rating is not None), None),
        kind="raw" if is_raw else kind_of_format(format),
        location=next((one.location for one in said if one.location), None),
    )


def _of_tiff(data: bytes) -> list[FoundMetadata]:
    """What a camera raw says itself, where it is of a kind that is built as TIFF: more than its preview."""
    exif = Image.Exif()
    try:
        exif.load(data)
        packet = exif.get(_XMP, b"")
    except Exception:  # another kind of raw, or damaged
        return []
    return [_exif_metadata(exif), xmp_metadata(packet if isinstance(packet, bytes) else b"", "XMP-")]


def _metadata_inside(image: Image.Image) -> list[FoundMetadata]:
    try:
        exif = exif_of(image)
    except Exception:  # damaged EXIF is no reason to lose the picture
        exif = Image.Exif()
    packet = image.info.get("xmp", b"")
    return [_exif_metadata(exif), xmp_metadata(packet if isinstance(packet, bytes) else str(packet).encode(), "XMP-")]


def _exif_metadata(exif: Image.Exif) -> FoundMetadata:
    try:
        photo, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    except Exception:  # damaged EXIF is no reason to lose the picture
        return FoundMetadata()
    times = [(f"EXIF:{name}", stated_time(str(photo.get(ExifTags.Base[name], "")))) for name in _EXIF_TIMES]
    names = (str(exif.get(tag, "")) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    stars = exif.get(ExifTags.Base.Rating)
    return FoundMetadata(tuple(times), camera_name(*names), checked_rating(stars), _location(gps))


def _location(gps: dict[int, Any]) -> tuple[float, float] | None:
    """(latitude, longitude) of EXIF's degrees, minutes and seconds with a letter each."""
    sides = []
    for letter, angle, negative in ((1, 2, "S"), (3, 4, "W")):
        try:
            degrees, minutes, seconds = (float(part) for part in gps[angle])
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None
        size = degrees + minutes / 60 + seconds / 3600
        sides.append(-size if str(gps.get(letter, "")).strip("\0 ").upper() == negative else size)
    return checked_location(*sides)
