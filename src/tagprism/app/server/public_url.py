"""The address by which browsers know the server, which a proxy may have made another one. Knows no pictures."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from tagprism.errors import InputError

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")  # nothing that any program could read in two ways
_HOST = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:]+\]")
_PORTS = {"http": 80, "https": 443}
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class PublicUrl:
    """A public address; without one, the server is known as what it is called by.

    Args:
        scheme: `http` or `https`, empty where there is none.
        host: in lower case, without a port.
        port: as browsers use it.
        path: what stands before all of the server's own paths, without a last slash.
    """

    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def of(cls, text: str) -> PublicUrl:
        """The address that a person writes.

        Raises:
            InputError: it is none, or one that programs may read in different ways.
        """
        remedy = "Write it as browsers use it: https://photos.example.org/tags"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise InputError(f"is no address ({error}).", where="--public-url", remedy=remedy) from error
        path, host = parts.path.rstrip("/"), (parts.hostname or "").lower()
        host = f"[{host}]" if ":" in host else host
        if (
            parts.scheme not in _PORTS
            or not _HOST.fullmatch(host)
            or parts.query
            or parts.fragment
            or re.search(r"[@\s]", text)
        ):
            what = f"{text!r} is not an http or https address of a host and a path alone."
            raise InputError(what, where="--public-url", remedy=remedy)
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            what = f"the path {path!r} has something else than letters, digits, `-`, `_`, `.` and `~`."
            raise InputError(what, where="--public-url", remedy=remedy)
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], path)

    def __bool__(self) -> bool:
        return bool(self.scheme)

    def __str__(self) -> str:
        port = "" if self.port == _PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}/"

    def is_host(self, name: str) -> bool:
        """Whether a request's `Host` is the public one, whatever the port: proxies leave it out or put in their own."""
        return bool(self) and _without_port(name).lower() == self.host

    def without_prefix(self, scope: Scope) -> Scope:
        """A request by the server's own paths, whether or not the proxy has taken the prefix away."""
        path: str = scope["path"]
        if not self.path or not (path + "/").startswith(self.path + "/"):
            return scope
        return {**scope, "path": path[len(self.path) :] or "/"}

    def is_origin(self, path: str, method: str, host: str, headers: Headers) -> bool:
        """Whether a request comes from the server's own page, from a program, or from a person who opens the page."""
        site = headers.get("sec-fetch-site")  # newer browsers say so of every request to this machine
        if site in ("cross-site", "same-site"):
            return method == "GET" and headers.get("sec-fetch-mode") == "navigate" and path in ("/", "/login")
        origin = headers.get("origin")
        if origin is None or (method not in _CHANGING and site is None):
            return True
        is_direct = not self.is_host(host) and origin.partition("://")[2] == host
        return is_direct or self._is_public_origin(origin)

    def _is_public_origin(self, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            return False
        own = (self.scheme, self.host.strip("[]"), self.port)
        return bool(self) and (parts.scheme, parts.hostname, port) == own


def _without_port(host: str) -> str:
    return host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host


def is_this_machine(host: str) -> bool:
    """Whether a request's `Host` names this machine as only itself can, never by a foreign name."""
    name = _without_port(host)
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
