"""`tagprism search`: what it prints, its gallery, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tagprism.app.commands.search import _misspelt
from tagprism.bundle.record import Records
from tagprism.errors import MachineError, PictureError
from tagprism.files import digest_file
from tagprism.labels.vocabulary import Vocabulary
from tagprism.search.collection import open_index
from tagprism.search.contract import Picture
from tagprism.search.create import create_collection
from tagprism.search.marks import open_marks
from tests.app.conftest import Cli
from tests.command_line import python, tagprism
from tests.small_world import World

ODD = "<b>&\"'\x1b[31m\n.png"


@pytest.fixture(scope="module")
def index(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Sixteen pictures of the world, one of an odd name, one that is gone and one that is damaged."""
    folder = tmp_path_factory.mktemp("searched")
    for path in world.pictures()[:16]:
        shutil.copy(path, folder / path.name)
    shutil.copy(world.pictures()[3], folder / ODD)
    shutil.copy(world.pictures()[3], os.fsencode(folder) + b"/\xff.png")
    shutil.copy(world.pictures()[0], folder / "gone.png")
    shutil.copy(world.pictures()[1], folder / "damaged.png")
    (folder / "index").mkdir()
    collection = create_collection(str(folder / "index"), str(world.run))
    paths = sorted(path for path in folder.glob("*.png"))
    pictures, records = [], []
    for place, outcome, digest in collection.tagger.records(paths):
        assert not isinstance(outcome, PictureError)
        taken, tags = f"2024-07-{1 + place:02}T10:00:00", (("red", None),)
        pictures.append(Picture(place + 1, str(paths[place]), 1, 1, digest, 96, 72, taken, tags))
        records.append(outcome)
    collection.index.add(pictures, Records.joined(records))
    collection.close()
    (folder / "gone.png").unlink()
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    yield folder / "index"
    shutil.rmtree(folder)


def test_neighbours_change_what_a_picture_matches(cli: Cli, index: Path) -> None:
    def rows(*options: object) -> list[dict[str, float]]:
        done = cli("search", index, "red AND circle", "--format", "jsonl", *options)
        assert done.code == 0
        return [json.loads(line) for line in done.out.splitlines()]

    alone, averaged = rows(), rows("--neighbours", 5)
    assert {row["path"] for row in alone} == {row["path"] for row in averaged} and alone != averaged
    assert [row["score"] for row in averaged] == sorted((row["score"] for row in averaged), reverse=True)
    assert rows("--neighbours", 0) == alone


def test_jsonl_has_a_row_a_picture_from_best_to_worst(cli: Cli, index: Path) -> None:
    done = cli("search", index, "red AND circle", "--format", "jsonl", "-n", 5)
    assert (done.code, done.err) == (0, "")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 5 and [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    for row in rows:
        assert list(row) == ["path", "score", "labels", "taken", "width", "height", "tags"]
        assert [label["label"] for label in row["labels"]] == ["red", "circle"]
        assert list(row["labels"][0]) == ["label", "match", "score", "probability"]
        assert row["tags"] == [{"label": "red", "probability": None}] and row["taken"].startswith("2024-07-")


def test_any_bytes_of_a_name_survive(cli: Cli, index: Path) -> None:
    done = cli("search", index, "red", "--format", "jsonl", "-n", 50)
    paths = {os.fsencode(json.loads(line)["path"]) for line in done.out.splitlines()}
    assert os.fsencode(index.parent) + b"/\xff.png" in paths and os.fsencode(index.parent / ODD) in paths
    assert done.out.isascii() and len(paths) == 20


def test_the_table_has_a_line_a_picture(cli: Cli, index: Path) -> None:
    done = cli("search", index, "red NOT circle", "-n", 30)
    header, *lines = done.out.splitlines()
    assert header.split() == ["match", "picture"] and len(lines) == 20 and "\x1b" not in done.out
    assert all(re.fullmatch(r"\S+ +/.+png  red \S+  circle \S+", line) for line in lines)


def test_nothing_found_is_said_and_is_no_error(cli: Cli, index: Path) -> None:
    for format in ("table", "jsonl"):
        done = cli("search", index, "red taken:1999", "--format", format)
        assert (done.code, done.out, done.err) == (0, "", "no picture matches.\n")
    assert cli("search", index, "red taken:1999", "--quiet").err == ""


def test_the_gallery_holds_everything_and_escapes_names(cli: Cli, index: Path, tmp_path: Path) -> None:
    page = tmp_path / "gallery.html"
    done = cli("search", index, 'red OR "<i>circle</i>"', "-n", 30, "--out", page)
    assert (done.code, done.out) == (2, "")  # no vector for it; so with words that have one
    done = cli("search", index, "red OR path:<i>", "-n", 30, "--out", page)
    assert (done.code, done.out, done.err) == (0, "", f"20 pictures: {page}\n")
    html = page.read_text()
    assert "<h1>red OR path:&#34;&lt;i&gt;&#34;</h1>" in html
    assert html.count('<img src="data:image/jpeg;base64,') == 18 and html.count('href="file:///') == 18
    assert "There is no such file." in html and html.count('class="frame gone"') == 2
    assert '<b>&"' not in html and "\x1b" not in html and "&lt;b&gt;&amp;&#34;&#39;\\x1b[31m\\n.png" in html
    assert "<script" not in html and "http:" not in html and "https:" not in html
    assert cli("search", index, "red OR path:<i>", "-n", 30, "--format", "html").out == html
    assert "No picture matches." in cli("search", index, "taken:1999", "--format", "html").out


def test_a_picture_is_a_query(cli: Cli, index: Path, world: World) -> None:
    shown = world.pictures()[2]
    done = cli("search", index, "--like", shown, "--format", "jsonl", "-n", 30)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 20 and rows[0]["labels"] == []
    both = cli("search", index, "circle", "--like", shown, "--format", "jsonl", "-n", 30)
    assert all(row["labels"][0]["label"] == "circle" for row in map(json.loads, both.out.splitlines()))
    inside = rows[0]["path"]
    again = cli("search", index, "--like", inside, "--format", "jsonl", "-n", 30)
    assert len(again.out.splitlines()) == 19
    gone = cli("search", index, "--like", index.parent / "gone.png", "--format", "jsonl", "-n", 30)
    assert len(gone.out.splitlines()) == 19  # known to the index though not on the disk any more
    cli("search", index, "--like", "nowhere.png").refused("nowhere.png", "neither a file nor a picture of the index")
    cli("search", index, "--like", index.parent / "damaged.png").refused("damaged.png", "another picture")


def test_marks_beside_the_index_count(cli: Cli, index: Path) -> None:
    rows = [json.loads(line) for line in cli("search", index, "red", "--format", "jsonl", "-n", 30).out.splitlines()]
    path = Path(rows[0]["path"])
    marks = open_marks(str(index))
    marks.put(digest_file(path), "red", False)
    marks.close()
    left = cli("search", index, "red", "--format", "jsonl", "-n", 30).out
    assert json.dumps(str(path)) not in left and len(left.splitlines()) < 20
    (index / "marks.sqlite").unlink()


def test_a_folder_is_indexed_searched_and_marked(cli: Cli, world: World, tmp_path: Path) -> None:
    photos, into = tmp_path / "photos", tmp_path / "index"
    photos.mkdir()
    for path in world.pictures()[:6]:
        shutil.copy(path, photos)
    shutil.copy(world.pictures()[0], photos / "copy.png")
    assert cli("index", photos, "--into", into, "--model", world.run, "--quiet").code == 0
    found = [json.loads(line) for line in cli("search", into, "red", "--format", "jsonl").out.splitlines()]
    assert len(found) == 7
    marks = open_marks(str(into))
    marks.put(digest_file(photos / "copy.png"), "red", True)  # and so its other copy
    marks.put(digest_file(photos / world.pictures()[1].name), "red", False)
    marks.close()
    marked = [json.loads(line) for line in cli("search", into, "RED", "--format", "jsonl").out.splitlines()]
    assert {Path(row["path"]).name for row in marked[:2]} == {"copy.png", world.pictures()[0].name}
    assert [row["score"] for row in marked[:2]] == [1, 1] and len(marked) == 6
    like = cli("search", into, "--like", photos / "copy.png", "-n", 1, "--format", "jsonl").out
    assert Path(json.loads(like)["path"]).name in {path.name for path in world.pictures()[:6]}


def test_what_cannot_be_used_is_refused(cli: Cli, index: Path, tmp_path: Path) -> None:
    cli("search", index, "red AND (circle").refused(
        "query, column 9", "  red AND (circle\n          ^", "Close the group"
    )
    cli("search", index, "").refused("the query is empty")
    cli("search", index).refused("neither a query nor a picture")
    cli("search", index, "red NOT yelow").refused("no encoder knows `yelow`", "nearest known: yellow")
    cli("search", tmp_path, "red").refused("is not an index")
    cli("search", index, "red", "--out", tmp_path / "x.txt", "--format", "table").refused("--out")
    assert cli("search", index, "red", "-n", 0).code == 2


def test_another_model_is_exit_code_5(cli: Cli, index: Path) -> None:
    done = cli("search", index, "red", "--model", "photos-lite")
    assert done.code == 5 and "another model" in done.err and done.out == ""


def test_operators_in_small_letters_are_asked_about(cli: Cli, index: Path) -> None:
    done = cli("search", index, "yellow and star", "-n", 1)
    assert done.code == 0 and "`yellow and star` was taken as one tag; write AND in capitals" in done.err
    assert "capitals" not in cli("search", index, "yellow star", "-n", 1).err


def test_a_word_that_is_nearly_one_of_the_vocabulary_is_asked_about(cli: Cli, index: Path) -> None:
    words = Vocabulary(("butterfly", "red"), np.eye(2, dtype=np.float32), ("seen", "seen"))
    assert [_misspelt(label, words) for label in ("buterfly", "Butterfli")] == ["butterfly"] * 2
    assert [_misspelt(label, words) for label in ("Butterflies", "butter", "reds", "rd")] == [None] * 4
    done = cli("search", index, "stars", "-n", 1)  # has a vector, as `star` has
    assert done.code == 0 and done.err == ""


@pytest.mark.slow
def test_the_command_line_needs_no_torch(index: Path) -> None:
    code = (
        "import sys; from tagprism.app.cli import app\n"
        f"app(['search', {str(index)!r}, 'red OR NOT circle'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    whole = tagprism("search", index, "red", "-n", "2", "--format", "jsonl")
    assert (whole.returncode, whole.stderr) == (0, b"") and len(whole.stdout.splitlines()) == 2


@pytest.fixture
def read_only(index: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the index in a folder where nothing can be written, also not by root."""
    shutil.copytree(index, tmp_path / "written" / "index")
    (place := tmp_path / "read").mkdir()
    if os.geteuid() == 0:
        mounted = subprocess.run(["mount", "--bind", tmp_path / "written", place], capture_output=True)
        if mounted.returncode:
            pytest.skip("no folder may be mounted here")
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        yield place / "index"
        subprocess.run(["umount", place], check=True)
    else:
        shutil.copytree(tmp_path / "written", place, dirs_exist_ok=True)
        for path in (place, *place.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield place / "index"
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs permissions as POSIX has them")
def test_an_index_that_can_only_be_read_is_searched(
    cli: Cli, index: Path, read_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = sorted(path.name for path in read_only.iterdir())
    command = ("red AND circle", "--format", "jsonl")
    expected, other = cli("search", index, *command), open_index(str(read_only))
    done = cli("search", read_only, *command)  # beside another one that has it open
    assert (done.code, done.err, done.out) == (0, "", expected.out) and done.out
    with pytest.raises(MachineError, match="read-only"):
        other.index.remove([1])
    other.close()
    assert sorted(path.name for path in read_only.iterdir()) == before and not list(temporary.iterdir())
    cli("index", "--into", read_only, "--quiet").refused("cannot write", code=6)


def test_a_search_makes_no_file_for_marks(cli: Cli, index: Path, tmp_path: Path) -> None:
    shutil.copytree(index, tmp_path / "index")
    (tmp_path / "index" / "marks.sqlite").unlink(missing_ok=True)
    assert cli("search", tmp_path / "index", "red").code == 0
    assert not list((tmp_path / "index").glob("marks*"))
