"""`tagprism serve`."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from tagprism.app import console
from tagprism.app.commands.keywords import Sidecar
from tagprism.app.options import ModelNow, Quiet
from tagprism.errors import InputError, MachineError
from tagprism.files import cache_dir, machine_errors

if TYPE_CHECKING:
    from tagprism.app.server.library import Library

_SHORTEST_TOKEN = 16  # characters
_PATIENCE = 10  # seconds that requests under way are given when the server is stopped


def serve(
    index: Annotated[str, typer.Argument(help="What `tagprism index` has made.")],
    model: ModelNow = None,
    host: Annotated[str, typer.Option(help="Address to listen at; another one needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8765,
    token: Annotated[
        str | None, typer.Option(envvar="TAGPRISM_TOKEN", help="Every request must show it; better in the variable.")
    ] = None,
    sidecar: Sidecar = "photo.jpg.xmp",
    quiet: Quiet = False,
) -> int:
    """Serve an index: a page to find and look at pictures, and the same as an API (docs/server.md)."""
    for module in ("fastapi", "uvicorn", "python_multipart"):
        console.require_extra("serve", module)
    import asyncio

    import uvicorn

    from tagprism.app.server.application import create_app
    from tagprism.app.server.guard import Access
    from tagprism.app.server.library import Library
    from tagprism.search.collection import open_index
    from tagprism.search.marks import open_marks

    _check(host, token)
    listening = _listen(host, port)
    address = f"http://{_name(host)}:{listening.getsockname()[1]}"
    _keep_private()

    def load() -> Library:
        return Library(open_index(index, model), open_marks(index), sidecar)

    def ready(library: Library) -> None:
        pictures = library.collection.index.info().pictures
        console.say(f"{pictures:,} pictures at {address} (Ctrl-C stops)", quiet=quiet)

    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(load, Access(token), failed, ready)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # who looked at what is nobody's business, and addresses may hold the token
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_PATIENCE,
        proxy_headers=False,
        ws="none",
    )
    server = uvicorn.Server(config)
    logging.getLogger("uvicorn.error").addHandler(console.LogHandler())  # what goes wrong, on stderr
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn stops gracefully and then raises the signal once more
    with listening:
        asyncio.run(server.serve([listening]))
    if failures:
        raise failures[0]
    return console.OK


def _check(host: str, token: str | None) -> None:
    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(
            f"is too short or not plain: use {_SHORTEST_TOKEN} ASCII characters or more.",
            where="--token",
            remedy="Make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    if token is None and not _is_this_machine(host):
        raise InputError(
            f"{host} can be reached from other machines, and everyone there could look at the pictures.",
            where="--host",
            remedy="Give --token (or TAGPRISM_TOKEN) as well, or leave --host away.",
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        remedy = "Choose another one: --port 8766, or --port 0 for any that is free."
        raise MachineError(f"cannot be listened at ({error}).", where=f"{_name(host)}:{port}", remedy=remedy) from error
    return listening


def _keep_private() -> None:
    """Thumbnails of someone's photos are for their eyes."""
    folder = cache_dir("thumbnails")
    with machine_errors(folder):
        folder.chmod(0o700)
