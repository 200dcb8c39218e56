"""Files on disk: whole-or-nothing writes, digests and the cache folder. Knows nothing of what is inside them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import platformdirs

from tagprism.errors import InputError, MachineError

REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
"""Error numbers with which a machine says no, whatever was asked of it."""
_NO_PLACE = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}  # a path that cannot be what is asked of it


def cache_dir(*parts: str) -> Path:
    """Folder under the user's cache (`TAGPRISM_CACHE` overrides its place); made when absent."""
    root = os.environ.get("TAGPRISM_CACHE") or platformdirs.user_cache_dir("tagprism")
    path = Path(root, *parts)
    with machine_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into a `MachineError`, an impossible path into an `InputError`."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        if error.errno in _NO_PLACE:
            raise InputError(f"cannot be written ({reason}).", where=str(path), remedy="Name another path.") from error
        if error.errno not in REFUSALS:
            raise
        raise MachineError(
            f"cannot write ({reason}).", where=str(path), remedy="Free space, mend the permission or write elsewhere."
        ) from error


@contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """Yield a new path beside `path`; on success it takes its place, on failure nothing that was there is lost.

    The yielded path does not exist yet: write a file or make a folder there.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            _let_read(beside)
            if beside.is_dir() and path.is_dir():
                old = path.with_name(f".{path.name}.{uuid4().hex[:8]}.old")
                path.rename(old)
                beside.rename(path)
                shutil.rmtree(old)
            else:
                beside.replace(path)
        finally:
            if beside.is_dir():
                shutil.rmtree(beside)
            else:
                beside.unlink(missing_ok=True)


def _let_read(path: Path) -> None:
    """Give files the mode that the umask asks for: safetensors writes them for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and file.stat().st_nlink == 1:
            file.chmod(0o666 & ~umask)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with replaced_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON (two-space indent, trailing newline; ASCII, so that any file name survives) whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def digest_bytes(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces), 64 hex digits."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file (same disk: no space used), or copy it where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
