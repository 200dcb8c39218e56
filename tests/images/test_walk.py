"""Finding pictures: order, links, loops, hidden and unreadable things."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from tagprism.errors import NothingToDoError
from tagprism.images import formats, walk
from tagprism.images.formats import picture_extensions
from tagprism.images.picture_list import PictureList, expand_pattern
from tagprism.images.walk import WalkReport, each_picture, find_pictures


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def below(root: Path, found: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found]


def test_folders_are_read_in_order_and_only_pictures_taken(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/2.jpg", "b/10.JPG", "a.png", "c.txt", "B.gif", "b/deep/er/x.webp", "é.tiff", "movie.mpg", "x.eps"
    )
    assert below(tmp_path, find_pictures([tmp_path])) == [
        *("B.gif", "a.png", "b/10.JPG", "b/2.jpg", "b/deep/er/x.webp", "é.tiff"),
    ]


def test_named_files_are_taken_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "no_extension", "b.jpg")
    names = [tmp_path / "b.jpg", tmp_path / "no_extension", tmp_path / "missing.jpg", tmp_path / "missing.jpg"]
    assert find_pictures(names) == names[:3]
    assert find_pictures([str(tmp_path / "b.jpg"), tmp_path]) == [tmp_path / "b.jpg"]


def test_hidden_entries_are_left_out_unless_named(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.jpg", ".thumbnails/a.jpg", "._b.jpg", "c.jpg")
    assert below(tmp_path, find_pictures([tmp_path])) == ["c.jpg"]
    assert below(tmp_path, find_pictures([tmp_path / ".thumbnails", tmp_path / ".hidden.jpg"])) == [
        ".thumbnails/a.jpg",
        ".hidden.jpg",
    ]


def test_each_real_file_comes_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "b" / "again.jpg").symlink_to(tmp_path / "a" / "x.jpg")
    (tmp_path / "c").symlink_to(tmp_path / "a", target_is_directory=True)
    assert below(tmp_path, find_pictures([tmp_path])) == ["a/x.jpg", "b/y.jpg"]
    assert below(tmp_path, find_pictures([tmp_path / "b", tmp_path / "a"])) == ["b/again.jpg", "b/y.jpg"]
    assert below(tmp_path, find_pictures([tmp_path / "c"])) == ["c/x.jpg"]


def test_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    found = below(tmp_path, find_pictures([tmp_path]))
    assert found == ["a/x.jpg", "itself.jpg"]


def test_broken_links_and_pipes_are_listed_so_that_they_are_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    assert below(tmp_path, find_pictures([tmp_path])) == ["broken.jpg", "pipe.png"]


def test_folder_that_cannot_be_listed_is_reported_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "shut/x.jpg", "z.jpg")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    assert below(tmp_path, find_pictures([tmp_path])) == ["shut", "z.jpg"]


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.jpg")
    try:
        touch(tmp_path, name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert below(tmp_path, find_pictures([tmp_path])) == [name]


def test_extensions_are_those_of_pictures() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".mpo", ".avif"} <= picture_extensions()
    assert not {".eps", ".mpg", ".pdf", ".h5", ".txt"} & picture_extensions()


def test_deep_trees_do_not_recurse(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(300):
        path = path / "d"
    path.mkdir(parents=True)
    (path / "x.jpg").touch()
    assert find_pictures([tmp_path]) == [path / "x.jpg"]


def test_a_link_to_what_its_folder_gives_is_left_out_whichever_comes_first(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", ".hidden.jpg", "notes.txt")
    for name, target in {"a.jpg": "b.jpg", "c.jpg": "b.jpg", "h.jpg": ".hidden.jpg", "n.jpg": "notes.txt"}.items():
        (tmp_path / name).symlink_to(target)
    assert below(tmp_path, find_pictures([tmp_path])) == ["b.jpg", "h.jpg", "n.jpg"]
    named = [tmp_path / "c.jpg", tmp_path, tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / ".hidden.jpg"]
    assert below(tmp_path, find_pictures(named)) == ["c.jpg", "h.jpg", "n.jpg"]


def test_photos_are_listed_also_where_nothing_reads_them(tmp_path: Path) -> None:
    touch(tmp_path, "a.heic", "b.HIF", "c.avif", "drawing.svg")
    assert below(tmp_path, find_pictures([tmp_path])) == ["a.heic", "b.HIF", "c.avif"]


def test_patterns_stand_for_what_fits_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "b/2.jpg", "b/c/1.png", "a.jpg", "notes.txt", "[x].jpg", "x.jpg", "photo.jpg/in.png")
    monkeypatch.chdir(tmp_path)
    assert expand_pattern("*.jpg") == ["[x].jpg", "a.jpg", "photo.jpg", "x.jpg"]
    assert expand_pattern("b/?.jpg") == ["b/2.jpg"]
    assert expand_pattern("**") == ["[x].jpg", "a.jpg", "b/2.jpg", "b/c/1.png", "photo.jpg/in.png", "x.jpg"]
    assert expand_pattern("**/*.png") == ["b/c/1.png", "photo.jpg/in.png"]
    assert expand_pattern("[x].jpg") == ["[x].jpg"]  # it is there
    assert expand_pattern("[a].jpg") == ["a.jpg"]
    assert expand_pattern("no*ne") == ["no*ne"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    """Of 200 folders of 250 pictures: some bytes a picture at most, far less than the paths themselves."""
    for folder in range(200):
        touch(tmp_path, *(f"{folder:03}/{number}.jpg" for number in range(250)))
    list(each_picture([tmp_path / "000"]))  # caches
    tracemalloc.start()
    try:
        assert sum(1 for _ in each_picture([tmp_path])) == 50_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("reads", [True, False])
def test_a_raw_and_its_jpeg_are_one_picture_and_the_film_of_a_live_photo_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    pytest.importorskip("rawpy")
    touch(tmp_path, "a.CR2", "a.JPG", "b.nef", "c.heic", "c.mov", "C/c.dng", "C/c.HEIC", "d.mp4", "e.dng", "e.png")
    touch(tmp_path, "f.jxl", "notes.txt", "a.CR2.xmp")
    endings = formats.picture_extensions() - {".jxl"} - (frozenset() if reads else formats.RAW_ENDINGS)
    for module in (walk, formats):
        monkeypatch.setattr(module, "picture_extensions", lambda: endings)
    passed: list[tuple[str, str]] = []
    report = WalkReport(lambda path, kind: passed.append((Path(path).name, kind)))
    found = below(tmp_path, find_pictures([tmp_path], report=report))
    raws = ["b.nef", "e.dng"]
    assert found == sorted(["C/c.HEIC", "a.JPG", "c.heic", "e.png", *(raws if reads else [])], key=os.fsencode)
    missed = {"d.mp4": "video", "f.jxl": "JPEG XL", **({} if reads else dict.fromkeys(raws, "camera raw"))}
    assert dict(passed) == missed and len(passed) == len(missed)
    assert below(tmp_path, find_pictures([tmp_path / "a.CR2"])) == ["a.CR2"]  # what is named is taken
    said = formats.say_not_read(Counter(missed.values()))
    assert ("2 camera raw (pip install rawpy)" in said) is not reads
    assert "1 JPEG XL (pip install pylibjxl), 1 video." in said and formats.say_not_read({}) == ""


def test_a_folder_of_nothing_that_is_read_says_what_is_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    with pytest.raises(NothingToDoError, match=r"there are no pictures\. Not read.*: 2 video\."):
        PictureList([str(tmp_path)])
