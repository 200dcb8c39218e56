"""Undo under odd clocks, absent disks and files that refuse: the right run, and all of it, or it stays to be undone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagprism.files import digest_bytes
from tagprism.keywords.journal import recorded_runs
from tagprism.keywords.undo import undo
from tests.command_line import tagprism

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("TAGPRISM_STATE", str(path))
    return path


def photo(folder: Path, name: str = "photo.jpg") -> Path:
    path = folder / name
    shutil.copy(Path(__file__).parents[1] / "photos" / "coffee.jpg", path)
    return path


def write(*photos: Path, word: str = "beach", zone: str = "UTC") -> None:
    """Write a keyword into the sidecars of photos, in a process whose clock is in some time zone."""
    tags = [{"label": word, "score": 1.0, "probability": 0.9, "vector": 0}]
    rows = "".join(json.dumps({"path": str(path), "tags": tags}) + "\n" for path in photos).encode()
    done = tagprism("keywords", "write", "--from", "-", stdin=rows, environment={"TZ": zone})
    assert done.returncode == 0, done.stderr


def test_after_a_flight_west_the_last_run_is_undone(tmp_path: Path) -> None:
    first, second = photo(tmp_path, "a.jpg"), photo(tmp_path, "b.jpg")
    write(first, zone="Pacific/Auckland")
    write(second, zone="Pacific/Honolulu")
    assert tagprism("undo").returncode == 0
    assert first.with_name("a.jpg.xmp").exists() and not second.with_name("b.jpg.xmp").exists()


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path, state: Path) -> None:
    first, second = photo(tmp_path, "a.jpg"), photo(tmp_path, "b.jpg")
    write(first)
    (journal,) = (state / "journals").iterdir()
    journal.rename(journal.with_name(journal.name.replace(journal.name[:4], "2199")))
    write(second)
    assert undo().restored == 1 and not second.with_name("b.jpg.xmp").exists()
    assert undo().restored == 1 and not first.with_name("a.jpg.xmp").exists()


def old_journal(state: Path, name: str, started: str, path: Path, before: bytes, after: bytes) -> None:
    """A journal as versions without a counter wrote it, named by the local time."""
    packed = base64.b85encode(zlib.compress(before)).decode()
    lines = [
        {"format": 1, "started": started, "command": {}},
        {"path": str(path), "before": packed, "mtime_ns": 10**18, "after": digest_bytes(after), "part": ".x.part"},
        {"finished": started},
    ]
    (state / "journals").mkdir(exist_ok=True)
    (state / "journals" / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_journals_of_older_versions_are_undone_by_their_true_time_and_after_newer_ones(
    tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "a.jpg.xmp"
    old_journal(state, "20260102-120000-000000.jsonl", "2026-01-02T12:00:00+12:00", path, b"0", b"1")
    old_journal(state, "20260101-180000-000000.jsonl", "2026-01-01T18:00:00-10:00", path, b"1", b"2")
    path.write_bytes(b"2")
    write(photo(tmp_path, "b.jpg"))
    assert undo().restored == 1 and path.read_bytes() == b"2"
    assert undo().restored == 1 and path.read_bytes() == b"1"
    (tmp_path / ".x.part").write_bytes(b"half of an undoing that was killed")
    assert undo().restored == 1 and path.read_bytes() == b"0" and path.stat().st_mtime_ns == 10**18
    assert not (tmp_path / ".x.part").exists()
    assert tagprism("undo").returncode == 3


def test_a_disk_that_is_not_there_keeps_the_run_to_be_undone(tmp_path: Path) -> None:
    disk, here = tmp_path / "disk", tmp_path / "here"
    disk.mkdir()
    here.mkdir()
    write(photo(here), word="earlier")
    write(photo(disk), photo(here, "b.jpg"))
    disk.rename(tmp_path / "unplugged")
    for _ in range(2):
        done = tagprism("undo")
        assert done.returncode == 6 and b"is its disk connected" in done.stderr and b"1 to go" in done.stderr
    assert (here / "photo.jpg.xmp").exists() and not (here / "b.jpg.xmp").exists()
    assert b"undone in part, 1 to go" in tagprism("undo", "--list", environment={"COLUMNS": "200"}).stdout
    (tmp_path / "unplugged").rename(disk)
    done = tagprism("undo")
    assert done.returncode == 0 and b"1 new sidecar removed" in done.stderr
    assert not (disk / "photo.jpg.xmp").exists() and (here / "photo.jpg.xmp").exists()
    assert tagprism("undo").returncode == 0 and not (here / "photo.jpg.xmp").exists()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    disk = tmp_path / "usb"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run(["umount", disk], capture_output=True, check=False)


def test_photos_at_the_root_of_a_disk_that_is_not_mounted(mounted: Path) -> None:
    write(photo(mounted))
    kept = mounted.with_name("kept")
    kept.mkdir()
    subprocess.run(["mount", "--move", mounted, kept], check=True)
    try:
        done = tagprism("undo")
        assert done.returncode == 6 and b"is its disk connected" in done.stderr
    finally:
        subprocess.run(["mount", "--move", kept, mounted], check=True)
    assert tagprism("undo").returncode == 0
    assert sorted(os.listdir(mounted)) == ["photo.jpg"]  # noqa: PTH208


def test_a_file_that_may_not_be_changed_keeps_the_run_to_be_undone(mounted: Path, tmp_path: Path) -> None:
    write(photo(tmp_path), word="earlier")
    write(photo(mounted))
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    done = tagprism("undo")
    assert done.returncode == 6 and b"Read-only file system" in done.stderr
    subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
    assert tagprism("undo").returncode == 0 and not (mounted / "photo.jpg.xmp").exists()
    assert (tmp_path / "photo.jpg.xmp").exists()


def test_an_immutable_sidecar_keeps_the_run_to_be_undone(tmp_path: Path) -> None:
    one, other = photo(tmp_path, "a.jpg"), photo(tmp_path, "b.jpg")
    write(one, other)
    sidecar = tmp_path / "a.jpg.xmp"
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+i", sidecar], check=False).returncode:
        pytest.skip("files cannot be made immutable here")
    try:
        done = tagprism("undo")
        assert done.returncode == 6 and b"1 new sidecar removed, 1 to go" in done.stderr
    finally:
        subprocess.run(["chattr", "-i", sidecar], check=True)
    assert recorded_runs()[0].waiting == 1
    assert undo().restored == 1 and not sidecar.exists()


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_writing_into_photos_is_killed_and_one_undo_gives_every_byte_back(tmp_path: Path, state: Path) -> None:
    photos = [photo(tmp_path, f"{number:02}.jpg") for number in range(40)]
    before = {path.name: path.read_bytes() for path in photos}
    tags = [{"label": "beach", "score": 1.0, "probability": 0.9, "vector": 0}]
    rows = state / "tags.jsonl"
    rows.write_text("".join(json.dumps({"path": str(path), "tags": tags}) + "\n" for path in photos))
    command = [sys.executable, "-m", "tagprism", "keywords", "write", "--from", rows, "--embed", "-q"]
    for written in (1, 18):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and sum(p.read_bytes() != before[p.name] for p in photos) < written:
                time.sleep(0.002)
            process.kill()
    assert tagprism("keywords", "write", "--from", str(rows), "--embed").returncode == 0
    assert all(path.read_bytes() != before[path.name] for path in photos)
    assert len(recorded_runs()) == 1 and undo().left == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_was_changed_since_is_left_alone_for_good(tmp_path: Path) -> None:
    """It is no refusal: nobody may put it back, and the run before comes next."""
    write(photo(tmp_path, "a.jpg"), word="earlier")
    write(photo(tmp_path, "b.jpg"))
    (tmp_path / "b.jpg.xmp").write_text("edited")
    assert tagprism("undo").returncode == 4
    assert tagprism("undo").returncode == 0 and not (tmp_path / "a.jpg.xmp").exists()
