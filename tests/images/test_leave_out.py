"""What walks leave out: folders of programs, hidden entries, patterns; each counted."""

from __future__ import annotations

import os
import subprocess
import unicodedata
from pathlib import Path

import pytest

from tagprism.errors import InputError
from tagprism.images import walk
from tagprism.images.walk import WalkReport, each_picture, find_pictures
from tagprism.images.walk_paths import pictures_at
from tests.images.test_walk import below, touch


def found(root: Path, *exclude: str, report: WalkReport | None = None) -> list[str]:
    return below(root, find_pictures([root], exclude=exclude, report=report))


def test_what_programs_keep_beside_photos_is_report_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "@eadir/x.jpg", "#recycle/x.jpg", ".trash/x.jpg")
    touch(tmp_path, "$RECYCLE.BIN/x.jpg", "Mine.photoslibrary/originals/x.jpg", "c/.thumbnails/x.jpg", "b/._a.jpg")
    touch(tmp_path, ".notes", "eaDir/b.jpg")
    report = WalkReport()
    assert found(tmp_path, report=report) == ["a.jpg", "eaDir/b.jpg"]
    names = ("@eaDir", "@eadir", "#recycle", ".trash", "$RECYCLE.BIN", "*.photoslibrary", ".thumbnails")
    assert report.folders == dict.fromkeys(names, 1) and report.pictures == {"hidden": 1}
    assert "1 folder #recycle" in str(report) and "1 picture hidden" in str(report)
    assert "2 folders of other names" in str(report) and str(WalkReport()) == ""
    for named in ("#recycle", "Mine.photoslibrary", ".trash"):  # who names it wants it
        assert len(find_pictures([tmp_path / named])) == 1


def test_patterns_hold_where_they_are_written(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "exports/b.jpg", "deep/exports/c.jpg")
    touch(tmp_path, "deep/d.png", "deep/keep.png", "deep/e.jpg")
    (tmp_path / ".tagprismignore").write_text("# ours\n*.png\n/exports/\n\n")
    (tmp_path / "deep/.tagprismignore").write_bytes("\ufeff!keep.png\r\ne.*\r\n".encode())
    report = WalkReport()
    assert found(tmp_path, report=report) == ["a.jpg", "deep/exports/c.jpg", "deep/keep.png"]
    assert report.folders == {"by patterns": 1} and report.pictures == {"by patterns": 3}
    assert found(tmp_path, "deep/", "!a.png") == ["a.jpg", "a.png"]  # what the command line says goes before
    assert found(tmp_path / "exports") == ["b.jpg"]
    assert below(tmp_path, find_pictures([tmp_path / "a.jpg", tmp_path / "a.png"], exclude=["*.png"])) == ["a.jpg"]


def test_defaults_can_be_taken_back(tmp_path: Path) -> None:
    touch(tmp_path, "@eaDir/a.jpg", ".hidden/b.jpg", ".c.jpg")
    (tmp_path / ".tagprismignore").write_text("!@eaDir/\n!.c.jpg\n")
    assert found(tmp_path) == [".c.jpg", "@eaDir/a.jpg"]


def test_a_pattern_fits_a_name_in_either_form_of_unicode(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFD", "Café/a.jpg"), unicodedata.normalize("NFC", "é.jpg"))
    assert found(tmp_path, unicodedata.normalize("NFC", "Café/"), unicodedata.normalize("NFD", "é.jpg")) == []


def test_what_is_no_pattern_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(InputError, match=r"--exclude: `a\\` is no pattern"):
        found(tmp_path, "a\\")
    (tmp_path / ".tagprismignore").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"\.tagprismignore: cannot be read .*UTF-8"):
        found(tmp_path)


def test_one_place_is_looked_at_as_the_whole_walk_does(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c.jpg", "a/b/d.png", "a/@eaDir/e.jpg", "a/.h/f.jpg", "no/g.jpg", "a/notes.txt", "h.jpg")
    (tmp_path / "a/.tagprismignore").write_text("*.png\n")
    whole = set(each_picture([tmp_path], exclude=["no/"]))
    places = [str(path) for path in (tmp_path, *tmp_path.rglob("*"))]
    for place in places:
        some = set(pictures_at([(str(tmp_path), place)], exclude=["no/"]))
        assert some == {path for path in whole if path == place or path.startswith(place + os.sep)}, place
    (tmp_path / "h.JPG").touch(), (tmp_path / "h.jpg.d").mkdir(), (tmp_path / "hh.jpg").touch()
    gone = str(tmp_path / "h.tif")
    assert set(pictures_at([(str(tmp_path), gone)])) == {str(tmp_path / "h.jpg"), str(tmp_path / "h.JPG")}


def test_a_folder_is_one_however_it_is_reached(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "link").symlink_to("real")
    assert len(find_pictures([tmp_path / "link", tmp_path / "real", tmp_path / "real/../real"])) == 1
    assert list(each_picture([tmp_path], without=[str(tmp_path / "link")])) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_folder_that_is_mounted_twice_comes_once(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg", "twice/.keep")
    if subprocess.run(["mount", "--bind", tmp_path / "real", tmp_path / "twice"], capture_output=True).returncode:
        pytest.skip("no folder may be mounted here")
    try:
        assert found(tmp_path) == ["real/a.jpg"]
        assert len(find_pictures([tmp_path / "twice/a.jpg", tmp_path / "real"])) == 1
    finally:
        subprocess.run(["umount", tmp_path / "twice"], check=True)


def test_pictures_without_an_ending_are_counted_and_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = (Path(__file__).parents[1] / "photos/chelsea.jpg").read_bytes()
    for name, data in {"IMG_1": picture, "b/webp": b"RIFF....WEBPVP8 ", "Makefile": b"all:\n", "empty": b""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "IMG_2.jpg").write_bytes(picture)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")  # which would be waited for
    report = WalkReport()
    assert find_pictures([tmp_path], report=report) == [tmp_path / "IMG_2.jpg"]
    assert str(report).startswith("2 pictures without an ending such as .jpg (add one, or name such files")
    assert find_pictures([tmp_path / "IMG_1"]) == [tmp_path / "IMG_1"]

    monkeypatch.setattr(walk, "_MOST_OPENED", 0)  # a folder of many other files is not read through
    report = WalkReport()
    assert find_pictures([tmp_path], report=report) and str(report) == ""
