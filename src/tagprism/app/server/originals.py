"""Indexed pictures as bytes and thumbnails: only what was indexed, only from the indexed folders. Knows no HTTP."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from PIL import Image

from tagprism.errors import MachineError, PictureError
from tagprism.files import cache_dir, digest_bytes, replaced_whole
from tagprism.images.decode import open_picture, read_bytes
from tagprism.search.contract import Picture

_QUALITY = {360: 80, 720: 82, 1600: 86}


class Size(IntEnum):
    """Longest side of a thumbnail, in pixels: for a grid, for a grid on a sharp screen, for a screen."""

    small = 360
    sharp = 720
    large = 1600


def read_original(picture: Picture, folders: Sequence[str]) -> bytes:
    """The bytes of an indexed picture, if its file still holds them and lies in an indexed folder.

    The digest decides: whatever has taken the file's place meanwhile, by a link or by renaming, is never given out.

    Args:
        picture: as the index has it.
        folders: the indexed roots (folders, or single files).

    Raises:
        PictureError: `missing`: the file is gone, holds something else, or leads out of the folders.
    """
    real = os.path.realpath(picture.path)
    if not any(Path(real).is_relative_to(root) for root in map(os.path.realpath, folders)):
        raise _missing(picture, "The file is not, or no longer, in an indexed folder.")
    try:
        data = read_bytes(real)
    except PictureError as error:
        raise _missing(picture, "The file is not there, or cannot be read.") from error
    if digest_bytes(data) != picture.digest:
        raise _missing(picture, "The file was changed since it was indexed.")
    return data


def _missing(picture: Picture, message: str) -> PictureError:
    return PictureError("missing", message, where=Path(picture.path).name)


def thumbnail(picture: Picture, folders: Sequence[str], size: Size) -> bytes:
    """A picture's thumbnail: upright JPEG, at most `size` pixels a side, without metadata; kept in the cache.

    Args:
        picture: as the index has it.
        folders: the indexed roots.
        size: its longest side at most.

    Raises:
        PictureError: as for `read_original`, or the picture cannot be decoded.
    """
    file = cache_dir("thumbnails", picture.digest[:2]) / f"{picture.digest}-{size.value}.jpg"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        made = small(read_original(picture, folders), size, where=Path(picture.path).name)
    try:
        with replaced_whole(file) as beside:
            beside.write_bytes(made)
    except MachineError:
        return made  # a full disk is no reason to show nothing
    return made


def small(data: bytes, size: Size, *, where: str | None = None) -> bytes:
    """A picture's bytes as an upright JPEG of at most `size` pixels a side."""
    image = open_picture(data, draft_size=(size, size), where=where)
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY[size], optimize=True, progressive=size > Size.small)
    return buffer.getvalue()
