"""Lets other processes use an index that this one has open. Who has not shown the key has no thread and little time."""

from __future__ import annotations

import hmac
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tagprism.search.contract import Index
from tagprism.search.remote_index import HOST, NONCE, SOCKET, answer, proof, short_path

GREETING = 5.0
"""Seconds in which a client must have shown that it knows the key."""

GUESTS, CLIENTS = 64, 256
"""Clients that may be about to show the key (the oldest goes for one more), and that may have a thread of their own."""


def listen(folder: Path) -> tuple[socket.socket, dict[str, Any]]:
    """Listen for other processes of this user.

    Args:
        folder: of the index, whose lock this process holds.

    Returns:
        The listening socket, and its address as JSON values for `remote_index.connect`.

    Raises:
        OSError: the machine refuses.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # some network disks hold no sockets
            return _listen_in(folder), {"socket": SOCKET}
    listening = socket.create_server((HOST, 0), backlog=64)
    return listening, {"port": listening.getsockname()[1]}


def _listen_in(folder: Path) -> socket.socket:
    (folder / SOCKET).unlink(missing_ok=True)  # of a process that was killed
    listening = socket.socket(socket.AF_UNIX)
    try:
        with short_path(folder) as short:
            listening.bind(short)
            os.chmod(short, 0o600)  # noqa: PTH101 (a text)
        listening.listen(64)
    except OSError:
        listening.close()
        raise
    return listening


class _Guest:
    """A client that has not shown the key."""

    def __init__(self) -> None:
        self.nonce, self.got, self.since = secrets.token_bytes(NONCE), b"", time.monotonic()


class IndexServer:
    """Answers other processes, in a thread for each that has shown the key.

    Args:
        index: open in this process; used by several threads at once.
        folder: of the index.

    Attributes:
        address: as `remote_index.connect` takes it.
        key: 32 bytes that a process must know.

    Raises:
        OSError: the machine refuses.
    """

    def __init__(self, index: Index, folder: Path) -> None:
        self._index, self._folder, self.key = index, folder, secrets.token_bytes(32)
        self._listening, self.address = listen(folder)
        self._listening.setblocking(False)
        self._closing = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._clients: set[Connection] = set()
        self._guests: dict[socket.socket, _Guest] = {}  # in the order in which they came
        self._thread = threading.Thread(target=self._receive, name="index server", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listening, selectors.EVENT_READ)
            waiting.register(self._woken, selectors.EVENT_READ)
            while not self._closing.is_set():
                for key, _ in waiting.select(1.0):
                    if key.fileobj is self._listening:
                        self._admit(waiting)
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._guests:
                        self._greet(waiting, key.fileobj)
                for guest in [one for one, its in self._guests.items() if time.monotonic() - its.since > GREETING]:
                    self._dismiss(waiting, guest)
            for guest in list(self._guests):
                self._dismiss(waiting, guest)

    def _admit(self, waiting: selectors.BaseSelector) -> None:
        try:
            line, _ = self._listening.accept()
        except BlockingIOError:
            return
        except OSError:  # no more files, or a client that has left already
            time.sleep(0.05)
            return
        if len(self._guests) >= GUESTS:
            self._dismiss(waiting, next(iter(self._guests)))
        line.setblocking(False)
        self._guests[line] = guest = _Guest()
        waiting.register(line, selectors.EVENT_READ)
        with suppress(OSError):  # it has left: reading will tell
            line.send(guest.nonce)

    def _greet(self, waiting: selectors.BaseSelector, line: socket.socket) -> None:
        guest = self._guests[line]
        try:
            more = line.recv(2 * NONCE - len(guest.got))
        except OSError:
            more = b""
        guest.got += more
        if more and len(guest.got) < 2 * NONCE:
            return
        theirs, shown = guest.got[:NONCE], guest.got[NONCE:]
        is_known = hmac.compare_digest(shown, proof(self.key, b"client", guest.nonce, theirs))
        if not is_known or len(self._clients) >= CLIENTS:
            self._dismiss(waiting, line)
            return
        waiting.unregister(line)
        del self._guests[line]
        line.setblocking(True)
        line.sendall(proof(self.key, b"server", guest.nonce, theirs))
        client = Connection(line.detach())
        self._clients.add(client)
        threading.Thread(target=self._serve, args=(client,), name="index client", daemon=True).start()

    def _dismiss(self, waiting: selectors.BaseSelector, line: socket.socket) -> None:
        waiting.unregister(line)
        del self._guests[line]
        line.close()

    def _serve(self, client: Connection) -> None:
        try:
            while not self._closing.is_set():
                message = answer(self._index, client.recv_bytes())
                if self._closing.is_set():
                    return  # the client asks the next server: this answer may be of an index that is closed
                client.send_bytes(message)
        except (OSError, EOFError):
            return  # the client has left
        finally:
            self._clients.discard(client)
            client.close()

    def close(self) -> None:
        """Let nobody in any more, and end every conversation."""
        self._closing.set()
        self._wake.send(b"!")
        self._thread.join()
        if "socket" in self.address:
            with suppress(OSError):
                (self._folder / SOCKET).unlink()
        for own in (self._listening, self._wake, self._woken):
            own.close()
        family = socket.AF_UNIX if "socket" in self.address else socket.AF_INET
        for client in list(self._clients):  # its own thread closes it: only that knows when nothing reads from it
            with suppress(OSError), socket.fromfd(client.fileno(), family, socket.SOCK_STREAM) as line:
                line.shutdown(socket.SHUT_RDWR)
