"""Photos as people have them, through the command line: kinds, dates, filters, and lists without an end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from tests.app.conftest import Cli
from tests.images.made import dng, encoded, smooth
from tests.small_world import World


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A JPEG with its raw, a JPEG without its end, a picture dated by its name, and what is not read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model], exif[ExifTags.Base.Rating] = "NIKON", "NIKON D90", 4
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:06:07 08:09:10+0200"
    data = encoded(smooth(), "JPEG", exif=exif)
    (folder / "pair.jpg").write_bytes(data)
    (folder / "pair.dng").write_bytes(dng(encoded(smooth(300, 200), "JPEG")))
    (folder / "cut.jpg").write_bytes(data[:-2])
    (folder / "IMG_20190504_065057.png").write_bytes(encoded(smooth(), "PNG"))
    for name in ("film.mp4", "pair.mov", "drawing.svg"):
        (folder / name).touch()
    return folder


def test_tag_index_and_keywords_say_once_what_is_not_read(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    line = "Not read, as they are of other kinds: 1 SVG, 1 video."
    where = tmp_path / "index"
    for command in (
        ("tag", photos, "-m", world.run, "--format", "jsonl"),
        ("index", photos, "--into", where, "-m", world.run),
        ("keywords", "write", photos, "-m", world.run, "--top-k", 1, "--dry-run"),
    ):
        done = cli(*command)
        assert done.code == 0 and done.err.count(line) == 1, command[0]
        assert line not in cli(*command, "--quiet").err
    rows = [json.loads(row) for row in cli("tag", photos, "-m", world.run, "--format", "jsonl").out.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["IMG_20190504_065057.png", "cut.jpg", "pair.jpg"]


def test_a_photo_without_its_end_is_read_with_a_remark(cli: Cli, world: World, photos: Path) -> None:
    done = cli("tag", photos, "-m", world.run, "--format", "jsonl")
    assert done.code == 0 and "cut.jpg, though the file ends early" in done.err


def test_filters_find_what_the_files_say(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where = tmp_path / "index"
    assert cli("index", photos, "--into", where, "-m", world.run, "--quiet").code == 0

    def found(query: str) -> list[str]:
        rows = map(json.loads, cli("search", where, query, "--format", "jsonl").out.splitlines())
        return sorted(Path(row["path"]).stem for row in rows)

    assert found("taken:2019") == found("type:png") == ["IMG_20190504_065057"]
    assert found("taken:2019-05..2020") == ["IMG_20190504_065057", "cut", "pair"]
    assert found("camera:nikon rating:3..") == found("NOT taken:2019") == ["cut", "pair"]
    assert found("gps:-90,-180..90,180") == []
    (row,) = map(json.loads, cli("search", where, "path:pair", "--format", "jsonl").out.splitlines())
    assert (row["taken"], row["taken_from"]) == ("2020-06-07T08:09:10", "EXIF:DateTimeOriginal")
    assert (row["camera"], row["rating"], row["type"], row["gps"]) == ("NIKON D90", 4, "jpeg", None)
    cli("search", where, "rating:9").refused("no value of rating:", "rating:3..")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev/zero")
def test_a_list_without_an_end_is_an_error(cli: Cli, world: World, photos: Path) -> None:
    cli("tag", photos, "-m", world.run, "--labels", "/dev/zero").refused(
        "/dev/zero", "no end", "the file that was meant"
    )
