"""`tagprism keywords` and `tagprism undo`, end to end: a model, photos, sidecars, and the way back."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import tagprism
from tagprism.errors import InputError
from tagprism.keywords.sidecar import SidecarChange, read_keywords
from tagprism.keywords.undo import undo
from tagprism.keywords.write import Limits, from_model, from_rows, write_keywords
from tests.app.conftest import Cli
from tests.command_line import python
from tests.command_line import tagprism as command_line
from tests.keywords.sidecars import DARKTABLE
from tests.small_world import LABELS, World

Tree = dict[str, tuple[str, int]]


@pytest.fixture(autouse=True)
def own_journals(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGPRISM_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def photos(world: World, tmp_path: Path) -> Path:
    """Three photos, one of them with a sidecar of its person."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, picture in zip(("a.png", "b.png", "c.png"), world.pictures(), strict=False):
        shutil.copy(picture, folder / name)
    (folder / "b.png.xmp").write_text(DARKTABLE)
    return folder


def tree(folder: Path) -> Tree:
    """Name -> digest of the bytes, and time of change."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def shown(cli: Cli, *arguments: str | Path) -> dict[str, dict[str, list[str]]]:
    """`keywords show` by name."""
    rows = [json.loads(line) for line in cli("keywords", "show", *arguments, "--format", "jsonl").out.splitlines()]
    return {Path(row.pop("path")).name: row for row in rows}


def write_rows(path: Path, rows: dict[Path, list[tuple[str, float | None]]]) -> Path:
    """The JSONL of `tagprism tag`."""
    lines = [
        {
            "path": os.fsdecode(photo),
            "tags": [
                {"label": label, "score": 9.0 - place, "probability": probability, "vector": 0}
                for place, (label, probability) in enumerate(tags)
            ],
        }
        for photo, tags in rows.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_write_again_dry_run_and_undo(cli: Cli, world: World, photos: Path) -> None:
    before = tree(photos)
    command = ("keywords", "write", photos, "-m", world.run, "--top-k", 2)

    dry = cli(*command, "--dry-run")
    assert dry.code == 0 and tree(photos) == before
    assert cli("undo", "--list").code == 3

    first = cli(*command)
    assert (first.code, first.out) == (0, "")
    assert "3 sidecars written, 0 as they were" in first.err and "tagprism undo 2" in first.err
    found = shown(cli, photos)
    for name, row in found.items():
        assert len(row["ours"]) == 2 and set(row["ours"]) <= set(LABELS)
        assert row["yours"] == (["Familie", "Ostsee", "Orte"] if name == "b.png" else [])
        block = f"+++ {photos / name}.xmp\n" + ("  Familie\n  Ostsee\n" if name == "b.png" else "")
        assert block + "".join(f"+ {word}\n" for word in row["ours"]) in dry.out
    written = tree(photos)
    assert {name: written[name] for name in before if name != "b.png.xmp"} == {
        name: before[name] for name in before if name != "b.png.xmp"
    }

    again = cli(*command)
    assert "0 sidecars written, 3 as they were" in again.err
    assert tree(photos) == written  # bytes and times

    undone = cli("undo")
    assert undone.code == 0 and "1 sidecar put back, 2 new sidecars removed." in undone.err
    assert tree(photos) == before
    assert "undone" in cli("undo", "--list").out
    cli("undo").refused("no run to undo", code=3)


def test_from_python(world: World, photos: Path) -> None:
    before, tagger = tree(photos), tagprism.load(world.run)
    planned: list[SidecarChange] = []
    dry = write_keywords(from_model(tagger, [photos], Limits(top_k=1)), dry_run=True, changed=planned.append)
    assert (dry.written, dry.run, len(planned)) == (3, None, 3) and tree(photos) == before
    (photos / "d.png").write_bytes(b"no picture")
    done = write_keywords(from_model(tagger, [photos], Limits(top_k=1), {"star": ()}))
    assert (done.written, done.same, done.refused) == (3, 0, 0) and len(done.skipped) == 1
    assert read_keywords(photos / "a.png", "photo.jpg.xmp").ours == ("star",)
    undone = undo(done.run)
    assert (undone.restored, undone.left) == (3, []) and undone.run.command["limits"]["top_k"] == 1
    (photos / "d.png").unlink()
    assert tree(photos) == before
    rows = b'{"path": "%s", "tags": [{"label": "sea", "score": 1, "probability": 0.6, "vector": 0}]}\n'
    assert write_keywords(from_rows(rows % os.fsencode(photos / "a.png"))).written == 1
    with pytest.raises(InputError, match="not calibrated"):
        from_model(tagger, [photos])


def test_another_choice_of_words_replaces_only_ours(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    cli("keywords", "write", photos, "-m", world.run, "--top-k", 2)
    words = tmp_path / "words.txt"
    words.write_text("star\norange\n")
    done = cli("keywords", "write", photos, "-m", world.run, "--labels", words, "--top-k", 1)
    assert done.code == 0
    for name, row in shown(cli, photos).items():
        assert len(row["ours"]) == 1 and set(row["ours"]) <= {"star", "orange"}
        assert row["yours"] == (["Familie", "Ostsee", "Orte"] if name == "b.png" else [])
    sidecar = (photos / "b.png.xmp").read_text()
    assert 'darktable:operation="exposure"' in sidecar and "0000&#10;&quot;" in sidecar


def test_a_keyword_taken_away_in_a_photo_program_stays_away(cli: Cli, world: World, photos: Path) -> None:
    command = ("keywords", "write", photos / "a.png", "-m", world.run, "--top-k", 3)
    cli(*command)
    sidecar = photos / "a.png.xmp"
    gone, *rest = shown(cli, photos / "a.png")["a.png"]["ours"]
    edited = sidecar.read_text().replace(f"     <rdf:li>{gone}</rdf:li>\n", "", 1)
    sidecar.write_text(edited.replace(f"     <rdf:li>tagprism|{gone}</rdf:li>\n", ""))
    assert cli(*command).code == 0
    assert shown(cli, photos / "a.png") == {"a.png": {"yours": [], "ours": rest, "taken_away": [gone]}}
    table = cli("keywords", "show", photos)
    block = f"{photos / 'a.png'}\n  tagprism's  {', '.join(rest)}\n  taken away  {gone}\n"
    assert block in table.out and table.code == 0 and " without keywords " in table.err
    notes = photos / "notes's.txt"
    notes.write_text("no picture")
    assert "1 of 1 file without keywords" in cli("keywords", "show", notes).err


def test_without_probabilities_a_limit_has_to_be_given(cli: Cli, world: World, photos: Path) -> None:
    before = tree(photos)
    command = ("keywords", "write", photos, "-m", world.run)
    cli(*command).refused("--top-k", "--min-score", "not calibrated")
    cli(*command, "--min-probability", 0.5).refused("--min-score")
    assert tree(photos) == before
    cli(*command, "--min-score", "-1000", "--top-k", 1)
    assert all(len(row["ours"]) == 1 for row in shown(cli, photos).values())
    cli(*command, "--min-score", "1000")
    assert all(row["ours"] == [] for row in shown(cli, photos).values())


def test_tags_from_a_file(cli: Cli, photos: Path, tmp_path: Path) -> None:
    rows = {
        photos / "a.png": [("beach", 0.9), ("sea", 0.5), ("dune", 0.49)],
        photos / "b.png": [("ostsee", 0.99)],
        photos / "c.png": [("dog", 0.2)],
    }
    tags = write_rows(tmp_path / "tags.jsonl", rows)
    done = cli("keywords", "write", "--from", tags)
    assert "1 sidecar written, 2 as they were" in done.err
    assert shown(cli, photos)["a.png"]["ours"] == ["beach", "sea"]
    assert sorted(path.name for path in photos.glob("*.xmp")) == ["a.png.xmp", "b.png.xmp"]
    cli("keywords", "write", "--from", tags, "--top-k", 3)
    assert shown(cli, photos)["a.png"]["ours"] == ["beach", "sea", "dune"]
    cli("keywords", "write", "--from", tags, "--min-probability", 0.8)
    assert shown(cli, photos)["a.png"]["ours"] == ["beach"]
    write_rows(tags, {photos / "a.png": [("beach", None)]})
    cli("keywords", "write", "--from", tags).refused("--min-score", str(tags))


@pytest.mark.slow
def test_tagging_and_writing_apart(world: World, photos: Path) -> None:
    tagged = command_line("tag", photos, "-m", world.run, "--format", "jsonl", "-q")
    command = [sys.executable, "-m", "tagprism", "keywords", "write", "--from", "-", "--top-k", "2", "-q"]
    done = subprocess.run(command, input=tagged.stdout, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    written = {path.name: path.read_bytes() for path in photos.glob("*.xmp")}
    assert len(written) == 3
    assert command_line("undo", "-q").returncode == 0
    done = command_line("keywords", "write", photos, "-m", world.run, "--top-k", "2", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for path in photos.glob("*.xmp"):  # the same but for the note of which model it was
        lines = path.read_bytes().splitlines(keepends=True)
        place = next(number for number, line in enumerate(lines) if b"<tagprism:model" in line)
        assert b"".join(lines[:place] + lines[place + 5 :]) == written[path.name]


@pytest.mark.slow
def test_writing_needs_no_torch(world: World, photos: Path) -> None:
    code = (
        "import sys\nfrom tagprism.app import console\nfrom tagprism.app.cli import app\n"
        "code = console.run(lambda: app(sys.argv[1:], standalone_mode=False))\n"
        "print(code, 'torch' in sys.modules, file=sys.stderr)"
    )
    done = python(code, "keywords", "write", photos, "-m", world.run, "--top-k", "1", "--quiet")
    assert done.stderr == b"0 False\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "no row"),
        (b"{}", "line 1"),
        (b"beach", "line 1"),
        (b'{"path": "x", "tags": [{"label": "a"}]}', "--format jsonl"),
        (b"[1]", "line 1"),
    ],
)
def test_what_is_no_list_of_tags(line: bytes, words: str, cli: Cli, tmp_path: Path) -> None:
    tags = tmp_path / "tags.jsonl"
    tags.write_bytes(line)
    cli("keywords", "write", "--from", tags).refused(words, code=3 if line == b"" else 2)
    cli("keywords", "write", "--from", tmp_path / "missing").refused("cannot be read")


def test_what_is_asked_has_to_make_sense(cli: Cli, world: World, tmp_path: Path) -> None:
    cli("keywords", "write").refused("PHOTOS", "--from")
    cli("keywords", "write", tmp_path, "-m", world.run, "--top-k", 1).refused("no pictures", code=3)
    assert cli("keywords", "write", tmp_path, "--from", "x").code == 2
    cli("keywords", "show", tmp_path).refused("no pictures", code=3)
    gone = tmp_path / "gone.png"
    cli("keywords", "write", gone, "-m", world.run, "--top-k", 1).refused(f"{gone}: is not there.")
    cli("keywords", "show", gone).refused(f"{gone}: is not there.")
    for command in (("write", "-m", world.run, "--top-k", 1, "--dry-run"), ("show",)):  # one of several is skipped
        done = cli("keywords", *command, gone, world.pictures()[0])
        assert done.code == 4 and "gone.png: There is no such file." in done.err
    cli("undo", "nonsense").refused("no journal", "--list")


def test_what_cannot_be_done_is_listed_and_the_rest_is_done(cli: Cli, world: World, photos: Path) -> None:
    (photos / "b.png.xmp").write_bytes(b"<x:xmpmeta")
    (photos / "c.png.xmp").symlink_to("nowhere")
    (photos / "d.png").write_bytes(b"no picture")
    before = tree(photos)
    done = cli("keywords", "write", photos, "-m", world.run, "--top-k", 1)
    assert done.code == 4 and "1 sidecar written" in done.err and "3 pictures skipped" in done.err
    for reason in ("sidecar b.png.xmp is damaged", "sidecar c.png.xmp is a link", "not a picture"):
        assert reason in done.err
    after = tree(photos)
    assert {name: after[name] for name in before} == before
    assert cli("keywords", "show", photos).code == 4


def test_the_other_convention(cli: Cli, world: World, photos: Path) -> None:
    shutil.copy(photos / "a.png", photos / "a.webp")
    command = ("keywords", "write", photos, "-m", world.run, "--top-k", 1)
    done = cli(*command, "--sidecar", "photo.xmp")
    assert done.code == 4
    assert sorted(path.name for path in photos.glob("*.xmp")) == ["b.png.xmp", "b.xmp", "c.xmp"]
    assert done.err.count("keeps them apart") == 2
    assert "1 new sidecar beside a photo.jpg.xmp" in done.err
    assert len(shown(cli, photos / "c.png", "--sidecar", "photo.xmp")["c.png"]["ours"]) == 1


def test_two_names_that_differ_in_capitals_do_not_share_a_sidecar(cli: Cli, world: World, tmp_path: Path) -> None:
    for name in ("IMG_1.png", "IMG_1.PNG"):
        shutil.copy(world.pictures()[0], tmp_path / name)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("capitals make no difference on this disk")
    done = cli("keywords", "write", tmp_path, "-m", world.run, "--top-k", 1, "--sidecar", "photo.xmp")
    assert done.code == 4 and "0 sidecars written" in done.err and done.err.count("keeps them apart") == 2
    assert cli("keywords", "write", tmp_path, "-m", world.run, "--top-k", 1).code == 0
    assert sorted(path.name for path in tmp_path.glob("*.xmp")) == ["IMG_1.PNG.xmp", "IMG_1.png.xmp"]


def test_a_hard_link_is_said(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "backup").hardlink_to(photos / "b.png.xmp")
    done = cli("keywords", "write", photos, "-m", world.run, "--top-k", 1)
    assert "1 of them had other names (hard links)" in done.err
    assert (tmp_path / "backup").read_text() == DARKTABLE


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_into_the_photos_with_a_hierarchy_and_back(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    for path in photos.glob("*.png"):
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
    before = tree(photos)
    words, places = tmp_path / "words.txt", tmp_path / "tree.txt"
    words.write_text("star\n")
    places.write_text("shapes|star\n")
    command = ("keywords", "write", photos, "-m", world.run, "--labels", words, "--top-k", 1, "--embed")
    assert cli(*command, "--hierarchy", places, "--dry-run").code == 4 and tree(photos) == before
    done = cli(*command, "--hierarchy", places)
    assert done.code == 4 and "3 photos written" in done.err and done.err.count("inside JPEGs alone") == 3
    found = subprocess.run(
        ["exiftool", "-j", "-Keywords", "-HierarchicalSubject", "-TagsList", photos / "a.jpg"],
        capture_output=True,
        check=True,
    )
    row = json.loads(found.stdout)[0]
    assert (row["Keywords"], row["HierarchicalSubject"], row["TagsList"]) == ("star", "shapes|star", "shapes/star")
    assert [one["ours"] for one in shown(cli, photos / "a.jpg", "--embed").values()] == [["star"]]
    assert "3 photos put back" in cli("undo").err and tree(photos) == before
    assert cli(*command, "--sidecar", "photo.xmp").code == 2
    places.write_text("shapes||star\n")
    cli(*command, "--hierarchy", places).refused("line 1", "no place in a hierarchy")


def test_names_of_any_bytes_get_their_sidecars_and_lose_them_again(cli: Cli, world: World, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    names = [b"caf\xe9 \xff.png", "snow \U0001f98a.png".encode(), b"[bold]tab\tnew\nline.png", b"--quiet.png"]
    for name in names:
        shutil.copy(world.pictures()[0], folder + b"/" + name)
    before = tree(tmp_path)
    dry = cli("keywords", "write", tmp_path, "-m", world.run, "--top-k", 1, "--dry-run")
    assert dry.out.count("+++ ") == 4 and len(dry.out.splitlines()) == 12
    assert cli("keywords", "write", tmp_path, "-m", world.run, "--top-k", 1).code == 0
    assert {name + b".xmp" for name in names} < set(os.listdir(folder))  # noqa: PTH208 (bytes)
    assert cli("undo").code == 0
    assert tree(tmp_path) == before


def test_sidecars_changed_since_are_left_alone(cli: Cli, world: World, photos: Path) -> None:
    cli("keywords", "write", photos, "-m", world.run, "--top-k", 1)
    edited = photos / "b.png.xmp"
    edited.write_text(edited.read_text().replace("Familie", "Freunde"))
    done = cli("undo")
    assert done.code == 4 and "b.png.xmp: It was changed since" in done.err and "1 sidecar skipped" in done.err
    assert "Freunde" in edited.read_text() and not (photos / "a.png.xmp").exists()
    assert "1 left alone" in cli("undo", "--list").out


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_folder_that_may_not_be_written_is_exit_code_6_and_the_rest_is_done(
    cli: Cli, photos: Path, tmp_path: Path
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "none", locked], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        shutil.copy(photos / "a.png", locked / "a.png")
        subprocess.run(["mount", "-o", "remount,ro", locked], check=True)
        rows = {path: [("beach", 0.9)] for path in (locked / "a.png", photos / "a.png")}
        done = cli("keywords", "write", "--from", write_rows(tmp_path / "tags.jsonl", rows))
        assert done.code == 6 and "Read-only file system" in done.err and "1 sidecar written" in done.err
        assert cli("undo").code == 0
        assert not list(photos.glob("a*.xmp"))
    finally:
        subprocess.run(["umount", locked], check=True)


def killed_in_the_middle(command: list[str | Path], folder: Path, done: int, pause: float) -> None:
    """Start a command, and `kill -9` it a while after that many sidecars came or went."""
    start = len(list(folder.glob("*.xmp")))
    with subprocess.Popen([sys.executable, "-m", "tagprism", *command], stderr=subprocess.DEVNULL) as process:
        while abs(len(list(folder.glob("*.xmp"))) - start) < done and process.poll() is None:
            time.sleep(0.002)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)


_MANY = 400  # so that a quick machine is not done before it is killed


@pytest.mark.slow
def test_killed_runs_go_on_and_one_undo_takes_all_back(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.jpg")
    rows = {}
    for number in range(_MANY):
        photo = folder / f"{number}.jpg"
        shutil.copy(tmp_path / "photo.jpg", photo)
        rows[photo] = [("beach", 0.9), (f"place {number}", 0.8)]
        if number % 2:
            (folder / f"{number}.jpg.xmp").write_text(DARKTABLE)
    before = tree(folder)
    write = ["keywords", "write", "--from", write_rows(tmp_path / "tags.jsonl", rows)]
    chance = random.Random(5)
    for done in (10, 20):
        killed_in_the_middle(write, folder, done, chance.random() / 20)
        assert not any(path.read_bytes() == b"" for path in folder.glob("*.xmp"))
    assert 0 < len(list(folder.glob("*.xmp"))) < _MANY
    assert command_line(*write).returncode == 0
    after = tree(folder)
    assert len(after) == 2 * _MANY and not list(folder.glob(".*"))
    assert all(row["ours"] == ["beach", f"place {name[:-4]}"] for name, row in shown(cli, folder).items())
    assert cli("undo", "--list").out.count("finished") == 1

    for done in (20, 15):
        killed_in_the_middle(["undo"], folder, done, chance.random() / 20)
    assert 0 < len(list(folder.glob("*.xmp"))) < _MANY
    assert command_line("undo").returncode == 0
    assert tree(folder) == before and not list(folder.glob(".*"))
    assert cli("undo").code == 3
