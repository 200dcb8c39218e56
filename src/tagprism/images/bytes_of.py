"""The bytes of a picture file, whatever stands under its name. Decodes nothing."""

from __future__ import annotations

import os
import stat

from tagprism.errors import PictureError
from tagprism.images.stored import StoredPicture

MAX_BYTES = 2**29
"""Cap on a file's size; a picture is read whole, so that its digest and its pixels come from the same bytes."""


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
            if status.st_size > most:
                size = f"{status.st_size / 2**20:,.0f} MiB"
                cap = f"at most {most // 2**20:,} MiB are read"
                raise PictureError("unsupported", f"The file has {size}; {cap}.", where=where)
            data = file.read(status.st_size + 1)  # not to its end: another program may be writing it
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError("missing", "There is no such file.", where=where) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise PictureError("unreadable", f"The file cannot be read ({reason}).", where=where) from error
    if not data:
        raise PictureError("empty", "The file has zero bytes.", where=where)
    return data
