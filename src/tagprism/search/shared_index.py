"""An embedded index that any number of processes may use: one has it open, the others ask that one.

Whoever comes first holds the lock of the folder, opens the index, and lets the others in (`handover.Owner`); their port
and key stand in the lock's file. When it ends, also by `kill -9`, the next to ask takes its place. So `tagprism index`
works beside a running `tagprism serve`, and `tagprism search` beside both, and a process that is killed harms no
other. A server need do nothing for that but open the collection and close it at its end.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from jaxtyping import Float, Float32

from tagprism.errors import MachineError
from tagprism.files import machine_errors
from tagprism.search.contract import Filter, Hit, Index, IndexInfo, Picture
from tagprism.search.shard_server import Guest, Owner

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = "lock"
_PATIENCE = 30.0  # seconds to wait for an owner that is just opening or closing
_PAUSE = 0.05
_PAGE = 1000
_T = TypeVar("_T")


class SharedIndex:
    """An `Index` in a folder, open here or in another process.

    Args:
        folder: of the index; the lock's file is in it.
        open_index: opens the index in this process.

    Raises:
        MachineError: the folder refuses, or the process that has the index open does not answer; by every method.
    """

    def __init__(self, folder: Path, open_index: Callable[[], Index]) -> None:
        self._folder, self._open_index = folder, open_index
        self._changing = threading.Lock()
        self._index: Index | None = None
        self._owner: Owner | None = None
        self._held: BinaryIO | None = None
        self._current()

    def _current(self) -> Index:
        """The index, or the one who has it, found again where the last one has gone."""
        with self._changing:
            deadline = time.monotonic() + _PATIENCE
            while self._index is None:
                self._held = hold(self._folder / LOCK, to_read=True)
                try:
                    self._index = self._become_owner(self._held) if self._held else self._ask_owner()
                except BaseException:
                    self._let_go()
                    raise
                if self._index is None:
                    if time.monotonic() > deadline:
                        what = f"is in use by {_holder(self._folder)}, which does not answer."
                        raise MachineError(what, where=str(self._folder), remedy="Stop that process.")
                    time.sleep(_PAUSE)
            return self._index

    def _become_owner(self, held: BinaryIO) -> Index:
        self._index = self._open_index()
        if not held.writable():  # what was opened is a copy (`read_only`): nobody need wait for it, nobody can find it
            held.close()
            self._held = None
            return self._index
        self._owner = Owner(self._index)
        with machine_errors(self._folder):
            held.truncate(0)
            held.seek(0)
            about = {"process": os.getpid(), "port": self._owner.port, "key": self._owner.key.hex()}
            held.write(json.dumps(about).encode())
            held.flush()
        return self._index

    def _ask_owner(self) -> Guest | None:
        try:
            about = json.loads((self._folder / LOCK).read_bytes())
            return Guest(int(about["port"]), bytes.fromhex(about["key"]))
        except (OSError, ValueError, KeyError):  # it is just opening, or has just gone
            return None

    def _let_go(self) -> None:
        """Close what is open, the lock last."""
        if self._owner:
            self._owner.close()
        if self._index:
            self._index.close()
        if self._held:
            self._held.close()
        self._index = self._owner = self._held = None

    def _do(self, work: Callable[[Index], _T]) -> _T:
        """Work with whoever has the index, again when it has gone: every change may be made twice."""
        while True:
            index = self._current()
            try:
                return work(index)
            except ConnectionError:
                with self._changing:
                    if self._index is index:
                        self._let_go()

    def add(self, pictures: Sequence[Picture], matrices: Float[np.ndarray, "n M Q"]) -> None:
        """As `Index.add`."""
        self._do(lambda index: index.add(pictures, matrices))

    def remove(self, ids: Sequence[int]) -> None:
        """As `Index.remove`."""
        self._do(lambda index: index.remove(ids))

    def search(
        self, queries: Float32[np.ndarray, "q Q"], limit: int, *, where: Filter | None = None
    ) -> list[list[Hit]]:
        """As `Index.search`."""
        return self._do(lambda index: index.search(queries, limit, where=where))

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """As `Index.get`."""
        return self._do(lambda index: index.get(ids))

    def matrices(self, ids: Sequence[int]) -> Float32[np.ndarray, "n M Q"]:
        """As `Index.matrices`."""
        return self._do(lambda index: index.matrices(ids))

    def scores(self, queries: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """As `Index.scores`."""
        return self._do(lambda index: index.scores(queries, ids))

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """As `Index.pictures`."""

        def page(index: Index) -> list[Picture]:
            return list(islice(index.pictures(after), _PAGE))

        while found := self._do(page):
            yield from found
            after = found[-1].id

    def settle(self, queries: Float32[np.ndarray, "q Q"]) -> None:
        """As `Index.settle`."""
        self._do(lambda index: index.settle(queries))

    def info(self) -> IndexInfo:
        """As `Index.info`."""
        return self._do(lambda index: index.info())

    def close(self) -> None:
        """Let go of the index; another process that uses it takes it over."""
        with self._changing:
            self._let_go()


def hold(path: Path, *, to_read: bool = False) -> BinaryIO | None:
    """Take a lock that ends with the process, or with closing what is returned; None while another one has it.

    Args:
        path: its file; made when absent, readable by its owner alone.
        to_read: where it cannot be written, share it with all others that only read; what is returned is not writable.

    Raises:
        MachineError: the file cannot be made or opened.
    """
    with machine_errors(path):
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            file: BinaryIO = open(os.open(path, flags, 0o600), "r+b")  # noqa: PTH123, SIM115 (a descriptor)
        except OSError as error:
            if not to_read or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            file = (path if path.exists() else Path(os.devnull)).open("rb")
    try:
        if sys.platform == "win32":
            file.seek(1 << 20)  # a byte beyond what is written: others must be able to read that
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        else:
            fcntl.flock(file, (fcntl.LOCK_EX if file.writable() else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        return None
    return file


def _holder(folder: Path) -> str:
    try:
        return f"process {json.loads((folder / LOCK).read_bytes())['process']}"
    except (OSError, ValueError, KeyError):
        return "another process"
