"""What a picture file says of itself: its size upright, when the photo was taken, its keywords. Decodes no pixels."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import ExifTags, Image, IptcImagePlugin

from tagprism.errors import PictureError
from tagprism.images.decode import picture_formats, read_bytes

_TURNED = range(5, 9)  # EXIF orientations that swap width and height
_KEYWORDS, _CHARACTERS = (2, 25), (1, 90)  # IPTC datasets
_UTF8 = b"\x1b%G"


@dataclass(frozen=True)
class Metadata:
    """Size and time of a picture.

    Args:
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
        taken: EXIF's DateTimeOriginal as `2024-07-31T18:05:09`, or None.
    """

    width: int
    height: int
    taken: str | None


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """Read a picture's header; damaged EXIF is no error.

    Args:
        path: a file that `decode.open_picture` has just opened, which sees to the caps on its size.

    Raises:
        PictureError: it is not what it was then.
    """
    try:
        with Image.open(path, formats=picture_formats()) as image:
            (width, height), (turned, taken) = image.size, _exif(image)
    except Exception as error:  # readers of some twenty formats raise whatever they stumble over
        raise PictureError("unreadable", "The file changed while it was read.", where=os.fsdecode(path)) from error
    return Metadata(height, width, taken) if turned else Metadata(width, height, taken)


def _exif(image: Image.Image) -> tuple[bool, str | None]:
    try:
        exif = image.getexif()
        turned = int(exif.get(ExifTags.Base.Orientation, 1)) in _TURNED
        said = str(exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal, "")).strip("\0 ")
    except Exception:  # damaged EXIF is no reason to lose the picture
        return False, None
    try:
        return turned, datetime.strptime(said, "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:  # cameras without a clock write zeros or blanks
        return turned, None


def read_embedded_keywords(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Read the places inside a picture file that hold keywords; damage there is no error.

    Args:
        path: a picture file.

    Returns:
        The XMP packet, perhaps empty; the IPTC keywords.

    Raises:
        PictureError: the file cannot be read.
    """
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data), formats=picture_formats()) as image:
            xmp = image.info.get("xmp", b"")
            iptc = IptcImagePlugin.getiptcinfo(image) or {}
    except Exception:  # as above
        return b"", ()
    words = iptc.get(_KEYWORDS, [])
    encoding = "utf-8" if iptc.get(_CHARACTERS) == _UTF8 else "latin-1"
    keywords = (word.decode(encoding, "replace") for word in (words if isinstance(words, list) else [words]))
    packet = xmp if isinstance(xmp, bytes) else str(xmp).encode()
    return packet.strip(b" \t\r\n\0"), tuple(keywords)
