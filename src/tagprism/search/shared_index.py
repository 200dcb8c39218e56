"""An embedded index that any number of processes may use: one has it open, the others ask that one.

Whoever comes first holds the lock of the folder, opens the index, and answers the others (`index_server`); its address
and key stand in a file beside the lock. When it ends, also by `kill -9`, the next to ask takes its place. So `tagprism
index` works beside a running `tagprism serve`, and `tagprism search` beside both, and a process that is killed harms no
other. A server need do nothing for that but open the collection and close it at its end.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from filelock import FileLock
from jaxtyping import Float32

from tagprism.bundle.record import Records, Shape
from tagprism.errors import MachineError
from tagprism.files import machine_errors, take_lock
from tagprism.progress import Progress, silent
from tagprism.search.conditions import Filter
from tagprism.search.contract import Hit, Index, IndexInfo, Picture, Whole
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.edge_reader import PICTURES
from tagprism.search.index_server import IndexServer
from tagprism.search.record_file import StorageName
from tagprism.search.remote_index import RemoteIndex, answer

LOCK, SERVER = "lock", "server.json"  # files in the folder of the index
_PATIENCE = 30.0  # seconds to wait for a process that is just opening or closing the index
_PAUSE = 0.05
_PAGE = 1000
_T = TypeVar("_T")


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
        self._server: IndexServer | None = None
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
        self._server = IndexServer(partial(answer, self._index), self._folder)
        about = {"process": os.getpid(), "key": self._server.key.hex(), **self._server.address}
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
        if self._server:
            self._server.close()
        if self._index:
            self._index.close()
        if self._lock:
            self._lock.release()
        self._index = self._server = self._lock = None

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

    def add(self, pictures: Sequence[Picture], records: Records) -> None:
        """As `Index.add`."""
        self._do(lambda index: index.add(pictures, records))

    def remove(self, ids: Sequence[int]) -> None:
        """As `Index.remove`."""
        self._do(lambda index: index.remove(ids))

    def search(
        self,
        scoring_vectors: Float32[np.ndarray, "q Q"],
        limit: int,
        *,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """As `Index.search`."""
        return self._do(lambda index: index.search(scoring_vectors, limit, where=where, exact=exact))

    def whole(self) -> Whole | None:
        """As `Index.whole`."""
        return self._current().whole()

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """As `Index.get`."""
        return self._do(lambda index: index.get(ids))

    def records(self, ids: Sequence[int]) -> Records:
        """As `Index.records`."""
        return self._do(lambda index: index.records(ids))

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """As `Index.scores`."""
        return self._do(lambda index: index.scores(scoring_vectors, ids))

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """As `Index.pictures`."""

        def page(index: Index) -> list[Picture]:
            return list(islice(index.pictures(after), _PAGE))

        while found := self._do(page):
            yield from found
            after = found[-1].id

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"], progress: Progress = silent) -> None:
        """As `Index.settle`."""
        self._do(lambda index: index.settle(scoring_vectors, progress))

    def info(self) -> IndexInfo:
        """As `Index.info`."""
        return self._do(lambda index: index.info())

    def renew(self) -> None:
        """As `EdgeIndex.renew`, where it is open here; called before a progress that changes are made in."""
        index = self._current()
        if isinstance(index, EdgeIndex):
            index.renew()

    def close(self) -> None:
        """Let go of the index; another process that uses it takes it over."""
        with self._changing:
            self._let_go()


class ReadOnlyIndex(EdgeIndex):
    """An `Index` in a folder that can only be read: it is searched in a copy, as the engine writes even to read.

    Nobody may change the folder while it is opened; afterwards it is not needed.

    Args:
        folder: where it is kept.
        shape: of its records.
        storage: as it was made.
        progress: as for `EdgeIndex`.

    Raises:
        InputError: there is no shard, or one that does not fit.
        MachineError: there is no room for the copy, or it cannot be read.
    """

    def __init__(self, folder: Path, shape: Shape, storage: StorageName, progress: Progress = silent) -> None:
        self._original, self._copy = folder, tempfile.TemporaryDirectory(prefix="tagprism-")
        copy = Path(self._copy.name)
        try:
            with machine_errors(copy):
                shutil.copytree(folder / PICTURES, copy / PICTURES, copy_function=shutil.copyfile)
            super().__init__(copy, shape, storage, progress)
        except BaseException:
            self._copy.cleanup()
            raise

    def _changing(self, count: int) -> NoReturn:
        raise MachineError(
            "is read-only.", where=str(self._original), remedy="Mend the permission, or copy it elsewhere."
        )

    def close(self) -> None:
        """Let go of the copy."""
        super().close()
        self._copy.cleanup()


def _is_read_only(folder: Path) -> bool:
    """Whether some file of an index cannot be written, or none be made beside it."""
    paths = (folder, folder / PICTURES, *(folder / PICTURES).rglob("*"))
    return any(not os.access(path, os.W_OK) for path in paths if path.exists())


def _holder(folder: Path) -> str:
    try:
        return f"process {json.loads((folder / SERVER).read_bytes())['process']}"
    except (OSError, ValueError, KeyError):
        return "another process"
