"""Other people's files: read up to a size, and replaced only while they hold what was expected; what is saved stays.

A look before a rename leaves a moment in which another program can save. Where the system can exchange two names in one
step (Linux), what comes out is looked at once no program has it open for writing any more; anything unexpected goes
back. Elsewhere the look before has to do.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from tagprism.errors import InputError
from tagprism.files import digest_file, machine_errors
from tagprism.rename import EXCHANGE, place_new, rename_if

_PATIENCE = 2.0  # seconds for a program that is just saving
_PAUSE = 0.01  # seconds
_MOST_SAVES = 100
_ENDS = 1 << 16  # bytes at the beginning and at the end of a file, where its mark is

OWN_PAGE = b'<meta name="generator" content="tagprism">'
"""Mark of the HTML that tagprism writes, for `refuse_foreign`."""


def refuse_foreign(file: Path, mark: bytes | None) -> None:
    """Refuse to replace something that tagprism did not write, before long work for it. An empty file may be replaced.

    Args:
        file: what is to be written.
        mark: regular expression for the first and last bytes of such a file of tagprism's own; None where nothing tells
            it from other people's files.

    Raises:
        InputError: something else is there.
        MachineError: it cannot be read.
    """
    with machine_errors(file):
        if not file.exists():
            return
        if file.is_file():
            size = file.stat().st_size
            with file.open("rb") as opened:
                ends = opened.read(_ENDS)
                opened.seek(max(_ENDS, size - _ENDS))
                ends += opened.read(_ENDS)
            if not size or (mark is not None and re.search(mark, ends, re.DOTALL)):
                return
    why = "nothing shows whether tagprism wrote it" if mark is None else "it is not what tagprism writes there"
    remedy = "It is left as it is: name another file, or remove it."
    raise InputError(f"is there already, and {why}.", where=str(file), remedy=remedy)


def exchange(path: Path, new: bytes | None, *, expected: str | None, part: Path, mtime_ns: int | None = None) -> bool:
    """Replace someone's file whole, unless it no longer holds what was expected.

    Mode, owner (where that is allowed) and extended attributes stay. The bytes are on disk before they take the file's
    name; a power cut may still bring the old file back until `rename.sync_folder`.

    Args:
        path: the file.
        new: its bytes to be; None removes it.
        expected: SHA-256 of the bytes it should have now; None where there should be no file.
        part: a path in the same folder that belongs to nobody, for the bytes on their way; what a process that was
            killed left there is overwritten: see `rescue`.
        mtime_ns: time of last change to give it, in nanoseconds; None for now.

    Returns:
        Whether it was done; False when the file holds something else, and is left alone.

    Raises:
        MachineError: disk full, permission.
    """
    with machine_errors(path):
        part.unlink(missing_ok=True)
        try:
            if new is not None:
                _write_synced(part, new, like=None if expected is None else path, mtime_ns=mtime_ns)
            if current_digest(path) != expected:
                return False
            if new is None:
                return _removed(path, part, expected)
            return place_new(part, path) if expected is None else _replaced(path, part, expected)
        except FileNotFoundError:  # its folder, or the file itself, has gone meanwhile
            return False
        finally:
            part.unlink(missing_ok=True)


def rescue(path: Path, part: Path, old: str | None, new: str | None) -> None:
    """Clear away the `part` of an `exchange` that was killed; a save of another program in it goes back to its name.

    Args:
        path: the file.
        part: as for `exchange`.
        old: SHA-256 of what the file should have had; None for no file.
        new: SHA-256 of what it was to get.

    Raises:
        MachineError: permission.
    """
    if not os.path.lexists(part):
        return
    with machine_errors(part):
        if current_digest(path) == new and current_digest(part) not in (old, new):
            part.replace(path)
        else:
            part.unlink()


def current_digest(path: Path) -> str | None:
    """SHA-256 of a file as it is now; None where there is none, and a word that is no digest for anything else."""
    if not os.path.lexists(path):
        return None
    return digest_file(path) if path.is_file() and not path.is_symlink() else "not a file"


def _replaced(path: Path, part: Path, expected: str) -> bool:
    put = digest_file(part)
    if not rename_if(part, path, EXCHANGE):
        part.replace(path)
        return True
    out = _settled_digest(part)
    if out == expected:
        return True
    for _ in range(_MOST_SAVES):  # theirs goes back; what was saved over ours meanwhile is newer, and stays
        rename_if(part, path, EXCHANGE)
        back = _settled_digest(part)
        if back == put:
            break
        put, out = out or "", back
    return False


def _removed(path: Path, part: Path, expected: str | None) -> bool:
    if expected is None:
        return True
    path.rename(part)
    if _settled_digest(part) == expected:
        return True
    place_new(part, path)  # where it fails, a newer save has the name
    return False


def _settled_digest(part: Path) -> str | None:
    """Digest of a file whose name no other program knows, once none of them has it open for writing; else None."""
    with part.open("rb") as file:
        deadline = time.monotonic() + _PATIENCE
        while (written := _is_being_written(file.fileno())) is not False:
            if time.monotonic() > deadline:
                return None
            time.sleep(_PAUSE)
            if written is None:  # nobody knows: a later look has to do
                break
    return current_digest(part)


def _is_being_written(handle: int) -> bool | None:
    """Whether a program has the file open for writing: then the kernel grants no lease for reading. None: not known."""
    if sys.platform != "linux":
        return None
    import fcntl
    import signal

    try:
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)  # which does nothing, where SIGIO would end this process
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:  # another error: a file system or an owner with whom there are no leases
        return True if error.errno == errno.EAGAIN else None
    return False


def _write_synced(part: Path, data: bytes, *, like: Path | None, mtime_ns: int | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(os.open(part, flags, 0o666 if like is None else 0o600), "wb") as file:  # noqa: PTH123 (a descriptor)
        file.write(data)
        file.flush()
        if like is not None:
            status = like.stat()
            if hasattr(os, "chown"):
                with suppress(PermissionError):  # another's file in a shared folder: only root can keep the owner
                    os.chown(part, status.st_uid, status.st_gid)
            shutil.copystat(like, part)
            os.utime(part)
        if mtime_ns is not None:
            os.utime(part, ns=(mtime_ns, mtime_ns))
        os.fsync(file.fileno())


def read_at_most(file: Path, most: int) -> bytes:
    """The bytes of a file that a person named; `/dev/zero` has no end.

    Raises:
        InputError: it has more than `most` bytes.
    """
    data = bytearray()
    with file.open("rb") as opened:
        while len(data) <= most and (part := opened.read(1 << 20)):
            data += part
    if len(data) > most:
        remedy = "Give the file that was meant, or a part of it."
        raise InputError(f"has more than {most >> 20:,} MiB, or no end.", where=str(file), remedy=remedy)
    return bytes(data)
