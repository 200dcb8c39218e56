"""Who may ask, how much they may send, and what browsers are told with every answer. Knows no pictures.

A server on 127.0.0.1 is within reach of every web page that the person has open. Such a page may send requests to it,
so the origin is checked; and it may give its own name our address (DNS rebinding), so the host is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagprism.app.server.access import Access
from tagprism.app.server.refusals import refusal

MAX_UPLOAD = 64 * 2**20
"""Cap on an uploaded picture's size, in bytes."""

MAX_AT_ONCE, MAX_UPLOADS = 256, 64
"""Requests that are all here, and uploads, under way; one more is told to come again."""

BODY, LEAST_RATE = 10.0, 16_384
"""Seconds that a body may take to come, and bytes that buy it one second more."""

_MAX_BODY = 2**16  # of all other requests
_FORM = 2**16  # what a form adds to the picture in it
_DISCARDED = 4 * MAX_UPLOAD  # of a body that is too large, so that its sender gets to read why
_UPLOAD = "/api/tag"
_OPEN = ("/login", "/static/login.css")  # what may be asked for without the token
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none at all, browsers hide the origin of our own login form
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Stands before the application.

    Args:
        app: the application.
        access: whom to let in.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._under_way: set[asyncio.Timeout] = set()
        self._working = self._uploads = 0
        self._end: float | None = None

    def stop(self, end: float) -> None:
        """Take no new requests, and answer 503 to what is still under way then (on the loop's clock)."""
        self._end = end
        for limit in self._under_way:
            limit.reschedule(end)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on to the application."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        scope = self._access.public.without_prefix(scope)
        limit = asyncio.timeout_at(self._end)
        answering = _Answering(scope, send, lambda: self._begin(limit))
        receive = _in_time(receive)
        try:
            async with limit:
                self._under_way.add(limit)
                try:
                    await self._admitted(scope, receive, answering.send)
                finally:
                    self._under_way.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            await _stopping()(scope, receive, answering.send)
        except HTTPException as error:  # of a body that is not for the application
            answer = too_large(scope) if error.status_code == 413 else too_slow()
            await answer(scope, receive, answering.send)

    def _begin(self, limit: asyncio.Timeout) -> None:
        """An answer that has begun is not replaced by another one; its connection has deadlines of its own."""
        if limit in self._under_way:
            self._under_way.discard(limit)
            limit.reschedule(None)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        answer, whole = self._refused(scope, headers), None
        if answer is None and scope["path"] == "/health":  # outside of every cap
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == _UPLOAD
        if answer is None and not is_upload:  # a request counts once its body is here
            whole = await _read(_counted(receive, most(scope)))
        answer = answer or self._too_much(is_upload)
        if answer is not None:
            if answer.status_code in (413, 429) and whole is None:
                await _discard(receive)
            await answer(scope, receive, send)
            return
        self._working, self._uploads = self._working + 1, self._uploads + is_upload
        try:
            await self._app(scope, whole or _counted(receive, most(scope)), send)
        finally:
            self._working, self._uploads = self._working - 1, self._uploads - is_upload

    def _too_much(self, is_upload: bool) -> Response | None:
        if self._end is not None:
            return _stopping()
        if self._working >= MAX_AT_ONCE or (is_upload and self._uploads >= MAX_UPLOADS):
            return refusal(429, "too many requests are under way.", "Ask again in a moment.", retry_after=1)
        return None

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        path, method, access = scope["path"], scope["method"], self._access
        host = headers.get("host", "")
        if not access.knows_host(host):
            return refusal(421, f"this server is not called {host[:100]!r}.", "Use http://127.0.0.1 and its port.")
        if not access.public.is_origin(path, method, host, headers):
            return refusal(403, "a page of another origin may not ask this server.", "Use the server's own page.")
        if path == "/" and method == "GET" and "token" in (asked := Request(scope).query_params):
            elsewhere = "/" if access.admits(headers) else "/login"  # in any case the token leaves the address
            return access.enter(scope, asked["token"]) or RedirectResponse(f"{access.public.path}{elsewhere}", 303)
        if not access.admits(headers) and path not in _OPEN and path != "/health":
            if "text/html" in headers.get("accept", "") and method == "GET":
                return RedirectResponse(f"{access.public.path}/login", 303)
            answer = refusal(401, "the token is missing or wrong.", "Send `Authorization: Bearer TOKEN`.")
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > most(scope):
            return too_large(scope)
        return None


class _Answering:
    """What is sent, with the headers that every answer has; `begun` is called when it begins to be."""

    def __init__(self, scope: Scope, send: Send, begun: Callable[[], None]) -> None:
        is_data = "/api/" in scope["path"] or scope["path"] in ("/health", "/openapi.json")
        self._send, self._cache, self._begun = send, "no-store" if is_data else "no-cache", begun

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self._begun()
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", self._cache)
        await self._send(message)


def too_slow() -> JSONResponse:
    """The answer to a body that does not come."""
    answer = refusal(408, "the request came too slowly.", "Send it again.")
    answer.headers["connection"] = "close"
    return answer


def _stopping() -> JSONResponse:
    answer = refusal(503, "the server is being stopped.", "Start `tagprism serve` again.")
    answer.headers["connection"] = "close"
    return answer


def too_large(scope: Scope) -> JSONResponse:
    """The answer to a body that is too large."""
    cap = most(scope)
    size = f"{cap // 2**20} MiB" if cap >= 2**20 else f"{cap // 2**10} KiB"
    return refusal(413, "the request is too large.", f"Send at most {size}.")


def most(scope: Scope) -> int:
    """Bytes that a request may have."""
    return MAX_UPLOAD + _FORM if scope["path"] == _UPLOAD else _MAX_BODY


def _in_time(receive: Receive) -> Receive:
    """Give up on a client that sends its body too slowly."""
    loop = asyncio.get_running_loop()
    began, got, is_whole = loop.time(), 0, False

    async def receiving() -> Message:
        nonlocal got, is_whole
        if is_whole:  # what comes now is that the client leaves
            return await receive()
        try:
            async with asyncio.timeout_at(began + BODY + got / LEAST_RATE):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        got += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        return message

    return receiving


def _counted(receive: Receive, cap: int) -> Receive:
    """Count what comes without a stated length, too."""
    got = 0

    async def receiving() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > cap:
            raise HTTPException(413)
        return message

    return receiving


async def _read(receive: Receive) -> Receive:
    """Wait for a whole body, so that a request which is not all here holds up nobody."""
    body, message = b"", await receive()
    while message["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            message = {"type": "http.request", "body": body, "more_body": False}
            break
        message = await receive()
    first: list[Message] = [message]

    async def receiving() -> Message:
        return first.pop() if first else await receive()

    return receiving


async def _discard(receive: Receive) -> None:
    """Read a body that is not wanted, so that its sender comes to read the answer."""
    got = 0
    while got < _DISCARDED:
        message = await receive()
        got += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
