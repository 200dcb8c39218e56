"""The bytes of one picture, in a file or in a shard, and what is wrong with those that are not quite whole.

Every viewer shows such a picture, so it is mended. Decodes nothing.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops

from tagprism.errors import PictureError

MAX_BYTES = 2**29
"""Cap on a file's size; a picture is read whole, so that its digest and its pixels come from the same bytes."""

PNG = b"\x89PNG\r\n\x1a\n"
_NOTES = (b"eXIf", b"iTXt", b"tEXt", b"zTXt", b"tIME")
_END_OF_JPEG = b"\xff\xd9"
WRONG_CHECKSUM = "a part of the file that is not the picture is damaged, and was left out"
_MOST = 0.5  # share of a picture that may be missing


@dataclass(frozen=True)
class StoredPicture(os.PathLike[str]):
    """A picture that a shard holds; `os.fspath` names it as `SHARD/KEY`, for people and for caches.

    Args:
        shard: the file that it is in.
        key: its name in the data set.
        first, second: where it is in the shard, as its format counts.
    """

    shard: Path
    key: str
    first: int
    second: int

    def __fspath__(self) -> str:
        """`SHARD/KEY`; no file lies there."""
        return f"{os.fspath(self.shard)}/{self.key}"

    __str__ = __fspath__

    @property
    def name(self) -> str:
        """The last part of its key."""
        return PurePosixPath(self.key).name

    def absolute(self) -> StoredPicture:
        """With the whole path of its shard."""
        return replace(self, shard=self.shard.absolute())

    def stat(self) -> os.stat_result:
        """Size and time of its shard, by which a later change is told."""
        return self.shard.stat()

    def read(self, most: int) -> bytes:
        """Its bytes.

        Args:
            most: cap on their number.

        Raises:
            PictureError: the shard is gone, was cut short, or holds more than `most` bytes for it.
        """
        where = os.fspath(self)
        try:
            data = self._stored(most)
        except FileNotFoundError as error:
            raise PictureError("missing", "The shard is not there.", where=where) from error
        except (OSError, ValueError, IndexError) as error:  # the errors of pyarrow are among them
            reason = getattr(error, "strerror", None) or error
            raise PictureError("unreadable", f"The shard cannot be read ({reason}).", where=where) from error
        if not data:
            raise PictureError("empty", "The picture has zero bytes.", where=where)
        check_size(len(data), most, where)
        return data

    def _stored(self, most: int) -> bytes | None:
        """The bytes as they are in the shard; a format that knows their number refuses more than `most` unread."""
        raise NotImplementedError


def check_size(size: int, most: int, where: str) -> None:
    """Refuse a picture of more than so many bytes.

    Raises:
        PictureError: `unsupported`.
    """
    if size > most:
        message = f"The file has {size / 2**20:,.0f} MiB; at most {most // 2**20:,} MiB are read."
        raise PictureError("unsupported", message, where=where)


PictureFile: TypeAlias = Path | StoredPicture
"""What a data set lists: a picture file, or a picture in a shard."""


def reading_order(files: Sequence[PictureFile]) -> Sequence[int]:
    """Places in a list of pictures, in the order in which reading them is cheapest: pictures of one shard together."""
    if not files or isinstance(files[0], Path):
        return range(len(files))
    places = [(str(one.shard), one.first, one.second) for one in files if isinstance(one, StoredPicture)]
    return sorted(range(len(files)), key=places.__getitem__)


def read_bytes(path: str | os.PathLike[str], most: int = MAX_BYTES) -> bytes:
    """Read a picture file whole, never waiting on a pipe.

    Args:
        path: a regular file (or a link to one), or a picture in a shard.
        most: cap on its size, in bytes.

    Returns:
        The file's bytes, at least one.

    Raises:
        PictureError: `missing`, `unreadable` (permission, folder, pipe, device), `empty` or `unsupported` (too large).
    """
    where = os.fsdecode(path)
    if isinstance(path, StoredPicture):
        return path.read(most)
    try:
        # Opened without blocking: a plain open of a named pipe waits for a writer for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
                raise PictureError("unreadable", f"This is {kind}, not a picture file.", where=where)
            check_size(status.st_size, most, where)
            data = file.read(status.st_size + 1)  # not to its end: another program may be writing it
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError("missing", "There is no such file.", where=where) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise PictureError("unreadable", f"The file cannot be read ({reason}).", where=where) from error
    if not data:
        raise PictureError("empty", "The file has zero bytes.", where=where)
    return data


def mended_png(data: bytes) -> tuple[bytes, bool]:
    """A PNG as its reader wants it, and whether a side chunk had a wrong checksum, which is then left out.

    Notes that stand behind the pixels come before them, so that reading them does not mean decoding the picture.
    """
    if not data.startswith(PNG):
        return data, False
    before, pixels = [PNG], list[bytes]()
    place, broken, moved = len(PNG), False, False
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if end > len(data) or not kind.isalpha():  # no more chunks: nothing is looked for in what is left
            break
        if kind[0] & 0x20 and zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            broken = True
        elif pixels and kind not in _NOTES:
            pixels.append(data[place:end])
        else:
            moved |= bool(pixels)
            (pixels if kind == b"IDAT" else before).append(data[place:end])
        place = end
    return (b"".join((*before, *pixels, data[place:])), broken) if broken or moved else (data, False)


def with_end(data: bytes) -> bytes | None:
    """A JPEG with the end mark that it lacks; None where it has one."""
    return None if data.endswith(_END_OF_JPEG) else data + _END_OF_JPEG


def missing_share(decoded: Image.Image, mended: Image.Image) -> float:
    """How much of a JPEG that ends early is not there, 0 to 1.

    The decoder fills the lines for which it has no data evenly, and without the end mark it leaves them untouched.

    Args:
        decoded: without the end mark, black below the last line that is there.
        mended: with it.
    """
    box = ImageChops.difference(decoded, mended).getbbox()
    if box is None:
        return 0.0
    lines = np.asarray(mended.resize((min(64, mended.width), mended.height), Image.Resampling.NEAREST))
    filled = (lines == lines[-1, -1]).reshape(mended.height, -1).all(axis=1)[::-1]
    even = mended.height if filled.all() else int(np.argmin(filled))
    return min(mended.height - box[1], even) / mended.height


def remark_on_missing(share: float) -> str | None:
    """What is said of a picture of which such a share is missing; None where too little is there."""
    if share > _MOST:
        return None
    return "the file ends early" + (f"; {share:.0%} of the picture is blank" if share >= 0.01 else "")


def empty_share(image: Image.Image) -> float:
    """How much of a picture is still as it was before its decoder began, at its first or last lines, 0 to 1."""
    box = image.getbbox()
    return 1.0 if box is None else 1 - (box[3] - box[1]) / image.height
