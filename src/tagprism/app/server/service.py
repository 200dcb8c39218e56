"""A library that is being loaded, then served by threads. Knows no HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import numpy as np

from tagprism.app.server.guard import MAX_UPLOADS
from tagprism.app.server.library import Library
from tagprism.app.server.work_queues import BatchingQueue, ThreadQueue
from tagprism.bundle.record import Records

_T = TypeVar("_T")
_BATCH = 8  # uploads that go through the network at once


class StartingError(Exception):
    """There is nothing to serve yet."""


class Service:
    """The library and the threads that use it.

    Attributes:
        quick: queue for what takes milliseconds: search, details, labels, marks.
        pictures: queue for decoding and shrinking.
        uploads: queue for uploaded pictures, so that they wait for each other alone.
    """

    def __init__(self) -> None:
        processors = os.cpu_count() or 1
        self.quick = ThreadQueue("quick", max(4, processors), 500)
        self.pictures = ThreadQueue("pictures", processors, 400)
        self.uploads = ThreadQueue("uploads", processors, MAX_UPLOADS)
        self._library: Library | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there is a library."""
        return self._library is not None

    @property
    def library(self) -> Library:
        """The library.

        Raises:
            StartingError: it is being loaded.
        """
        if self._library is None:
            raise StartingError
        return self._library

    @cached_property
    def network(self) -> BatchingQueue[np.ndarray, Records]:
        """The network, for pictures that come one by one."""
        return BatchingQueue("network", self.library.look, _BATCH, MAX_UPLOADS)

    async def through_network(self, pixels: np.ndarray) -> Records:
        """Record of prepared pixels."""
        return await asyncio.wrap_future(self.network.submit(pixels))

    async def start(
        self, load: Callable[[], Library], failed: Callable[[BaseException], None], ready: Callable[[Library], None]
    ) -> None:
        """Load the library in a thread and say how that went."""
        try:
            self._library = await asyncio.to_thread(load)
        except BaseException as error:
            failed(error)
        else:
            ready(self._library)

    def close(self) -> None:
        """Finish what is under way and let go of everything."""
        for work in (self.quick, self.pictures, self.uploads):
            work.close()
        if self._library is not None:
            self.network.close()
            self._library.close()
