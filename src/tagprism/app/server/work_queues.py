"""Work off the event loop: bounded threads, and calls that come together done together. Knows no HTTP."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

_T = TypeVar("_T")
_One = TypeVar("_One")
_Out = TypeVar("_Out")


class BusyError(Exception):
    """So much is waiting already that one more would only wait."""


class ThreadQueue:
    """Threads for one kind of work, and a bounded number of calls that wait for them.

    Args:
        name: of the threads.
        threads: how many calls are done at once.
        waiting: how many may wait beside those.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._count = threads + waiting, 0

    async def run(self, work: Callable[..., _T], *arguments: object) -> _T:
        """What `work(*arguments)` gives, computed in a thread.

        Raises:
            BusyError: too many wait already.
        """
        if self._count >= self._most:
            raise BusyError
        self._count += 1
        loop = asyncio.get_running_loop()
        doing = self._pool.submit(work, *arguments)
        doing.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))  # also when nobody waits any more
        return await asyncio.wrap_future(doing)

    def _done(self) -> None:
        self._count -= 1

    def close(self) -> None:
        """Cancel what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class BatchingQueue(Generic[_One, _Out]):
    """One thread that takes all calls that have come while it was at work, and does them at once.

    A call that comes alone is done alone and at once: nothing waits for company.

    Args:
        name: of the thread.
        work: given n calls, gives n results, in order.
        most: largest n.
        waiting: how many calls may wait.
    """

    def __init__(self, name: str, work: Callable[[Sequence[_One]], Sequence[_Out]], most: int, waiting: int) -> None:
        self._work, self._most = work, most
        self._calls: queue.Queue[tuple[_One, Future[_Out]] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, one: _One) -> Future[_Out]:
        """A call's result to come.

        Raises:
            BusyError: too many wait already.
        """
        future: Future[_Out] = Future()
        try:
            self._calls.put_nowait((one, future))
        except queue.Full:
            raise BusyError from None
        return future

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            calls = [call]
            while len(calls) < self._most:
                try:
                    more = self._calls.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._do(calls)
                    return
                calls.append(more)
            self._do(calls)

    def _do(self, calls: list[tuple[_One, Future[_Out]]]) -> None:
        calls = [(one, future) for one, future in calls if future.set_running_or_notify_cancel()]
        if not calls:
            return
        try:
            results = self._work([one for one, _ in calls])
        except BaseException as error:
            for _, future in calls:
                future.set_exception(error)
            return
        for (_, future), result in zip(calls, results, strict=True):
            future.set_result(result)

    def close(self) -> None:
        """Finish what has come so far."""
        self._calls.put(None)
        self._thread.join()
