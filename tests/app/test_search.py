"""`tagprism search`: what it prints, its gallery, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tagprism.bundle.record import Records
from tagprism.errors import MachineError, PictureError
from tagprism.files import digest_file
from tagprism.search.collection import open_index
from tagprism.search.contract import Picture
from tagprism.search.create import create_collection
from tagprism.search.marks import open_marks
from tagprism.search.output import OWN
from tests.app.conftest import Cli
from tests.command_line import python, tagprism
from tests.keywords.sidecars import DARKTABLE
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


def test_more_pictures_are_named_where_there_are_some(cli: Cli, index: Path) -> None:
    shown = index.parent / "gone.png"
    assert "these are the first 2, and there may be more: -n" in cli("search", index, "--like", shown, "-n", 2).err
    assert "this is the first, and there may be more: -n" in cli("search", index, "taken:2024", "-n", 1).err
    assert "-n shows more" not in cli("search", index, "taken:2024", "-n", 20).err  # which are all


def test_jsonl_has_a_row_a_picture_from_best_to_worst(cli: Cli, index: Path) -> None:
    done = cli("search", index, "red AND circle", "--format", "jsonl", "-n", 5)
    assert (done.code, done.err) == (0, "")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 5 and [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    for row in rows:
        assert list(row) == [
            *("path", "score", "likely", "labels", "taken", "taken_from", "camera", "rating", "type", "gps"),
            *("width", "height", "own", "tags"),
        ]
        assert [label["label"] for label in row["labels"]] == ["red", "circle"]
        assert list(row["labels"][0]) == ["label", "match", "score", "probability"]
        assert row["tags"] == [{"label": "red", "probability": None}] and row["taken"].startswith("2024-07-")


def test_any_bytes_of_a_name_survive(cli: Cli, index: Path) -> None:
    done = cli("search", index, "red", "--format", "jsonl", "-n", 50)
    paths = {os.fsencode(json.loads(line)["path"]) for line in done.out.splitlines()}
    assert os.fsencode(index.parent) + b"/\xff.png" in paths and os.fsencode(index.parent / ODD) in paths
    assert done.out.isascii() and len(paths) == 20


def test_the_table_has_a_line_a_picture(cli: Cli, index: Path) -> None:
    done = cli("search", index, "red NOT circle", "-n", 30, "--all")
    header, *lines = done.out.splitlines()
    assert header.split() == ["match", "picture"] and len(lines) == 21 and "\x1b" not in done.out
    (line,) = (line for line in lines if line.startswith("──"))
    lines.remove(line)
    assert all(re.fullmatch(r"\S+ +/.+png  red \S+  circle \S+", line) for line in lines)


def test_nothing_found_is_said_and_is_no_error(cli: Cli, index: Path) -> None:
    for format in ("table", "jsonl"):
        done = cli("search", index, "red taken:1999", "--format", format)
        assert (done.code, done.out, done.err) == (0, "", "no picture matches.\n")
    assert cli("search", index, "red taken:1999", "--quiet").err == ""


def test_none_likely_is_said_where_no_row_says_so(
    cli: Cli, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    query, all_of = "red NOT red", "no picture is likely: --all gives the nearest.\n"
    for format in ("paths", "html", "album", "coco", "label-studio"):
        done = cli("search", index, query, "--format", format)
        assert done.code == 0 and done.err.startswith(all_of), format
        assert "likely" not in cli("search", index, query, "--format", format, "--all", "--out", "all").err
    assert cli("search", index, query, "--format", "paths", "--quiet").err == ""
    assert "likely" not in cli("search", index, query, "--format", "jsonl").err  # its rows say so
    for option in ("--copy-to", "--link-to"):
        done = cli("search", index, query, option, option[2:])
        assert "no picture is likely" in done.err and "none is likely" in done.out


def test_the_gallery_holds_everything_and_escapes_names(cli: Cli, index: Path, tmp_path: Path) -> None:
    page = tmp_path / "gallery.html"
    done = cli("search", index, 'red OR "<i>circle</i>"', "-n", 30, "--out", page)
    assert (done.code, done.out) == (2, "")  # no vector for it; so with words that have one
    done = cli("search", index, "red OR path:<i>", "-n", 30, "--all", "--out", page)
    assert (done.code, done.out, done.err) == (0, "", f"20 pictures: {page}\n")
    html = page.read_text()
    assert "<h1>red OR path:&#34;&lt;i&gt;&#34;</h1>" in html
    assert html.count('<img src="data:image/jpeg;base64,') == 18 and html.count('href="file:///') == 18
    assert "There is no such file." in html and html.count('class="frame gone"') == 2
    assert '<b>&"' not in html and "\x1b" not in html and "&lt;b&gt;&amp;&#34;&#39;\\x1b[31m\\n.png" in html
    assert "<script" not in html and "http:" not in html and "https:" not in html
    assert cli("search", index, "red OR path:<i>", "-n", 30, "--all", "--format", "html").out == html
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
    cli("search", index, "red", "--model", "nosuch").refused("no model `nosuch`", "packaged: photos-lite", "hf-hub:")
    done = cli("search", index, "red", "--model", "photos-lite")
    assert done.code == 5 and "another model" in done.err and done.out == ""


def test_operators_in_small_letters_are_asked_about(cli: Cli, index: Path) -> None:
    done = cli("search", index, "yellow and star", "-n", 1)
    assert done.code == 0 and "`yellow and star` was taken as one tag; write AND in capitals" in done.err
    assert "capitals" not in cli("search", index, "yellow star", "-n", 1).err


def test_a_word_in_another_number_is_known(cli: Cli, index: Path) -> None:
    done = cli("search", index, "stars", "-n", 1)  # has the vector of `star`
    assert done.code == 0 and done.err == ""


@pytest.mark.slow
def test_words_of_the_vocabulary_need_no_torch_and_no_network(index: Path) -> None:
    code = (
        "import sys; from tagprism.app.cli import app\n"
        f"app(['search', {str(index)!r}, 'red OR NOT circle'], standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'onnxruntime', 'PIL', 'tagprism.bundle.foreign.model'} & set(sys.modules)"
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


@pytest.fixture
def some_red(index: Path) -> Iterator[None]:
    """Three pictures of which a person said that they are red."""
    digests = [digest_file(path) for path in sorted(index.parent.glob("blue_*.png"))[:3]]
    marks = open_marks(str(index))
    marks.put(digests, "red", True)
    yield
    marks.put(digests, "red", None)
    marks.close()


def test_likely_pictures_come_before_a_line_and_the_rest_on_request(cli: Cli, index: Path, some_red: None) -> None:
    rows = [json.loads(line) for line in cli("search", index, "red", "--format", "jsonl", "-n", 30).out.splitlines()]
    likely = [row["path"] for row in rows if row["likely"]]
    assert 0 < len(likely) < len(rows) == 20 and likely == [row["path"] for row in rows[: len(likely)]]
    lines = cli("search", index, "red", "-n", 30).out.splitlines()
    assert len(lines) == len(likely) + 2 and lines[-1] == "── more are less likely: --all shows them ──"
    lines = cli("search", index, "red", "-n", 30, "--all").out.splitlines()
    assert len(lines) == 22 and lines[1 + len(likely)] == "── less likely ──"
    assert cli("search", index, "red AND green AND blue").out == "── none is likely: --all shows them ──\n"
    lines = cli("search", index, "red AND green AND blue", "--all").out.splitlines()
    assert lines[1] == "── none is likely; nearest first ──" and len(lines) == 22


@pytest.mark.slow
def test_paths_are_their_very_bytes(index: Path) -> None:
    done = tagprism("search", index, "path:png", "-n", "30", "-0")
    paths = done.stdout.split(b"\0")
    assert done.returncode == 0 and paths.pop() == b"" and len(paths) == 20
    assert os.fsencode(index.parent) + b"/\xff.png" in paths and os.fsencode(index.parent / ODD) in paths
    lines = tagprism("search", index, "path:red_circle", "--format", "paths").stdout.splitlines()
    assert lines and all(Path(os.fsdecode(line)).is_file() for line in lines)
    assert tagprism("search", index, "taken:1999", "-0").stdout == b""


def test_found_pictures_are_copied_and_linked_and_listed(cli: Cli, index: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "red_circle.png").write_bytes(b"mine")
    done = cli("search", index, "path:red_circle", "--copy-to", tmp_path / "to", "--format", "jsonl")
    (row,) = map(json.loads, done.out.splitlines())
    assert done.code == 0 and row["placed"] == str(tmp_path / "to" / "red_circle (2).png")
    assert Path(row["placed"]).read_bytes() == Path(row["path"]).read_bytes()
    assert (tmp_path / "to" / "red_circle.png").read_bytes() == b"mine" and "1 picture copied" in done.err
    again = cli("search", index, "path:red_circle", "--copy-to", tmp_path / "to")
    assert "0 pictures copied" in again.err and "1 were there already" in again.err and "-> " in again.out
    done = cli("search", index, "path:gone.png OR path:red_circle", "--link-to", tmp_path / "links", "--format", "csv")
    assert done.code == 4 and "gone.png" in done.err and "cannot be read" in done.err
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["red_circle.png"]
    cli("search", index, "red", "--link-to", tmp_path, "--copy-to", tmp_path).refused("not both")


def test_duplicates_are_grouped(cli: Cli, index: Path) -> None:
    done = cli("search", index, "--duplicates", "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    groups: dict[int, set[str]] = {}
    for row in rows:
        groups.setdefault(row["group"], set()).add(Path(row["path"]).name)
    assert any({ODD, "\udcff.png"} < names for names in groups.values())  # copies of a third
    assert any("gone.png" in names and len(names) == 2 for names in groups.values())
    assert cli("search", index, "path:nowhere", "--duplicates").out == ""


def test_an_album_is_searched_again(cli: Cli, index: Path, tmp_path: Path) -> None:
    album = tmp_path / "reds.album"
    assert cli("search", index, "red NOT circle", "-n", 3, "--all", "--out", album).code == 0
    saved = json.loads(album.read_text())
    plain = cli("search", index, "red NOT circle", "-n", 3, "--format", "jsonl").out
    first = [json.loads(line)["path"] for line in plain.splitlines()]
    assert saved["query"] == "red AND NOT circle" and saved["pictures"] == first
    again = cli("search", index, "--album", album, "-n", 3, "--format", "jsonl").out
    assert [json.loads(line)["path"] for line in again.splitlines()] == first
    cli("search", index, "--album", tmp_path / "none").refused("cannot be read")


def test_documents_and_csv_say_what_jsonl_says(cli: Cli, index: Path, some_red: None, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in cli("search", index, "red", "--format", "jsonl", "-n", 30).out.splitlines()]
    likely = [row["path"] for row in rows if row["likely"]]
    coco = json.loads(cli("search", index, "red", "--format", "coco", "-n", 30).out)
    assert [image["file_name"] for image in coco["images"]] == likely
    header, *lines = csv.reader(io.StringIO(cli("search", index, "red", "--format", "csv", "-n", 30).out))
    assert header == list(rows[0]) and len(lines) == 20
    assert [line[1:3] for line in lines] == [[f"{row['score']:.4f}", str(row["likely"]).lower()] for row in rows]
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert cli("search", index, "red", "-n", 30, "--out", tmp_path / "reds.parquet").code == 0
    table = parquet.read_table(tmp_path / "reds.parquet").to_pylist()
    assert [row["score"] for row in table] == [row["score"] for row in rows]
    cli("search", index, "red", "--format", "csv", "-0").refused("--null", "--format paths")


@pytest.mark.parametrize("format", [*OWN, "paths", "coco", "fiftyone", "label-studio"])
def test_only_results_of_its_own_are_replaced(cli: Cli, index: Path, world: World, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    out = tmp_path / "out"
    command = ("search", index, "red", "--all", "--format", format, "--out", out)
    by_tag = tmp_path / "by_tag"
    its = format if format in ("csv", "parquet", "coco", "fiftyone", "label-studio") else "jsonl"
    assert cli("tag", *world.pictures()[:2], "-m", world.run, "--format", its, "--out", by_tag).code == 0
    for theirs in (
        world.pictures()[0].read_bytes(),
        b'{"path": "a.jpg", "caption": "mine"}\n',
        b"path,score\na.jpg,1\n",
        by_tag.read_bytes(),
    ):
        out.write_bytes(theirs)
        cli(*command).refused("out: is there already", "name another file")
        assert out.read_bytes() == theirs
    out.write_bytes(b"")  # which holds nothing to lose
    assert cli(*command).code == 0 and out.stat().st_size
    for limit in (1, 3):
        assert cli(*command, "-n", limit).code == (0 if format in OWN else 2)


def test_an_ending_of_no_format_is_refused(cli: Cli, tmp_path: Path) -> None:
    for name in ("g.pdf", "photo.jpg"):
        done = cli("search", tmp_path / "no.index", "red", "--out", tmp_path / name)
        done.refused(f"the ending {Path(name).suffix}", ".html", ".album", "--format")
        assert not (tmp_path / name).exists()


@pytest.mark.slow
def test_what_people_tagged_is_found_from_the_command_line(world: World, tmp_path: Path) -> None:
    with Image.open(world.pictures()[0]) as image:
        (tmp_path / "photos").mkdir()
        image.convert("RGB").save(tmp_path / "photos" / "a.jpg", xmp=DARKTABLE.replace("Familie", "Café").encode())
    shutil.copy(world.pictures()[1], tmp_path / "photos")
    done = tagprism("index", tmp_path / "photos", "--into", tmp_path / "index", "-m", world.run)
    assert done.returncode == 0 and b"reading keywords" in done.stderr, done.stderr
    for query in ("Cafe\u0301", "tag:CAFÉ", "tag:Orte"):
        done = tagprism("search", tmp_path / "index", query, "--format", "jsonl")
        (row,) = map(json.loads, done.stdout.splitlines())
        assert done.returncode == 0 and row["path"].endswith("a.jpg")
        assert row["score"] == 1.0 and row["own"] == ["Café", "Ostsee", "Orte"]
    done = tagprism("search", tmp_path / "index", "tag:nobody")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"no picture matches.\n")
