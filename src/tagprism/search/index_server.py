"""The line between the process that has an index open and others that use it: the greeting of both ends, and answers.

The greeting proves that both sides know the key; who has not shown it has no thread and little time. What is said on a
line stands in `remote_index`; `shared_index.Listener` waits for the first who knocks.
"""

from __future__ import annotations

import hmac
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SOCKET, HOST = "server.sock", "127.0.0.1"
_NONCE = 32  # bytes
GREETING = 5.0
"""Seconds in which a client must have shown that it knows the key."""

GUESTS, CLIENTS = 64, 256
"""Clients that may be about to show the key (the oldest goes for one more), and that may have a thread of their own."""


def connect(folder: Path, about: dict[str, Any], key: bytes, seconds: float) -> Connection:
    """A line to the process that has the index open, which both sides have proved to be the right one.

    Args:
        folder: of the index.
        about: address, as `shared_index.Listener` has it.
        key: of that process.
        seconds: that the greeting may take.

    Raises:
        ConnectionError: whatever listens there knows no key, or does not answer.
    """
    line = socket.socket(socket.AF_UNIX if "socket" in about else socket.AF_INET)
    try:
        line.settimeout(seconds)
        if "socket" in about:
            from tagprism.search.shared_index import short_path  # which is built on this module

            with short_path(folder, SOCKET) as short:
                line.connect(short)
        else:
            line.connect((HOST, int(about["port"])))
        theirs, ours = _whole(line, _NONCE), secrets.token_bytes(_NONCE)
        line.sendall(ours + _proof(key, b"client", theirs, ours))
        if not hmac.compare_digest(_whole(line, _NONCE), _proof(key, b"server", theirs, ours)):
            raise ConnectionError("something else listens there")
        line.settimeout(None)
    except OSError as error:
        line.close()
        raise ConnectionError("the process that had the index open has gone") from error
    return Connection(line.detach())


def _proof(key: bytes, who: bytes, server: bytes, client: bytes) -> bytes:
    """What one side sends to show that it knows the key; of no use to whoever overhears it."""
    return hmac.digest(key, who + server + client, "sha256")


def _whole(line: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        if not (more := line.recv(count - len(got))):
            raise ConnectionError("the other side has gone")
        got += more
    return got


class _Guest:
    """A client that has not shown the key."""

    def __init__(self) -> None:
        self.nonce, self.got, self.since = secrets.token_bytes(_NONCE), b"", time.monotonic()


class IndexServer:
    """Answers other processes, in a thread for each that has shown the key.

    Args:
        answer: gives the answer to a message, and may send messages before; called by several threads at once.
        key: 32 bytes that a process must know.
        listening: socket at which they knock, which does not block.
        closing: set when nobody shall be let in any more.

    Attributes:
        clients: those that have shown the key.
    """

    def __init__(
        self,
        answer: Callable[[bytes, Callable[[bytes], None]], bytes],
        key: bytes,
        listening: socket.socket,
        closing: threading.Event,
    ) -> None:
        self._answer, self._key, self._listening, self._closing = answer, key, listening, closing
        self.clients: set[Connection] = set()
        self._guests: dict[socket.socket, _Guest] = {}  # in the order in which they came

    def receive(self, waiting: selectors.BaseSelector) -> None:
        """Let others in, until it is closing.

        Args:
            waiting: for what knocks, and for what wakes it to close.
        """
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
            more = line.recv(2 * _NONCE - len(guest.got))
        except OSError:
            more = b""
        guest.got += more
        if more and len(guest.got) < 2 * _NONCE:
            return
        theirs, shown = guest.got[:_NONCE], guest.got[_NONCE:]
        is_known = hmac.compare_digest(shown, _proof(self._key, b"client", guest.nonce, theirs))
        if not is_known or len(self.clients) >= CLIENTS:
            self._dismiss(waiting, line)
            return
        waiting.unregister(line)
        del self._guests[line]
        line.setblocking(True)
        client, proof = Connection(line.detach()), _proof(self._key, b"server", guest.nonce, theirs)
        self.clients.add(client)
        threading.Thread(target=self._serve, args=(client, proof), name="index client", daemon=True).start()

    def _dismiss(self, waiting: selectors.BaseSelector, line: socket.socket) -> None:
        waiting.unregister(line)
        del self._guests[line]
        line.close()

    def _serve(self, client: Connection, proof: bytes) -> None:
        try:
            with self._socket_of(client) as line:
                line.sendall(proof)  # not where others are let in: the client may have left by now
            while not self._closing.is_set():
                message = self._answer(client.recv_bytes(), client.send_bytes)
                if self._closing.is_set():
                    return  # the client asks the next server: this answer may be of an index that is closed
                client.send_bytes(message)
        except (OSError, EOFError):
            return  # the client has left
        finally:
            self.clients.discard(client)
            client.close()

    def end(self) -> None:
        """End every conversation, when it has been told to close."""
        for client in list(self.clients):  # its own thread closes it: only that knows when nothing reads from it
            with suppress(OSError), self._socket_of(client) as line:
                line.shutdown(socket.SHUT_RDWR)

    def _socket_of(self, client: Connection) -> socket.socket:
        """A second handle of a client's line, which is closed by itself."""
        return socket.fromfd(client.fileno(), self._listening.family, socket.SOCK_STREAM)
