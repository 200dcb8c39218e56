"""Lines between processes that share an index: where one listens, and the greeting that proves both know the key.

On Linux a line is a Unix socket in the folder of the index, which is its owner's alone; elsewhere, and in folders that
can hold no socket, a port of 127.0.0.1. Knows no messages.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SOCKET = "server.sock"
NONCE = 32  # bytes
_HOST = "127.0.0.1"
_LONGEST = 100  # bytes of a path that a socket can have anywhere


def listen(folder: Path) -> tuple[socket.socket, dict[str, Any]]:
    """Listen for other processes of this user.

    Args:
        folder: of the index, whose lock this process holds.

    Returns:
        The listening socket, and its address as JSON values for `connect`.

    Raises:
        OSError: the machine refuses.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # some network disks hold no sockets
            return _listen_in(folder), {"socket": SOCKET}
    listening = socket.create_server((_HOST, 0), backlog=64)
    return listening, {"port": listening.getsockname()[1]}


def _listen_in(folder: Path) -> socket.socket:
    (folder / SOCKET).unlink(missing_ok=True)  # of a process that was killed
    listening = socket.socket(socket.AF_UNIX)
    try:
        with _short(folder) as short:
            listening.bind(short)
            os.chmod(short, 0o600)  # noqa: PTH101 (a text)
        listening.listen(64)
    except OSError:
        listening.close()
        raise
    return listening


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path of the socket that is short enough for one: a folder's own path may be longer than sockets allow."""
    path = str(folder / SOCKET)
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)


def connect(folder: Path, about: dict[str, Any], key: bytes, seconds: float) -> Connection:
    """A line to the process that has the index open, which both sides have proved to be the right one.

    Args:
        folder: of the index.
        about: address, as `listen` has given it.
        key: of that process.
        seconds: that the greeting may take.

    Raises:
        ConnectionError: whatever listens there knows no key, or does not answer.
    """
    line = socket.socket(socket.AF_UNIX if "socket" in about else socket.AF_INET)
    try:
        line.settimeout(seconds)
        if "socket" in about:
            with _short(folder) as short:
                line.connect(short)
        else:
            line.connect((_HOST, int(about["port"])))
        theirs, ours = _whole(line, NONCE), secrets.token_bytes(NONCE)
        line.sendall(ours + proof(key, b"client", theirs, ours))
        if not hmac.compare_digest(_whole(line, NONCE), proof(key, b"server", theirs, ours)):
            raise ConnectionError("something else listens there")
        line.settimeout(None)
    except OSError as error:
        line.close()
        raise ConnectionError("the process that had the index open has gone") from error
    return Connection(line.detach())


def proof(key: bytes, who: bytes, server: bytes, client: bytes) -> bytes:
    """What one side sends to show that it knows the key; of no use to whoever overhears it."""
    return hmac.digest(key, who + server + client, "sha256")


def _whole(line: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        if not (more := line.recv(count - len(got))):
            raise ConnectionError("the other side has gone")
        got += more
    return got
