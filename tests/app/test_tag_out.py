"""`tagprism tag --out`: killed at any moment and run again, the file ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tagprism.errors import InputError, MachineError, PictureError
from tagprism.tagging.tag_file import FORMATS, TagFile
from tagprism.tagging.tags import ImageTags, Tag
from tests.app.conftest import Cli
from tests.odd_pictures import draw_odd_pictures
from tests.small_world import World

COPIES = 30  # of 64 pictures: some seconds of work


@pytest.fixture(scope="module")
def many(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About two thousand pictures, damaged ones among them."""
    folder = tmp_path_factory.mktemp("many")
    for copy in range(COPIES):
        shutil.copytree(world.data / "images", folder / f"{copy:02}")
        draw_odd_pictures(folder / f"{copy:02}" / "odd")
    return folder


def start(many: Path, world: World, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tagprism", "tag", many, "-m", world.run, "--out", out, "--top-k", "3"]
    return subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_killed_at_random_moments_the_file_is_as_uninterrupted(
    many: Path, world: World, tmp_path: Path, ending: str
) -> None:
    plain, killed = tmp_path / f"plain.{ending}", tmp_path / f"killed.{ending}"
    begun = time.monotonic()
    whole = start(many, world, plain)
    whole.communicate()
    assert whole.returncode == 4
    dice, limit = random.Random(ending), time.monotonic() - begun
    kills = 0
    while True:
        process = start(many, world, killed)
        try:
            process.communicate(timeout=dice.uniform(0.2, 0.9) * limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            assert kills < 40, "it never ends"
            continue
        assert process.returncode == 4
        break
    assert kills >= 1
    assert killed.read_bytes() == plain.read_bytes()
    shown = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert shown == sorted([plain.name, killed.name])


@pytest.mark.slow
def test_ctrl_c_says_how_to_continue(many: Path, world: World, tmp_path: Path) -> None:
    out = tmp_path / "tags.jsonl"
    process = start(many, world, out)
    part = tmp_path / "tags.jsonl.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    text = said.decode()
    assert "tags.jsonl.part" in text and "Run the same command again to continue" in text and "Traceback" not in text
    rows = part.read_text().splitlines()
    assert rows and all(json.loads(row) for row in rows)
    assert not out.exists()


def test_another_command_is_refused_and_nothing_overwritten(cli: Cli, world: World, tmp_path: Path) -> None:
    out, words = tmp_path / "tags.jsonl", tmp_path / "words.txt"
    words.write_text("red\ncircle\tsquare\n")
    command = ("tag", world.data / "images", "-m", world.run, "--labels", words, "--out", out)
    assert cli(*command).code == 0
    before = out.read_bytes()
    again = cli(*command)
    assert (again.code, again.out) == (0, "") and "is complete: 64 pictures" in again.err
    cli(*command, "--top-k", 3).refused("by a command with another top-k", "left as it is")
    cli(*command[:-4], "--out", out).refused("another words")
    cli(*command[:1], world.pictures()[0], *command[2:]).refused("the pictures have changed since")
    assert out.read_bytes() == before

    part = out.rename(tmp_path / "tags.jsonl.part")
    cli(*command, "--max-pixels", 10**6).refused("another max-pixels", "remove tags.jsonl.part")
    (tmp_path / ".tags.jsonl.journal").unlink()
    cli(*command).refused("not by this command")
    assert part.read_bytes() == before
    part.rename(out)
    cli(*command).refused("not by this command", "left as it is")
    out.unlink()
    assert cli(*command).code == 0  # all gone: begun anew
    assert out.read_bytes() == before


def test_words_without_a_vector_leave_nothing_behind(cli: Cli, world: World, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("sqare\n")
    out = tmp_path / "tags.csv"
    cli("tag", world.data / "images", "-m", world.run, "--labels", words, "--out", out).refused("sqare")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["words.txt"]


def test_formats_of_the_file(cli: Cli, world: World, tmp_path: Path) -> None:
    command = ("tag", world.pictures()[0], "-m", world.run)
    shown = {kind: cli(*command, "--format", kind).out for kind in ("csv", "jsonl")}
    assert cli(*command, "--out", tmp_path / "a.csv").out == ""
    assert cli(*command, "--out", tmp_path / "a.ndjson").code == 0
    assert cli(*command, "--out", tmp_path / "b.txt", "--format", "csv").code == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.txt").read_text() == shown["csv"]
    assert (tmp_path / "a.ndjson").read_text() == shown["jsonl"]
    cli(*command, "--out", tmp_path / "c", "--format", "table").refused("--format jsonl or csv")
    cli("tag", tmp_path / "none", "--out", tmp_path / "t.xyz").refused(
        "the ending .xyz", ".csv", ".parquet", "--format"
    )
    assert not (tmp_path / "t.xyz").exists()


def row(name: str) -> ImageTags:
    """The tags of a picture, several of them; a damaged one has none."""
    if name == "skipped":
        return ImageTags(Path(name), (), PictureError("corrupt", "It is damaged."))
    return ImageTags(Path(name), (Tag("red", 1.0, None, 0), Tag(f"of {name!a}", 0.5, None, 1)))


def text(names: Iterable[str], kind: str = "jsonl") -> str:
    """The file of some pictures."""
    return FORMATS[kind].header + "".join(FORMATS[kind].row(row(name)) for name in names)


def write(file: TagFile, names: Iterable[str]) -> None:
    for name in names:
        file.write(row(name))
        file.save()


COMMAND = {"model": "m", "words": "w"}


def opened(out: Path, names: Iterable[str], kind: str = "jsonl", **rest: int) -> TagFile:
    return TagFile(out, FORMATS[kind], COMMAND, names, **({"step": 1} | rest))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_row_that_was_cut_off_is_written_again(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "rows"
    with opened(out, "abcd", kind) as file:
        assert file.rows == 0
        write(file, ["a", "b"])
    with file.part.open("ab") as part:
        part.write(text("c", kind).encode()[len(FORMATS[kind].header) : -3])
    with (tmp_path / ".rows.journal").open("ab") as journal:
        journal.write(b"[3, 0, 9")  # an older tagprism went on in it
    with opened(out, "abcd", kind) as file:
        assert (file.rows, file.skipped) == (2, 0)
        write(file, ["c", "d"])
        file.finish()
    assert out.read_text() == text("abcd", kind)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".rows.journal", "rows"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 6])
def test_what_an_interrupted_run_says_is_kept_is_continued(tmp_path: Path, kind: str, count: int) -> None:
    names = "abcdefgh"
    with opened(tmp_path / "rows", names, kind, step=2) as file:
        write(file, names[:count])
        kept = file.kept
    with opened(tmp_path / "rows", names, kind, step=2) as file:
        assert file.rows == kept


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.slow
def test_wherever_a_file_is_cut_off_it_ends_the_same(tmp_path: Path, kind: str) -> None:
    out, names = tmp_path / "rows", ["a", "skipped", "a\nb", "a,b", 'a"b', "\udcff", "caf\xe9", "skipped2"]
    with opened(out, names, kind) as file:
        write(file, names)
    whole, kept = file.part.read_bytes(), 0
    for size in range(len(whole) + 1):
        file.part.write_bytes(whole[:size])
        with opened(out, names, kind) as file:
            assert kept <= file.rows <= kept + 1 and file.rows <= whole[:size].count(b"\n")
            assert file.skipped == (file.rows > 1)
            kept = file.rows
            write(file, names[kept:])
            assert file.part.read_bytes() == whole
    assert kept == len(names) - (kind == "csv")  # where the last one's lines end, only a line after them shows
    with opened(out, names, kind) as file:
        write(file, names[file.rows :])
        file.finish()
    with opened(out, names, kind) as file:
        assert file.complete and (file.rows, file.skipped) == (len(names), 1)


def test_rows_are_continued_at_a_whole_batch(tmp_path: Path) -> None:
    out = tmp_path / "rows"
    with opened(out, "abcdefgh") as file:
        write(file, "abcdef")
        assert file.kept == 6
    with opened(out, "abcdefgh", step=4) as file:
        assert file.rows == file.kept == 4
        write(file, "efg")
        assert file.kept == 4
        write(file, "h")
        file.finish()
    assert out.read_text() == text("abcdefgh")


def test_names_that_csv_cannot_tell_apart_are_written_again(tmp_path: Path) -> None:
    names = ["a", "\\xff", "\udcff", "b"]
    with opened(tmp_path / "rows", names, "csv") as file:
        write(file, names)
    with opened(tmp_path / "rows", names, "csv") as file:
        assert file.rows == 1
        write(file, names[1:])
        file.finish()
    assert (tmp_path / "rows").read_bytes() == text(names, "csv").encode()


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("now", "kept"),
    [("abcde", 3), ("abxcd", 2), ("xabc", 0), ("ab", 2), ("bc", 0)],
    ids=["more at the end", "one in the middle", "one at the start", "the last is gone", "the first is gone"],
)
def test_a_folder_that_changed_is_continued_from_the_change(tmp_path: Path, now: str, kept: int, kind: str) -> None:
    out = tmp_path / "rows"
    with opened(out, "abc", kind) as file:
        write(file, "abc")
    with opened(out, now, kind) as file:
        assert file.rows == kept - (kind == "csv" and kept == 3)
        write(file, now[file.rows :])
        file.finish()
    assert out.read_text() == text(now, kind)


def test_a_kill_between_any_two_steps(tmp_path: Path) -> None:
    out, names = tmp_path / "rows", ["skipped"]
    journal = tmp_path / ".rows.journal"
    journal.write_bytes(b'["tagprism jour')  # in the middle of its first line
    with opened(out, names) as file:
        assert file.rows == 0
        write(file, names)
        file.part.unlink()  # a journal alone
    with opened(out, names) as file:
        assert file.rows == 0
        write(file, names)
    with opened(out, names) as file:
        assert file.rows == 1
        assert file.skipped == 1
        assert not file.complete
        file.part.rename(out)  # the last step
    with opened(out, names) as whole:
        assert whole.complete and (whole.rows, whole.skipped) == (1, 1)
    with out.open("a") as changed:
        changed.write("by hand")
    with pytest.raises(InputError, match="changed since"):
        opened(out, names)


def test_two_commands_do_not_write_one_file(tmp_path: Path) -> None:
    with opened(tmp_path / "rows", "a") as file:
        with pytest.raises(InputError, match="another tagprism"):
            opened(tmp_path / "rows", "a")
        write(file, ["a"])
        file.finish()


def test_a_full_disk_is_the_machine(tmp_path: Path) -> None:
    with opened(tmp_path / "rows", "a") as file:
        os.dup2(os.open("/dev/full", os.O_WRONLY), file._out.fileno())
        with pytest.raises(MachineError, match="No space left"):
            write(file, ["a"])


def test_a_document_goes_on_where_it_stopped_and_replaces_nothing(cli: Cli, world: World, tmp_path: Path) -> None:
    out, rows = tmp_path / "tags.json", tmp_path / ".tags.json.rows.jsonl"
    command = ("tag", world.data, "-m", world.run, "--top-k", 2, "--format", "fiftyone", "--out", out)
    out.write_text("mine")
    cli(*command).refused("is there already", "tags.json")
    assert out.read_text() == "mine"
    out.unlink()
    assert cli(*command).code == 0
    whole = out.read_bytes()
    assert len(json.loads(whole)["labels"]) == 64
    assert "is complete" in cli(*command).err and out.read_bytes() == whole
    out.unlink()  # killed before the document was written, and in the middle of the rows
    part = rows.rename(f"{rows}.part")
    part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:40]))
    assert "continuing after" in cli(*command).err and out.read_bytes() == whole
    cli(*command[:-4], "--format", "coco", "--out", out).refused("another format")


def test_a_spreadsheet_runs_no_name(cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "=1+1.png").write_bytes(world.pictures()[0].read_bytes())
    done = cli("tag", "=1+1.png", "-m", world.run, "--top-k", 1, "--format", "csv", "--spreadsheet")
    assert done.code == 0 and done.out.splitlines()[1].startswith("'=1+1.png,")
