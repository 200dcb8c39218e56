"""Attackers: connections that send half, read nothing or come in crowds, and how the server is meanwhile."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

HALF_HEADERS = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
SCALE = 10 if "TAGPRISM_ATTACK" in os.environ else 1
"""How many times as long, or as many, in `make attack`."""


def half_sent_put(port: int) -> bytes:
    """Headers of a change whose body never comes."""
    return (
        f"PUT /api/images/1/marks HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        "Content-Length: 40\r\n\r\n{"
    ).encode()


def half_sent_upload(port: int) -> bytes:
    """Headers of an upload of which only the beginning comes."""
    return (
        f"POST /api/tag HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        'Content-Length: 1000000\r\n\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    ).encode()


def get_of(port: int, path: str) -> bytes:
    """A whole request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def port_of(address: str) -> int:
    """The port in an address of a server."""
    port = urlsplit(address).port
    assert port is not None
    return port


@contextlib.contextmanager
def crowd(port: int, count: int, data: bytes, receive_buffer: int | None = None) -> Iterator[list[socket.socket]]:
    """Connections that have all sent the same and then do nothing."""
    lines: list[socket.socket] = []
    raise_file_limit()
    try:
        for _ in range(count):
            line = socket.socket()
            if receive_buffer is not None:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            line.settimeout(60)
            lines.append(line)
            with contextlib.suppress(ConnectionError):  # a server may well refuse it
                line.connect(("127.0.0.1", port))
                line.sendall(data)
        yield lines
    finally:
        for line in lines:
            line.close()


def raise_file_limit() -> None:
    """A crowd needs more open files than a process is given at first."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 18_000)), hard))


def timed_get(address: str, path: str, seconds: float = 60) -> tuple[int, float]:
    """Status code of an answer, 0 for none at all, and the seconds it took on a connection of its own."""
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(f"{address}{path}", timeout=seconds) as answer:
            answer.read()
            code = answer.status
    except urllib.error.HTTPError as error:
        error.close()
        code = error.code
    except OSError:
        code = 0
    return code, time.perf_counter() - began


def memory(process: int) -> int:
    """Bytes that a process and its children hold, each page of a mapped file once."""
    rollups = [Path(f"/proc/{one}/smaps_rollup") for one in (process, *children(process))]
    lines = [line for rollup in rollups for line in rollup.read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        found += [int(one) for one in (task / "children").read_text().split()]
    return found
