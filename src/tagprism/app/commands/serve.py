"""`tagprism serve`."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path
from typing import Annotated

import typer

from tagprism.app import console
from tagprism.app.commands.keywords import Sidecar
from tagprism.app.options import Device, ModelNow, Quiet
from tagprism.counted import counted
from tagprism.errors import InputError, MachineError
from tagprism.files import cache_dir, machine_errors

_SHORTEST_TOKEN = 16  # characters
_LONGEST_TOKEN = 4096


def serve(
    index: Annotated[str, typer.Argument(help="What `tagprism index` has made.")],
    model: ModelNow = None,
    host: Annotated[str, typer.Option(help="Address to listen at; another one needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(envvar="TAGPRISM_TOKEN", help="Every request must show it; better in the variable or a file."),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="A file that holds the token, closed to others.")] = None,
    public_url: Annotated[
        str | None, typer.Option(help="Where browsers find the server behind a proxy: https://host/path.")
    ] = None,
    sidecar: Sidecar = "photo.jpg.xmp",
    device: Device = None,
    quiet: Quiet = False,
) -> int:
    """Serve an index: a page to find and look at pictures, and the same as an API (docs/server.md)."""
    for module in ("fastapi", "uvicorn", "python_multipart"):
        console.require_extra("serve", module)
    import asyncio

    from tagprism.app.server.access import Access
    from tagprism.app.server.application import create_app
    from tagprism.app.server.connections import Server, allow_many_files
    from tagprism.app.server.library_process import LibraryProcess
    from tagprism.app.server.limited_log import log_errors
    from tagprism.app.server.public_url import PublicUrl

    if token_file is not None:
        token = read_token(token_file)
    public = PublicUrl.of(public_url) if public_url is not None else PublicUrl()
    _check(host, token)
    listening = _listen(host, port)
    address = str(public) if public else f"http://{_name(host)}:{listening.getsockname()[1]}"
    _keep_private()
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    def ready(pictures: int) -> None:
        console.say(f"{counted(pictures, 'picture')} at {address} (Ctrl-C stops)", quiet=quiet)
        if public and token is None:
            console.say("There is no token: whoever the proxy lets in sees the pictures.", quiet=quiet)

    app = create_app(lambda: LibraryProcess(index, model, sidecar), Access(token, public), failed, ready)
    server = Server(app, app.stop, behind_proxy=bool(public))
    log_errors()
    allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn stops gracefully and then raises the signal once more
    try:
        with listening:
            asyncio.run(server.serve([listening]))
    except KeyboardInterrupt:  # it is how a server ends: nothing was interrupted that could go on
        return console.INTERRUPTED
    if failures:
        raise failures[0]
    return console.OK


def read_token(file: Path) -> str:
    """The token in a file; one that others may read is no secret.

    Raises:
        InputError: it cannot be read, is empty, or others may read it.
    """
    try:
        with file.open("rb") as opened:
            mode, text = os.fstat(opened.fileno()).st_mode, opened.read(_LONGEST_TOKEN + 1).strip()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}).", where=str(file), remedy="Name another file.") from error
    if os.name == "posix" and stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        raise InputError("can be read by everyone.", where=str(file), remedy=f"Close it: chmod 600 {file}")
    if not text or len(text) > _LONGEST_TOKEN:
        what = "is empty." if not text else "is too long to be a token."
        raise InputError(what, where=str(file), remedy=f"Put {_SHORTEST_TOKEN} characters or more into it.")
    return text.decode("utf-8", "replace")


def _check(host: str, token: str | None) -> None:
    from tagprism.app.server.public_url import is_this_machine

    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(
            f"is too short or not plain: use {_SHORTEST_TOKEN} ASCII characters or more.",
            where="the token",
            remedy="Make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    if token is None and not is_this_machine(_name(host)):
        raise InputError(
            f"{host} can be reached from other machines, and everyone there could look at the pictures.",
            where="--host",
            remedy="Give --token (or TAGPRISM_TOKEN) as well, or leave --host away.",
        )


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
