"""What a picture file says of itself: its size upright, when the photo was taken. Decodes no pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime

from PIL import ExifTags, Image

from tagprism.errors import PictureError
from tagprism.images.decode import picture_formats
from tagprism.images.embedded import read_embedded_keywords

__all__ = ["Metadata", "read_embedded_keywords", "read_metadata"]

_TURNED = range(5, 9)  # EXIF orientations that swap width and height


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
