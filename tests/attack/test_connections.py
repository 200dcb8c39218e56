"""Clients that send half, drip, do not read or come in crowds: everyone else is served, and memory stays flat."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from tests.attack.attackers import (
    HALF_HEADERS,
    SCALE,
    crowd,
    get_of,
    half_sent_put,
    half_sent_upload,
    memory,
    port_of,
    timed_get,
)
from tests.server.served import Served

GENEROUS = 10  # times what is aimed at: the machine may be busy
pytestmark = pytest.mark.slow


def serves_others(server: Served) -> None:
    """Assert that `/health` answers in time, and a search at all."""
    for _ in range(3):
        code, seconds = timed_get(server.address, "/health")
        assert code == 200 and seconds < GENEROUS, seconds
    assert timed_get(server.address, "/api/search?query=sky")[0] == 200


def closes(line: socket.socket, seconds: float) -> float:
    """Seconds until the server has closed a line; what it says first is read."""
    began = time.monotonic()
    line.settimeout(seconds)
    try:
        while line.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("data", [HALF_HEADERS, b""], ids=["half the headers", "nothing"])
def test_half_open_connections(server: Served, data: bytes) -> None:
    with crowd(port_of(server.address), 2000 if SCALE == 1 else 15_000, data) as lines:
        serves_others(server)
        assert not data or closes(lines[-1], 100) < 10 * GENEROUS
    serves_others(server)


def test_headers_that_drip_are_cut_off(server: Served) -> None:
    with crowd(port_of(server.address), 1, HALF_HEADERS) as (line,):
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - began < 10 * GENEROUS:
                line.sendall(b"x")
                time.sleep(0.2)


def test_unfinished_bodies(server: Served) -> None:
    port = port_of(server.address)
    with crowd(port, 512, half_sent_put(port)) as lines:
        serves_others(server)
        lines[-1].settimeout(100)
        assert lines[-1].recv(100).startswith(b"HTTP/1.1 408 ")


def test_unfinished_uploads_are_given_up(server: Served, photos: Path) -> None:
    port = port_of(server.address)
    with crowd(port, 64, half_sent_upload(port)):
        serves_others(server)
        data = (photos / "coffee.jpg").read_bytes()
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        end = time.monotonic() + 10 * GENEROUS
        while True:
            request = urllib.request.Request(f"{server.address}/api/tag", head + data + b"\r\n--x--\r\n", kind)
            try:
                with urllib.request.urlopen(request, timeout=100) as answer:
                    assert json.load(answer)["tags"]
                    return
            except urllib.error.HTTPError as error:
                error.close()
                assert error.code == 429 and time.monotonic() < end
                time.sleep(1)


def large_original(server: Served) -> str:
    """Address of a file that does not fit into a line's buffers."""
    with urllib.request.urlopen(f"{server.address}/api/search?limit=200", timeout=60) as answer:
        (number,) = [hit["id"] for hit in json.load(answer)["hits"] if hit["name"] == "large.bmp"]
    return f"/api/images/{number}/original"


def test_readers_that_do_not_read(server: Served) -> None:
    port, path, before = port_of(server.address), large_original(server), memory(server.process.pid)
    count = 40 if SCALE == 1 else 400
    with crowd(port, count, get_of(port, path), receive_buffer=4096) as lines:
        time.sleep(3)
        assert memory(server.process.pid) - before < count * 2**20 + 200 * 2**20  # all of it would be 24 MiB each
        serves_others(server)
        time.sleep(12)
        assert closes(lines[0], 100) < 10 * GENEROUS


def test_what_is_no_http_fills_no_disk(server: Served) -> None:
    port = port_of(server.address)
    for data in (b"\x16\x03\x01\x02\x00" * 10, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000):
        with crowd(port, 100 * SCALE, data):
            pass
    serves_others(server)  # and the fixture holds that nothing was said


def test_stopping_answers_or_says_that_it_stops(index: Path) -> None:
    server = Served(index)
    port, path = port_of(server.address), large_original(server)
    with (
        crowd(port, 3, half_sent_upload(port)) as lines,
        crowd(port, 3, HALF_HEADERS),
        crowd(port, 3, get_of(port, path), receive_buffer=4096),
    ):
        time.sleep(2)
        began = time.monotonic()
        server.process.terminate()
        lines[0].settimeout(100)
        assert lines[0].recv(100).startswith(b"HTTP/1.1 503 ")
        assert server.stop() == (0, "")
    assert time.monotonic() - began < 10 + GENEROUS and len(server.lines) == 1, server.lines
