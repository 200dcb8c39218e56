"""Who may ask, how much they may send, and what browsers are told with every answer. Knows no pictures.

A server on 127.0.0.1 is within reach of every web page that the person has open. Such a page may send requests to it,
so the origin is checked; and it may give its own name our address (DNS rebinding), so the host is checked.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UPLOAD = 64 * 2**20
"""Cap on an uploaded picture's size, in bytes."""

MAX_AT_ONCE, MAX_UPLOADS = 512, 64
"""Requests, and uploads among them, under way; one more is told to come again."""

_MAX_BODY = 2**16  # of all other requests
_FORM = 2**16  # what a form adds to the picture in it
_DISCARDED = 4 * MAX_UPLOAD  # of a body that is too large, so that its sender gets to read why
_COOKIE = "tagprism"
_UPLOAD = "/api/tag"
_OPEN = ("/login", "/static/login.css")  # what may be asked for without the token
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
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


def error_body(what: str, where: str | None = None, remedy: str | None = None) -> dict[str, dict[str, str | None]]:
    """The form of every error."""
    return {"error": {"what": what, "where": where, "remedy": remedy}}


def refusal(
    status: int, what: str, remedy: str | None = None, *, where: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """An error as an answer."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse(error_body(what, where, remedy), status, headers)


@dataclass(frozen=True)
class Access:
    """Whom the server lets in.

    Args:
        token: what every request must show, or None where only this machine can ask.
    """

    token: str | None = None

    @property
    def cookie(self) -> str:
        """What a browser keeps instead of the token."""
        return hmac.new((self.token or "").encode(), b"tagprism cookie", hashlib.sha256).hexdigest()

    def admits(self, headers: Headers) -> bool:
        """Whether a request shows the token, or the cookie that was given for it."""
        if self.token is None:
            return True
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(shown.strip()):
            return True
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            return False
        return kept is not None and hmac.compare_digest(kept.value.encode(), self.cookie.encode())

    def is_token(self, shown: str) -> bool:
        """Whether this is the token; takes as long whatever is shown."""
        return self.token is not None and hmac.compare_digest(
            shown.encode("utf-8", "surrogateescape"), self.token.encode()
        )

    def log_in(self, scope: Scope) -> Response:
        """Send a browser to the page with the cookie."""
        answer = RedirectResponse("/", 303)
        kept = {"max_age": 30 * 86400, "httponly": True, "secure": scope["scheme"] == "https"}
        answer.set_cookie(_COOKIE, self.cookie, samesite="lax", **kept)
        return answer

    def knows_host(self, host: str) -> bool:
        """Whether a request may name the server so: without a token only as this machine, never by a foreign name."""
        if self.token is not None:
            return True  # whoever rebinds a name gets no cookie of ours
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        if name.lower().rstrip(".") == "localhost":
            return True
        try:
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return False


class Guard:
    """Stands before the application.

    Args:
        app: the application.
        access: whom to let in.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._under_way = self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on to the application."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with_headers = _with_headers(send, "/api/" in scope["path"] or scope["path"] in ("/health", "/openapi.json"))
        if (answer := self._refused(scope, headers)) is not None:
            if answer.status_code in (413, 429):
                await _discard(receive)
            await answer(scope, receive, with_headers)
            return
        is_upload = scope["path"] == _UPLOAD
        self._under_way, self._uploads = self._under_way + 1, self._uploads + is_upload
        try:
            await self._app(scope, _counted(receive, _most(scope)), with_headers)
        finally:
            self._under_way, self._uploads = self._under_way - 1, self._uploads - is_upload

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        path, method = scope["path"], scope["method"]
        host = headers.get("host", "")
        if not self._access.knows_host(host):
            return refusal(421, f"this server is not called {host[:100]!r}.", "Use http://127.0.0.1 and its port.")
        if not _same_origin(path, method, host, headers):
            return refusal(403, "a page of another origin may not ask this server.", "Use the server's own page.")
        if not self._access.admits(headers) and path not in _OPEN and path != "/health":
            if "text/html" in headers.get("accept", "") and method == "GET":
                shown = _query_token(scope)
                return self._access.log_in(scope) if self._access.is_token(shown) else RedirectResponse("/login", 303)
            answer = refusal(401, "the token is missing or wrong.", "Send `Authorization: Bearer TOKEN`.")
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > _most(scope):
            return too_large(scope)
        if self._under_way >= MAX_AT_ONCE or (path == _UPLOAD and self._uploads >= MAX_UPLOADS):
            return refusal(429, "too many requests are under way.", "Ask again in a moment.", retry_after=1)
        return None


def too_large(scope: Scope) -> JSONResponse:
    """The answer to a body that is too large."""
    most = _most(scope)
    size = f"{most // 2**20} MiB" if most >= 2**20 else f"{most // 2**10} KiB"
    return refusal(413, "the request is too large.", f"Send at most {size}.")


def _query_token(scope: Scope) -> str:
    return Request(scope).query_params.get("token", "")


def _most(scope: Scope) -> int:
    return MAX_UPLOAD + _FORM if scope["path"] == _UPLOAD else _MAX_BODY


def _same_origin(path: str, method: str, host: str, headers: Headers) -> bool:
    """Whether a request comes from the server's own page, from a program, or from a person who opens the page."""
    site = headers.get("sec-fetch-site")  # newer browsers say so of every request to this machine
    if site in ("cross-site", "same-site"):
        return method == "GET" and headers.get("sec-fetch-mode") == "navigate" and path in ("/", "/login")
    origin = headers.get("origin")
    if origin is None or (method not in _CHANGING and site is None):
        return True
    return origin.partition("://")[2] == host


def _with_headers(send: Send, is_data: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store" if is_data else "no-cache")
        await send(message)

    return sending


def _counted(receive: Receive, most: int) -> Receive:
    """Count what comes without a stated length, too."""
    got = 0

    async def receiving() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise HTTPException(413)
        return message

    return receiving


async def _discard(receive: Receive) -> None:
    """Read a body that is not wanted, so that its sender comes to read the answer."""
    got = 0
    while got < _DISCARDED:
        message = await receive()
        got += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
