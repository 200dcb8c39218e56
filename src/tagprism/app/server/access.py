"""Whom the server lets in: the token, the cookie that browsers get for it, a brake on guessing. Knows no pictures."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from tagprism.app.server.public_url import PublicUrl, is_this_machine
from tagprism.app.server.refusals import refusal

GUESSES, MINUTE = 10, 60.0
"""Wrong tokens that one address may enter in so many seconds."""

_ADDRESSES = 10_000  # whose guesses are remembered; a crowd of more is braked as one
_COOKIE = "tagprism"


class Brake:
    """Counts what each address has guessed wrongly in this minute."""

    def __init__(self) -> None:
        self._began, self._wrong = time.monotonic(), Counter[str]()

    def holds(self, address: str) -> bool:
        """Whether an address must wait."""
        if time.monotonic() - self._began > MINUTE:
            self._began, self._wrong = time.monotonic(), Counter()
        return self._wrong[address if address in self._wrong else ""] >= GUESSES

    def wrong(self, address: str) -> None:
        """It has guessed once more."""
        self._wrong[address if address in self._wrong or len(self._wrong) < _ADDRESSES else ""] += 1


@dataclass(frozen=True)
class Access:
    """Whom the server lets in.

    Args:
        token: what every request must show, or None where only this machine, or a proxy, can ask.
        public: where browsers find the server, if that is another address.
    """

    token: str | None = None
    public: PublicUrl = field(default_factory=PublicUrl)
    _brake: Brake = field(default_factory=Brake)

    @property
    def cookie(self) -> str:
        """What a browser keeps instead of the token."""
        return hmac.new((self.token or "").encode(), b"tagprism cookie", hashlib.sha256).hexdigest()

    def admits(self, headers: Headers) -> bool:
        """Whether a request shows the token, or the cookie that was given for it."""
        if self.token is None:
            return True
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(shown.strip()):
            return True
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            return False
        return kept is not None and hmac.compare_digest(kept.value.encode(), self.cookie.encode())

    def _is_token(self, shown: str) -> bool:
        """Whether this is the token; takes as long whatever is shown."""
        return self.token is not None and hmac.compare_digest(
            shown.encode("utf-8", "surrogateescape"), self.token.encode()
        )

    def enter(self, scope: Scope, shown: str) -> Response | None:
        """Send a browser that has shown the token to the page, with a cookie; None where it has shown another one."""
        rest = [pair for pair in Request(scope).query_params.multi_items() if pair[0] != "token"]
        page = f"{self.public.path}/" + (f"?{urlencode(rest)}" if rest and scope["method"] == "GET" else "")
        if self.token is None:
            return RedirectResponse(page, 303)
        address = self._address(scope)
        if self._brake.holds(address):
            wait = int(MINUTE)
            return refusal(429, "too many wrong tokens were entered.", "Wait a minute.", retry_after=wait)
        if not self._is_token(shown):
            self._brake.wrong(address)
            return None
        answer = RedirectResponse(page, 303)
        answer.set_cookie(
            _COOKIE,
            self.cookie,
            max_age=30 * 86400,
            path=self.public.path or "/",
            secure=(self.public.scheme or scope["scheme"]) == "https",
            httponly=True,
            samesite="lax",
        )
        return answer

    def _address(self, scope: Scope) -> str:
        """Of who asks; a proxy says it in the last entry of its list."""
        if self.public:
            said = Headers(scope=scope).get("x-forwarded-for", "")
            return said.rpartition(",")[2].strip()[:64]
        return scope["client"][0] if scope["client"] else ""

    def knows_host(self, host: str) -> bool:
        """Whether a request may name the server so; with a token all may, as whoever rebinds a name has no cookie."""
        return self.token is not None or is_this_machine(host) or self.public.is_host(host)
