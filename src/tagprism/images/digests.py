"""Digests of picture files: what features are cached by and leaks are found by. Decodes no picture."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

from tagprism.errors import PictureError
from tagprism.files import cache_dir, digest_bytes
from tagprism.images.decode import read_bytes
from tagprism.images.picture_file import PictureFile, reading_order
from tagprism.progress import Progress, silent
from tagprism.sqlite_file import ByteCache

_CHUNK = 1024  # files asked for at once: memory does not grow with their number, and little is lost with the process
_SETTLED = 2.0  # seconds after which a file's time tells a later change apart


def digest_pictures(
    files: Sequence[PictureFile], progress: Progress = silent, *, keep: bool = False
) -> tuple[dict[int, str], list[tuple[int, PictureError]]]:
    """SHA-256 of the bytes of each file that can be read.

    Args:
        files: picture files, any number.
        progress: told of every file.
        keep: remember digests by path, size and time, and read no file again that has not changed. An interrupted
            reading of millions of files then goes on where it stopped.

    Returns:
        Digests (64 hex digits) by position in `files`; and (position, error) of the files that cannot be read.

    Raises:
        MachineError: the file of remembered digests is damaged or cannot be written.
    """
    digests: dict[int, str] = {}
    errors: list[tuple[int, PictureError]] = []
    cache = ByteCache(cache_dir("digests") / "pictures.sqlite", "digests") if keep else None
    try:
        with progress("reading pictures", len(files)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
            order = reading_order(files)
            for begin in range(0, len(files), _CHUNK):
                rows = order[begin : begin + _CHUNK]
                chunk = [files[row] for row in rows]
                outcomes = _remembered(chunk, cache, pool) if cache else list(pool.map(_digest, chunk))
                for row, outcome in zip(rows, outcomes, strict=True):
                    if isinstance(outcome, PictureError):
                        errors.append((row, outcome))
                    else:
                        digests[row] = outcome
                advance(len(chunk))
    finally:
        if cache is not None:
            cache.close()
    return dict(sorted(digests.items())), sorted(errors, key=lambda one: one[0])


def _remembered(files: list[PictureFile], cache: ByteCache, pool: ThreadPoolExecutor) -> list[str | PictureError]:
    """Digests from the cache where size and time are those of then, else from the bytes."""
    keys = [blake2b(os.fsencode(file.absolute()), digest_size=16).digest() for file in files]
    stamps = list(pool.map(file_stamp, files))
    known = cache.get(keys)
    found: list[str | PictureError | None] = []
    for key, stamp in zip(keys, stamps, strict=True):
        value = known.get(key, b"")
        found.append(value[16:].hex() if stamp and value[:16] == stamp and len(value) == 48 else None)
    missing = [position for position, digest in enumerate(found) if digest is None]
    new: dict[bytes, bytes] = {}
    for position, outcome in zip(missing, pool.map(_digest, [files[position] for position in missing]), strict=True):
        found[position] = outcome
        if isinstance(outcome, str) and stamps[position]:
            new[keys[position]] = stamps[position] + bytes.fromhex(outcome)
    if new:
        cache.put(new)
    return [outcome for outcome in found if outcome is not None]


def file_stamp(path: PictureFile) -> bytes:
    """Size and time of a file; empty when it is not there or changed just now, so that its time proves nothing."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return b""
    return struct.pack("<qq", status.st_size, status.st_mtime_ns) if time.time() - status.st_mtime > _SETTLED else b""


def _digest(path: PictureFile) -> str | PictureError:
    try:
        return digest_bytes(read_bytes(path))
    except PictureError as error:
        return error
