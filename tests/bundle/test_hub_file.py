"""A large file of the hub: what came before a break is kept and continued, and what is of no use is not."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

from tagprism.bundle.hub_file import continue_file
from tagprism.files import cache_dir, locked

DATA = np.random.default_rng(0).bytes(500_000)
NAME, COMMIT, ETAG = "visual/model.onnx", "4" * 40, hashlib.sha256(DATA).hexdigest()


class _File(BaseHTTPRequestHandler):
    """One file; the line breaks at `cut`, and is then refused until it is mended."""

    cut: int | None = None
    broken = False
    ranges: list[str | None]

    def do_HEAD(self) -> None:
        self._head(200, len(DATA))

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        if self.broken:
            self._head(500, 0)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self._head(206 if asked else 200, len(DATA) - start)
        self.wfile.write(DATA[start : self.cut])
        type(self).broken = self.cut is not None

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        for key, value in {"X-Repo-Commit": COMMIT, "ETag": f'"{ETAG}"', "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_File]]:
    """A hub with one file."""
    handler = type("File", (_File,), {"ranges": []})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{running.server_address[1]}"
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda _, name, revision: f"{address}/{revision}/{name}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield handler
    running.shutdown()
    thread.join()
    running.server_close()


def test_what_broke_off_is_continued(server: type[_File], tmp_path: Path) -> None:
    blobs, told = tmp_path / "hub/models--owner--name/blobs", list[int]()
    server.cut = 320_000
    with pytest.raises(Exception, match="500"):
        continue_file("owner/name", COMMIT, NAME, told.append)
    half = (blobs / f"{ETAG}.part").stat().st_size
    assert 0 < half <= 320_000 and sum(told) == half and not (blobs / ETAG).exists()
    server.cut, server.broken = None, False
    told.clear()
    continue_file("owner/name", COMMIT, NAME, told.append)
    assert server.ranges[0] is None and server.ranges[-1] == f"bytes={half}-"
    assert (blobs / ETAG).read_bytes() == DATA and sum(told) == len(DATA)
    assert [file.name for file in blobs.iterdir()] == [ETAG]
    count = len(server.ranges)
    continue_file("owner/name", COMMIT, NAME, told.append)
    assert len(server.ranges) == count  # it is there


def test_a_part_that_is_too_long_is_begun_anew(server: type[_File], tmp_path: Path) -> None:
    blobs = tmp_path / "hub/models--owner--name/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{ETAG}.part").write_bytes(DATA + b"more")
    continue_file("owner/name", COMMIT, NAME, lambda _: None)
    assert (blobs / ETAG).read_bytes() == DATA


def test_wrong_bytes_never_stand_under_the_name_of_the_right_ones(server: type[_File], tmp_path: Path) -> None:
    blobs = tmp_path / "hub/models--owner--name/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{ETAG}.part").write_bytes(b"wrong" + DATA[5:1000])
    with pytest.raises(OSError, match="wrong bytes"):
        continue_file("owner/name", COMMIT, NAME, lambda _: None)
    assert not list(blobs.iterdir())
    continue_file("owner/name", COMMIT, NAME, lambda _: None)
    assert (blobs / ETAG).read_bytes() == DATA


def test_two_processes_do_not_write_one_part(server: type[_File], tmp_path: Path) -> None:
    with locked(cache_dir("fetching") / f"{ETAG}.lock"):
        continue_file("owner/name", COMMIT, NAME, lambda _: None)
    assert not server.ranges
