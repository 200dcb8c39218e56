"""Files on disk: read strictly, written whole or not at all, their digests, locks and folders. Knows no contents."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import platformdirs

from tagprism.errors import InputError, MachineError
from tagprism.rename import place_new

if TYPE_CHECKING:
    import numpy as np
    from filelock import FileLock

_GONE = {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN}  # a disk that was pulled out
REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG} | _GONE
"""Error numbers with which a machine says no, whatever was asked of it."""
# A path that cannot be what is asked of it:
_NO_PATH = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG}
_TENSOR_KEY = "tagprism"  # of the header; one, so that a file's bytes do not depend on the order of a hash map
OWN_TENSORS = rb'\A.{8}\{"__metadata__":\{"tagprism":"'
"""Mark of tensor files, for `exchange.refuse_foreign`."""


def cache_dir(*parts: str) -> Path:
    """Folder under the user's cache (`TAGPRISM_CACHE` overrides its path); made when absent."""
    return _made(Path(os.environ.get("TAGPRISM_CACHE") or platformdirs.user_cache_dir("tagprism"), *parts))


def state_dir(*parts: str) -> Path:
    """Folder for what must not be lost, as a cache may be (`TAGPRISM_STATE` overrides its path); made when absent."""
    return _made(state_path(*parts))


def state_path(*parts: str) -> Path:
    """The same folder, whether it is there or not, for whoever only looks."""
    return Path(os.environ.get("TAGPRISM_STATE") or platformdirs.user_state_dir("tagprism"), *parts)


def config_file() -> Path:
    """Where the user's file of defaults is, if there is one (`TAGPRISM_CONFIG` overrides its path)."""
    return Path(os.environ.get("TAGPRISM_CONFIG") or platformdirs.user_config_path("tagprism") / "config.toml")


def _made(path: Path) -> Path:
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
        if error.errno in _NO_PATH:
            what = "the name is too long." if error.errno == errno.ENAMETOOLONG else f"cannot be written ({reason})."
            raise InputError(what, where=str(path), remedy="Name another path.") from error
        if error.errno not in REFUSALS:
            raise
        raise MachineError(
            f"cannot write ({reason}).", where=str(path), remedy="Free space, mend the permission or write elsewhere."
        ) from error


def disk_is_full(error: MachineError) -> bool:
    """Whether the machine refused for want of space, so that it will refuse the next file too."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)


def take_lock(path: Path) -> FileLock | None:
    """Take a lock that ends with the process, or with its `release`; None while another process has it.

    Args:
        path: its file; made when absent, readable by its owner alone.

    Raises:
        MachineError: the file cannot be made or opened.
    """
    from filelock import FileLock, Timeout  # here, as most commands need no lock

    lock = FileLock(path, mode=0o600, thread_local=False)
    try:
        with machine_errors(path):
            lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock until the end of the block, whose file is there meanwhile; whether no other process has it.

    Args:
        path: as for `take_lock`.

    Raises:
        MachineError: as `take_lock`.
    """
    lock = take_lock(path)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            with suppress(OSError):  # Windows removes it when it is released, and not before
                path.unlink()  # while it is held: whoever takes the lock next makes a file of their own
            lock.release()


@contextmanager
def replaced_whole(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a new path beside `path`; on success it takes its place, on failure nothing that was there is lost.

    The yielded path does not exist yet: write a file or make a folder there.

    Args:
        path: the file or folder.
        replace: whether something that is there at the end is replaced; else it stays, but for an empty folder, and
            the error says so.

    Raises:
        InputError: there is something that is not replaced, or the path is impossible.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            _let_read(beside)
            if not replace:
                with suppress(OSError):  # it is no empty folder
                    path.rmdir()
                if not place_new(beside, path):
                    what = "was made by someone else meanwhile, and is left as it is."
                    raise InputError(what, where=str(path), remedy="Name another path.")
            elif beside.is_dir() and path.is_dir():
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


def write_text(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a UTF-8 text file whole or not at all; `replace` as for `replaced_whole`."""
    with replaced_whole(path, replace=replace) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, replace: bool = True) -> None:
    """Write JSON (two-space indent, trailing newline; ASCII, so that any file name survives) as `write_text` does."""
    write_text(path, json.dumps(value, indent=2) + "\n", replace=replace)


def read_json(path: Path, *, remedy: str) -> Any:
    """Read a JSON file strictly.

    Args:
        path: the file, UTF-8 (a byte order mark is allowed).
        remedy: what to do when it cannot be used.

    Returns:
        Its value.

    Raises:
        InputError: when it is missing, not UTF-8, not JSON, nested too deep, or names something twice in one object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"'{twice}' is named twice in one object.", where=str(path), remedy="Keep one of them.")
        return value

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror}).", where=str(path), remedy=remedy) from error
    except UnicodeDecodeError as error:
        raise InputError("the file is not UTF-8 text.", where=str(path), remedy=remedy) from error
    except RecursionError as error:
        raise InputError("the JSON is nested too deep.", where=str(path), remedy=remedy) from error
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise InputError(f"this is not JSON ({error.msg}).", where=where, remedy=remedy) from error


def tensor_bytes(kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file whose JSON header names its format; equal contents give equal bytes.

    Args:
        kind: what the file holds, for example `vocabulary`.
        version: version of that format.
        header: JSON values.
        tensors: arrays by name.
    """
    import numpy as np
    from safetensors.numpy import save

    text = json.dumps({"format": kind, "version": version, **header}, sort_keys=True, separators=(",", ":"))
    return save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, {_TENSOR_KEY: text})


def write_tensors(
    path: Path, kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a tensor file whole or not at all; arguments as `tensor_bytes`."""
    data = tensor_bytes(kind, version, header, tensors)
    with replaced_whole(path) as beside:
        beside.write_bytes(data)


def read_tensors(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays, by name, of a tensor file (`tensor_bytes`).

    Args:
        path: the file.
        kind: the format it must have.
        version: the newest version that can be read.

    Raises:
        InputError: the file is absent, damaged, of another format or of a newer version.
    """
    from safetensors import SafetensorError

    with open_tensors(path) as file:
        header = read_header(file, path, kind, version)
        try:
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, AttributeError, ValueError) as error:  # number types that numpy lacks
            raise InputError(
                f"its arrays cannot be read ({error}).", where=str(path), remedy="Make it again."
            ) from error


def open_tensors(path: Path) -> Any:
    """Open a safetensors file, memory-mapped, without reading its arrays.

    Raises:
        InputError: the file is absent or not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open  # here, as `--help` reads no arrays

    if not path.is_file():
        raise InputError("there is no such file.", where=str(path))
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise InputError(
            f"not a readable safetensors file ({error}).", where=str(path), remedy="Make or copy it again."
        ) from error


def read_header(file: Any, path: Path, kind: str, version: int) -> dict[str, Any]:
    """The JSON header of an open tensor file, checked as `read_tensors` says."""
    try:
        header = json.loads((file.metadata() or {}).get(_TENSOR_KEY, "null"))
    except (ValueError, RecursionError) as error:
        raise InputError("its header is not JSON.", where=str(path), remedy="Make it again.") from error
    if not isinstance(header, dict) or header.get("format") != kind:
        raise InputError(f"not a tagprism {kind} file.", where=str(path))
    if not isinstance(header.get("version"), int) or header["version"] > version:
        raise InputError(
            f"{kind} format {header.get('version')} is newer than this program reads ({version}).",
            where=str(path),
            remedy="Update tagprism.",
        )
    return header


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
