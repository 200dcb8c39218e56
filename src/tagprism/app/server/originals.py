"""Indexed pictures as bytes and thumbnails: only what was indexed, only from the indexed folders. Knows no HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
from collections.abc import AsyncIterator, Sequence
from enum import IntEnum
from pathlib import Path

from PIL import Image

from tagprism.app.server.answers import OriginalOut
from tagprism.errors import MachineError, PictureError
from tagprism.files import cache_dir, digest_bytes, replaced_whole
from tagprism.images.decode import open_picture, read_bytes
from tagprism.search.contract import Picture

PART = 256 * 1024
"""Bytes of an original that are in memory at once for one client."""

_QUALITY = {360: 80, 720: 82, 1600: 86}


class Size(IntEnum):
    """Longest side of a thumbnail, in pixels: for a grid, for a grid on a sharp screen, for a screen."""

    small = 360
    sharp = 720
    large = 1600


def read_original(picture: Picture, folders: Sequence[str]) -> bytes:
    """The bytes of an indexed picture, if its file still holds them and lies in an indexed folder.

    The digest decides: whatever has taken the file's path meanwhile, by a link or by renaming, is never given out.

    Args:
        picture: as the index has it.
        folders: the indexed roots (folders, or single files).

    Raises:
        PictureError: `missing`: the file is gone, holds something else, or leads out of the folders.
    """
    real = _real(picture, folders)
    try:
        data = read_bytes(real)
    except PictureError as error:
        raise _gone(picture) from error
    if digest_bytes(data) != picture.digest:
        raise _changed(picture)
    return data


def describe_original(picture: Picture, folders: Sequence[str]) -> OriginalOut:
    """Where the file is that `read_original` would read, and the digests of its parts; never all of it in memory.

    Raises:
        PictureError: as for `read_original`.
    """
    real, whole, parts, size = _real(picture, folders), hashlib.sha256(), [], 0
    try:
        with open(_opened(real), "rb") as file:
            while part := file.read(PART):
                whole.update(part)
                parts.append(_digest(part))
                size += len(part)
    except (OSError, ValueError) as error:
        raise _gone(picture) from error
    if whole.hexdigest() != picture.digest:
        raise _changed(picture)
    name = Path(picture.path).name
    return OriginalOut(path=os.fsencode(real).hex(), name=os.fsencode(name).hex(), parts=parts, size=size)


async def stream_original(original: OriginalOut) -> AsyncIterator[bytes]:
    """The parts of a described original, each held against its digest before it is given out.

    Raises:
        PictureError: `missing`: the file is gone or was changed meanwhile.
    """
    try:
        with open(_opened(bytes.fromhex(original.path)), "rb") as file:
            for digest in original.parts:
                part = await asyncio.to_thread(file.read, PART)
                if _digest(part) != digest:
                    raise PictureError("missing", "The file was changed while it was read.")
                yield part
    except OSError as error:
        raise PictureError("missing", "The file is no longer there.") from error


def is_there(picture: Picture, folders: Sequence[str]) -> bool:
    """Whether the file looks as it was indexed, by its size and time.

    Raises:
        PictureError: `missing`: it is not, or no longer, in an indexed folder.
    """
    try:
        found = os.lstat(_real(picture, folders))
    except OSError:
        return False
    looks = (found.st_size, found.st_mtime_ns) == (picture.size, picture.modified)
    return stat.S_ISREG(found.st_mode) and looks


def _opened(path: str | bytes) -> int:
    """A regular file, opened without waiting for whoever writes a pipe."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError("no regular file")
    return handle


def _digest(part: bytes) -> str:
    return hashlib.blake2b(part, digest_size=16).hexdigest()


def _real(picture: Picture, folders: Sequence[str]) -> str:
    """The path of the file with links resolved, which lies in an indexed folder."""
    real = os.path.realpath(picture.path)
    if not any(Path(real).is_relative_to(root) for root in map(os.path.realpath, folders)):
        raise _missing(picture, "The file is not, or no longer, in an indexed folder.")
    return real


def _gone(picture: Picture) -> PictureError:
    return _missing(picture, "The file is not there, or cannot be read.")


def _changed(picture: Picture) -> PictureError:
    return _missing(picture, "The file was changed since it was indexed.")


def _missing(picture: Picture, message: str) -> PictureError:
    return PictureError("missing", message, where=Path(picture.path).name)


def thumbnail(picture: Picture, folders: Sequence[str], size: int) -> bytes:
    """A picture's thumbnail: upright JPEG, at most `size` pixels a side, without metadata; kept in the cache.

    Args:
        picture: as the index has it.
        folders: the indexed roots.
        size: its longest side at most.

    Raises:
        PictureError: as for `read_original`, or the picture cannot be decoded.
    """
    file = cache_dir("thumbnails", picture.digest[:2]) / f"{picture.digest}-{size}.jpg"
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


def small(data: bytes, size: int, *, where: str | None = None) -> bytes:
    """A picture's bytes as an upright JPEG of at most `size` pixels a side."""
    image = open_picture(data, draft_size=(size, size), where=where)
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY[size], optimize=True, progressive=size > Size.small)
    return buffer.getvalue()
