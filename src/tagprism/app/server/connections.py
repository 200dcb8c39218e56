"""Connections under deadlines: nobody holds one by sending or reading slowly, and a crowd shuts nobody out.

uvicorn has a deadline between two requests alone; this is what it lacks (docs/decisions.md says which other servers
were looked at). Knows no requests.
"""

from __future__ import annotations

import asyncio
import heapq
import socket
import sys
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS, MAX_OF_ADDRESS = 512, 64
"""Connections in all, and of one address; this machine's own, and a proxy's, have no limit but the first."""

HEADERS = 10.0
"""Seconds in which a request's headers must have come."""

PATIENCE = 10.0
"""Seconds that stopping takes at most."""

BACKLOG, _QUEUE = 128, 1024  # connections that are accepted in one go, and that may wait for that
_GO = 16  # connections that go at once where there is no room: to look for them takes a while
_CHECK, _LEAST = 10.0, 40_960  # of an answer, this many bytes must be taken in this many seconds
_FILES = 4096  # that may be open, where the system lets us
_HERE = ("127.", "::1", "::ffff:127.")


class Connection(H11Protocol):
    """One connection of a client, as uvicorn serves it, with deadlines.

    Attributes:
        since: when it last came to wait for its client, on the loop's clock.
    """

    since = 0.0
    most_of_address = MAX_OF_ADDRESS
    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in; where there is no room, those that have waited longest for their clients go."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # `pause_writing` then tells of every byte that is not taken
        address = self.client[0] if self.client else ""
        if not address.startswith(_HERE):
            of_address = [one for one in self._all() if one.client and one.client[0] == address]
            self._make_room(of_address, self.most_of_address)
        self._make_room(self._all(), MAX_CONNECTIONS)
        self._expect_headers()

    def _all(self) -> list[Connection]:
        return [one for one in self.connections if isinstance(one, Connection)]

    def _make_room(self, others: list[Connection], most: int) -> None:
        if len(others) <= most:
            return
        idle = [one for one in others if one is not self and one.waits_for_client]
        for one in heapq.nsmallest(_GO, idle, key=lambda one: one.since) or [self]:
            one.abort()

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing can be done before its client sends, or reads, more."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        return not under_way or self.cycle.more_body or self.flow.write_paused

    def abort(self) -> None:
        """End it at once, whatever is still to be sent."""
        self.connections.discard(self)
        self.transport.abort()

    def _expect_headers(self) -> None:
        self.since = self.loop.time()
        self._deadline = self.loop.call_later(HEADERS, self.abort)

    def data_received(self, data: bytes) -> None:
        """Take what a client sends; the deadline holds until it is a whole request."""
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_headers()
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._got_headers()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have come already."""
        self.since, before = self.loop.time(), self.cycle
        super().on_response_complete()
        if self.cycle is not before:
            self._got_headers()

    def _got_headers(self) -> None:
        self.since = self.loop.time()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pause_writing(self) -> None:
        """Something is not taken at once: watch that it is taken."""
        super().pause_writing()
        self._watch(sys.maxsize)

    def _watch(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if before - left < _LEAST:
            self.abort()
            return
        self._reading = self.loop.call_later(_CHECK, self._watch, left)

    def resume_writing(self) -> None:
        """All is taken."""
        super().resume_writing()
        self.since = self.loop.time()
        if self._reading is not None:
            self._reading.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it."""
        self._got_headers()
        super().connection_lost(exc)
        if self._reading is not None:
            self._reading.cancel()


class ProxyConnection(Connection):
    """A connection of a proxy, whose address tells nothing."""

    most_of_address = MAX_CONNECTIONS


class Server(uvicorn.Server):
    """uvicorn, which stops in time.

    Args:
        app: the application.
        stopping: told that the server stops, and until when (on the loop's clock) what is under way may take.
        behind_proxy: whether connections are those of a proxy.
    """

    def __init__(self, app: ASGIApp, stopping: Callable[[float], None], *, behind_proxy: bool) -> None:
        self._stopping = stopping
        config = uvicorn.Config(
            app,
            http=ProxyConnection if behind_proxy else Connection,
            backlog=BACKLOG,
            log_config=None,
            access_log=False,  # who looked at what is nobody's business, and addresses may hold the token
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=int(PATIENCE),
            proxy_headers=False,
            ws="none",
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and let more connections wait than are accepted in one go: each takes a file before any is closed."""
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(_QUEUE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, with 503 what takes too long, and close the rest."""
        loop = asyncio.get_running_loop()
        self._stopping(loop.time() + 0.7 * PATIENCE)
        loop.call_later(0.8 * PATIENCE, self._abort_all)
        await super().shutdown(sockets)

    def _abort_all(self) -> None:
        for one in list(self.server_state.connections):
            if isinstance(one, Connection):
                one.abort()


def allow_many_files() -> None:
    """Ask for room for all connections; a process is often given 1,024 open files, although it may have more."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
