"""A library that is being loaded, then asked by threads, and started again when it has gone. Knows no HTTP."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

from tagprism.app.server.guard import MAX_UPLOADS
from tagprism.app.server.library import Library
from tagprism.app.server.library_process import LibraryBugError, LibraryError, LibraryGoneError, LibraryProcess
from tagprism.app.server.work_queues import ThreadQueue
from tagprism.errors import MachineError

_T = TypeVar("_T")
_P = ParamSpec("_P")
_AGAIN = 1.0  # seconds between two attempts to open a library that has gone


class StartingError(Exception):
    """There is nothing to serve yet, or not now."""


class Service:
    """The library and the threads that wait for it.

    Attributes:
        searches: queue for what scans the index.
        quick: queue for what takes milliseconds: details, labels, marks.
        pictures: queue for decoding and shrinking.
        uploads: queue for uploaded pictures, so that they wait for each other alone, and few are in memory at once.
    """

    def __init__(self) -> None:
        processors = os.cpu_count() or 1
        self.searches = ThreadQueue("searches", processors, 400)
        self.quick = ThreadQueue("quick", max(4, processors), 400)
        self.pictures = ThreadQueue("pictures", processors, 400)
        self.uploads = ThreadQueue("uploads", max(4, processors), MAX_UPLOADS)
        self._process: LibraryProcess | None = None
        self._why: LibraryError | None = None
        self._is_ready = False
        self._changes = 0
        self._shared: dict[tuple[Any, ...], asyncio.Future[Any]] = {}

    @property
    def is_ready(self) -> bool:
        """Whether there is a library, and its index is where it was."""
        return self._is_ready and self._process is not None and self._process.is_there

    @property
    def device(self) -> str:
        """Where the library's networks run, such as `cpu`; empty where there is no library."""
        return self._process.device if self._process is not None else ""

    def check(self) -> None:
        """Refuse where there is no library.

        Raises:
            StartingError: it is being loaded.
            LibraryError: it cannot be opened.
        """
        if self._why is not None:
            raise self._why
        if not self._is_ready:
            raise StartingError

    async def ask(
        self,
        queue: ThreadQueue,
        method: Callable[Concatenate[Library, _P], _T],
        *arguments: _P.args,
        **named: _P.kwargs,
    ) -> _T:
        """What a method of the library gives, asked for once its turn has come.

        Raises:
            StartingError: there is no library, or it has gone meanwhile.
            LibraryError: as the method says.
            BusyError: too many wait already.
        """
        return await self._run(queue, lambda process: process.ask(method, *arguments, **named))

    async def upload(
        self,
        file: BinaryIO,
        method: Callable[Concatenate[Library, bytes, _P], _T],
        *arguments: _P.args,
        **named: _P.kwargs,
    ) -> _T:
        """As `ask`, for a method that takes a file, which is read when its turn has come."""
        return await self._run(self.uploads, lambda process: process.ask(method, file.read(), *arguments, **named))

    async def _run(self, queue: ThreadQueue, work: Callable[[LibraryProcess], _T]) -> _T:
        self.check()
        assert self._process is not None
        try:
            return await queue.run(work, self._process)
        except LibraryGoneError as error:
            raise StartingError from error

    async def change(
        self, method: Callable[Concatenate[Library, _P], _T], *arguments: _P.args, **named: _P.kwargs
    ) -> _T:
        """As `ask`, for a method that changes something: no later question shares an answer from before."""
        try:
            return await self.ask(self.quick, method, *arguments, **named)
        finally:
            self._changes += 1

    async def share(
        self,
        queue: ThreadQueue,
        method: Callable[Concatenate[Library, _P], _T],
        *arguments: _P.args,
        **named: _P.kwargs,
    ) -> _T:
        """As `ask`, for a method that only looks: equal questions that come meanwhile get the same answer."""
        key = (method.__name__, *map(repr, arguments), self._changes)
        asking = self._shared.get(key)
        if asking is None:
            asking = asyncio.ensure_future(self.ask(queue, method, *arguments, **named))
            self._shared[key] = asking
            asking.add_done_callback(lambda done: (self._shared.pop(key), done.cancelled() or done.exception()))
        return await asyncio.shield(asking)

    async def run(
        self, start: Callable[[], LibraryProcess], failed: Callable[[BaseException], None], ready: Callable[[int], None]
    ) -> None:
        """Start the library, say how that went, and start it again whenever it has gone.

        Args:
            start: starts its process; called in a thread.
            failed: told why the first attempt has failed; the server should then stop.
            ready: told how many pictures there are once the first attempt has succeeded.
        """
        loop, is_first = asyncio.get_running_loop(), True
        while True:
            gone = asyncio.Event()
            wake = functools.partial(loop.call_soon_threadsafe, gone.set)
            try:
                self._process = await asyncio.to_thread(start)
                count = await asyncio.to_thread(self._process.wait_ready, wake)
            except (LibraryError, LibraryGoneError, LibraryBugError, OSError) as error:
                if is_first:
                    failed(_ended() if isinstance(error, LibraryGoneError) else error)
                    return
                self._why = _unavailable(error)
            else:
                self._why, self._is_ready = None, True
                if is_first:
                    ready(count)
                is_first = False
                await gone.wait()
                self._is_ready = False
                await asyncio.to_thread(self._process.close)
            await asyncio.sleep(_AGAIN)

    def close(self) -> None:
        """End the library; what is under way is not answered any more."""
        self._is_ready = False
        if self._process is not None:
            self._process.close()
        for queue in (self.searches, self.quick, self.pictures, self.uploads):
            queue.close()


def _ended() -> MachineError:
    what = "the process that opens the index has ended before it was done."
    return MachineError(what, remedy="See what it wrote above; it may have had too little memory.")


def _unavailable(error: BaseException) -> LibraryError:
    """Why nothing can be served now, as the answer to whoever asks."""
    what = error.what if isinstance(error, LibraryError) else "the index cannot be opened again."
    where = error.where if isinstance(error, LibraryError) else None
    remedy = "Put the index back; it is then served again."
    return LibraryError({"what": what, "where": where, "remedy": remedy, "status": 503, "exit_code": 6})
