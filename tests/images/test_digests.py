"""Digests of files, and which of them are remembered."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from tagprism.images import stream as module
from tagprism.images.stream import digest_pictures


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Seven files of an hour ago and one that is missing, asked for in chunks of three."""
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_CHUNK", 3)
    found = []
    for number in range(7):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(b"picture %d" % number)
        os.utime(path, (time.time() - 3600,) * 2)
        found.append(path)
    return [*found[:4], tmp_path / "missing.jpg", *found[4:]]


def expected(files: list[Path]) -> dict[int, str]:
    return {row: hashlib.sha256(file.read_bytes()).hexdigest() for row, file in enumerate(files) if file.exists()}


@pytest.mark.parametrize("keep", [False, True])
def test_every_file_has_its_digest_or_its_error(keep: bool, files: list[Path]) -> None:
    for _ in range(2):
        found, errors = digest_pictures(files, keep=keep)
        assert found == expected(files)
        assert [(row, error.code) for row, error in errors] == [(4, "missing")]


def test_a_file_that_has_not_changed_is_read_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    digest_pictures(files[:3], keep=True)  # as if it had been interrupted after the first chunk
    read: list[str] = []
    digest = module._digest

    def counting(path: Path) -> object:
        read.append(path.name)
        return digest(path)

    monkeypatch.setattr(module, "_digest", counting)
    digest_pictures(files, keep=True)
    assert sorted(read) == ["3.jpg", "4.jpg", "5.jpg", "6.jpg", "missing.jpg"]
    read.clear()
    files[0].write_bytes(b"PICTURE 0")  # the same size, and a new time of just now: never taken from the cache
    files[1].write_bytes(b"another size")
    os.utime(files[1], (time.time() - 3600,) * 2)
    for _ in range(2):
        found, _ = digest_pictures(files, keep=True)
        assert found == expected(files)
    assert sorted(read) == ["0.jpg", "0.jpg", "1.jpg", "missing.jpg", "missing.jpg"]
    read.clear()
    digest_pictures(files)  # what proves something reads the bytes
    assert len(read) == len(files)
