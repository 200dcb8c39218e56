"""Names of files: given without taking the place of another file, exchanged in one step, and brought to disk."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

NO_REPLACE, EXCHANGE, _HERE = 1, 2, -100  # RENAME_NOREPLACE, RENAME_EXCHANGE, AT_FDCWD
_NOT_KNOWN = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # by the system, or by this file system


def place_new(part: Path, path: Path) -> bool:
    """Give a file its name without ever taking the place of another one.

    Args:
        part: the file, in the same folder.
        path: its name to be.

    Returns:
        Whether it was done; False when something has that name, and `part` is still there.

    Raises:
        OSError: permission and the like.
    """
    try:
        if rename_if(part, path, NO_REPLACE):
            return True
        path.hardlink_to(part)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links, such as that of a memory card
        if os.path.lexists(path):
            return False
        part.replace(path)
        return True
    part.unlink()
    return True


def rename_if(source: Path, target: Path, flag: int) -> bool:
    """Rename in one step with a condition; False where this system, or this file system, cannot.

    With the flag `NO_REPLACE` something at `target` raises FileExistsError; `EXCHANGE` swaps the two.
    """
    call = _renameat2()
    if call is None:
        return False
    if call(_HERE, os.fsencode(source), _HERE, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_KNOWN:
        return False
    raise OSError(number, os.strerror(number), os.fspath(target))


@cache
def _renameat2() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return found


def sync_folder(folder: Path) -> None:
    """Have a folder's list of names on disk."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
