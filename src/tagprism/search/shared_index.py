"""An embedded index that any number of processes may use: one has it open, the others ask that one.

Whoever comes first holds the lock of the folder, opens the index, listens for the others (`Listener`) and answers them
(`index_server`); its address and key stand in a file beside the lock. When it ends, also by `kill -9`, the next to ask
takes its place. So `tagprism index` works beside a running `tagprism serve`, and `tagprism search` beside both, and a
process that is killed harms no other. A server need do nothing for that but open the collection, and close it at its
end.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, update_wrapper
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from filelock import FileLock

from tagprism.bundle.record import Shape
from tagprism.errors import MachineError
from tagprism.files import machine_errors, take_lock
from tagprism.progress import Progress, silent
from tagprism.search.contract import Index, Picture
from tagprism.search.edge_index import EdgeIndex, ReadOnlyIndex
from tagprism.search.edge_reader import PICTURES
from tagprism.search.index_server import HOST, SOCKET, IndexServer
from tagprism.search.record_file import StorageName
from tagprism.search.remote_index import RemoteIndex, answer

LOCK, SERVER = "lock", "server.json"  # files in the folder of the index
_PATIENCE = 30.0  # seconds to wait for a process that is just opening or closing the index
_PAUSE = 0.05
_LONGEST = 100  # bytes of a path that a socket can have anywhere
_PAGE = 1000
_T = TypeVar("_T")
_P = ParamSpec("_P")


def _asked(method: Callable[Concatenate[Any, _P], _T]) -> Callable[Concatenate[SharedIndex, _P], _T]:
    """A method of whoever has the index open, tried again when that has gone: every change may be made twice."""

    def ask(shared: SharedIndex, /, *given: _P.args, **named: _P.kwargs) -> _T:
        answered: _T = shared._do(lambda index: getattr(index, method.__name__)(*given, **named))
        return answered

    update_wrapper(ask, method)
    return ask


class SharedIndex:
    """An `Index` in a folder, open here or in another process.

    Args:
        folder: of the index.
        shape: of its records.
        storage: as it was made.
        progress: as for `EdgeIndex`.

    Raises:
        InputError: there is no index in the folder, or one that does not fit.
        MachineError: the folder refuses, or the process that has the index open does not answer; by every method.
    """

    def __init__(self, folder: Path, shape: Shape, storage: StorageName = "half", progress: Progress = silent) -> None:
        self._folder, self._form = folder, (shape, storage, progress)
        self._changing = threading.Lock()
        self._index: Index | None = None
        self._listener: Listener | None = None
        self._lock: FileLock | None = None
        self._current()

    def _current(self) -> Index:
        """The index, open here or elsewhere; found again where the process that had it open has gone."""
        with self._changing:
            deadline = time.monotonic() + _PATIENCE
            while self._index is None:
                try:
                    self._index = self._read_only() if _is_read_only(self._folder) else self._open_or_ask()
                except BaseException:
                    self._let_go()
                    raise
                if self._index is None:
                    if time.monotonic() > deadline:
                        what = f"is in use by {_holder(self._folder)}, which does not answer."
                        raise MachineError(what, where=str(self._folder), remedy="Stop that process.")
                    time.sleep(_PAUSE)
            return self._index

    def _read_only(self) -> Index:
        """A copy, which nobody need wait for, unless another process, which may write, has the index open."""
        return self._ask() or ReadOnlyIndex(self._folder, *self._form)

    def _open_or_ask(self) -> Index | None:
        self._lock = take_lock(self._folder / LOCK)
        if self._lock is None:
            return self._ask()
        self._index = EdgeIndex(self._folder, *self._form)
        # At once, also for one search: a folder that can only be read is copied where nobody answers (`_read_only`).
        self._listener = Listener(partial(answer, self._index), self._folder)
        about = {"process": os.getpid(), "key": self._listener.key.hex(), **self._listener.address}
        with machine_errors(self._folder):
            (self._folder / SERVER).unlink(missing_ok=True)
            private = os.open(self._folder / SERVER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(private, "w", encoding="utf-8") as file:  # noqa: PTH123 (a descriptor)
                json.dump(about, file)
        return self._index

    def _ask(self) -> RemoteIndex | None:
        try:
            about = json.loads((self._folder / SERVER).read_bytes())
            return RemoteIndex(self._folder, about, bytes.fromhex(about["key"]))
        except (OSError, ValueError, KeyError, TypeError):  # it is just opening, or has just gone
            return None

    def _let_go(self) -> None:
        """Close what is open, the lock last."""
        if self._listener:
            self._listener.close()
        if self._index:
            self._index.close()
        if self._lock:
            self._lock.release()
        self._index = self._listener = self._lock = None

    def _do(self, work: Callable[[Index], _T]) -> _T:
        """Work with whoever has the index, again when that has gone."""
        while True:
            index = self._current()
            try:
                return work(index)
            except ConnectionError:
                with self._changing:
                    if self._index is index:
                        self._let_go()

    add = _asked(Index.add)
    remove = _asked(Index.remove)
    search = _asked(Index.search)
    whole = _asked(Index.whole)
    get = _asked(Index.get)
    records = _asked(Index.records)
    scores = _asked(Index.scores)
    settle = _asked(Index.settle)
    info = _asked(Index.info)

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """As `Index.pictures`."""

        def page(index: Index) -> list[Picture]:
            return list(islice(index.pictures(after), _PAGE))

        while found := self._do(page):
            yield from found
            after = found[-1].id

    def renew(self) -> None:
        """As `EdgeIndex.renew`, where it is open here; called before a progress that changes are made in."""
        index = self._current()
        if isinstance(index, EdgeIndex):
            index.renew()

    def close(self) -> None:
        """Let go of the index; another process that uses it takes it over."""
        with self._changing:
            self._let_go()


class Listener:
    """Where other processes of this user knock, and the server that lets them in once the first of them has come.

    On Linux that is a Unix socket in the folder of the index, which is its owner's alone; elsewhere, and in folders
    that can hold no socket, a port of 127.0.0.1.

    Args:
        answer: as for `IndexServer`.
        folder: of the index, whose lock this process holds.

    Attributes:
        address: as `index_server.connect` takes it.
        key: 32 bytes that a process must know.
        server: None before the first of them.

    Raises:
        OSError: the machine refuses.
    """

    def __init__(self, answer: Callable[[bytes, Callable[[bytes], None]], bytes], folder: Path) -> None:
        self._answer, self._folder, self.key = answer, folder, secrets.token_bytes(32)
        self._listening, self.address = _listen(folder)
        self._listening.setblocking(False)
        self._closing = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self.server: IndexServer | None = None
        self._thread = threading.Thread(target=self._wait, name="index server", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listening, selectors.EVENT_READ)
            waiting.register(self._woken, selectors.EVENT_READ)
            waiting.select()
            if not self._closing.is_set():
                self.server = IndexServer(self._answer, self.key, self._listening, self._closing)
                self.server.receive(waiting)

    def close(self) -> None:
        """Let nobody in any more, and end every conversation."""
        self._closing.set()
        self._wake.send(b"!")
        self._thread.join()
        if "socket" in self.address:
            with suppress(OSError):
                (self._folder / SOCKET).unlink()
        if self.server:
            self.server.end()
        for own in (self._listening, self._wake, self._woken):
            own.close()


def _listen(folder: Path) -> tuple[socket.socket, dict[str, Any]]:
    """A socket that listens, and its address as JSON values."""
    if sys.platform == "linux":
        with suppress(OSError):  # some network disks hold no sockets
            return _listen_in(folder), {"socket": SOCKET}
    listening = socket.create_server((HOST, 0), backlog=64)
    return listening, {"port": listening.getsockname()[1]}


def _listen_in(folder: Path) -> socket.socket:
    (folder / SOCKET).unlink(missing_ok=True)  # of a process that was killed
    listening = socket.socket(socket.AF_UNIX)
    try:
        with short_path(folder, SOCKET) as short:
            listening.bind(short)
            os.chmod(short, 0o600)  # noqa: PTH101 (a text)
        listening.listen(64)
    except OSError:
        listening.close()
        raise
    return listening


def _holder(folder: Path) -> str:
    try:
        return f"process {json.loads((folder / SERVER).read_bytes())['process']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def _is_read_only(folder: Path) -> bool:
    """Whether some file of an index cannot be written, or none be made beside it."""
    paths = (folder, folder / PICTURES, *(folder / PICTURES).rglob("*"))
    return any(not os.access(path, os.W_OK) for path in paths if path.exists())


@contextmanager
def short_path(folder: Path, name: str) -> Iterator[str]:
    """A path of a socket that is short enough for one: a folder's own path may be longer than sockets allow."""
    path = str(folder / name)
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{handle}/{name}"
    finally:
        os.close(handle)
