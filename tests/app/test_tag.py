"""`tagprism tag`: the rows it writes and what it refuses."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tagprism.tagging.tagger import Tagger
from tagprism.tagging.tags import ImageTags
from tests.app.conftest import Cli
from tests.command_line import tagprism
from tests.odd_pictures import draw_odd_pictures
from tests.small_world import LABELS, World


def rows(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_jsonl_has_a_row_for_every_file_in_order_and_tags_from_best_to_worst(cli: Cli, world: World) -> None:
    pictures = world.pictures()[5:9][::-1]
    done = cli("tag", *pictures, "-m", world.run, "--format", "jsonl", "--top-k", 3, "--quiet")
    assert (done.code, done.err) == (0, "")
    found = rows(done.out)
    assert [row["path"] for row in found] == [str(path) for path in pictures]
    for row in found:
        assert list(row) == ["path", "tags"]
        tags = row["tags"]
        assert isinstance(tags, list) and len(tags) == 3
        scores = [tag["score"] for tag in tags]
        assert scores == sorted(scores, reverse=True)
        for tag in tags:
            assert list(tag) == ["label", "score", "probability", "vector"]
            assert tag["label"] in LABELS and tag["probability"] is None and tag["vector"] in range(3)


def test_folders_are_walked_and_each_real_file_comes_once(cli: Cli, world: World, tmp_path: Path) -> None:
    picture = world.pictures()[0]
    shutil.copy(picture, tmp_path / "b.png")
    (tmp_path / "deep").mkdir()
    shutil.copy(picture, tmp_path / "deep/a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "notes.txt").write_text("no picture")
    done = cli("tag", tmp_path, tmp_path / "b.png", "-m", world.run, "--format", "jsonl")
    assert [row["path"] for row in rows(done.out)] == [str(tmp_path / "b.png"), str(tmp_path / "deep/a.png")]


def test_csv_and_jsonl_say_the_same(cli: Cli, world: World, tmp_path: Path) -> None:
    odd = draw_odd_pictures(tmp_path)
    named = [world.pictures()[0], *odd]
    as_json = cli("tag", *named, "-m", world.run, "--format", "jsonl", "--top-k", 2)
    as_csv = cli("tag", *named, "-m", world.run, "--format", "csv", "--top-k", 2)
    assert as_json.code == as_csv.code == 4
    expected = []
    for row in rows(as_json.out):
        if "error" in row:
            expected.append([row["path"], "", "", "", "", row["error"]["code"]])  # type: ignore[index]
        for tag in row.get("tags", ()):  # type: ignore[attr-defined]
            expected.append([row["path"], tag["label"], f"{tag['score']:.4f}", "", str(tag["vector"]), ""])
    header, *lines = csv.reader(io.StringIO(as_csv.out))
    assert header == ["path", "label", "score", "probability", "vector", "error"]
    assert lines == expected


def test_the_table_shows_every_picture_below_its_folder(cli: Cli, world: World, tmp_path: Path) -> None:
    (broken,) = (path for path in draw_odd_pictures(tmp_path) if path.name == "truncated.jpg")
    done = cli("tag", *world.pictures()[:2], broken, "-m", world.run, "--top-k", 1)
    assert done.code == 4
    header, _, *lines = done.out.splitlines()
    assert header.split() == ["picture", "tags,", "each", "with", "its", "score"]
    assert lines[0] == f"{world.pictures()[0].parent}/"
    assert [line.split()[0] for line in lines[1:3]] == [path.name for path in world.pictures()[:2]]
    assert re.fullmatch(r"  truncated\.jpg +corrupt: The picture is damaged \(.*\)\.", lines[4])
    assert done.err.splitlines()[-1] == "1 picture skipped."


def test_the_table_fits_a_terminal_and_cannot_command_it(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "n" * 100 + ".png",
        "\x1b[31mred\n.png",
        "日本語の写真の名前はとても長いです.png",
        "[bold]:smile:.png",
    ):
        shutil.copy(world.pictures()[0], tmp_path / name)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tmp_path)
    shown = cli("tag", ".", "-m", world.run).out
    assert "\x1b" not in shown and "\\x1b[31mred\\n.png" in shown and "[bold]:smile:.png" in shown
    assert all(cell_len(line) <= 60 or re.fullmatch(" *n{100}[.]png", line) for line in shown.splitlines())
    assert "  日本語の写真の名前はとても長いです.png\n" in shown  # names stay whole, to be copied
    assert all(f"{label} " in shown for label in LABELS)


@pytest.fixture
def calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle with probabilities; the logistic function of the score serves for any."""
    plain = Tagger.tag_each

    def tag_each(
        self: Tagger,
        paths: Iterable[Path],
        labels: Mapping[str, Sequence[str]] | None,
        top_k: int | None,
        min_probability: float | None,
        **rest: Any,
    ) -> Iterator[ImageTags]:
        for row in plain(self, paths, labels, None, None, **rest):
            tags = (replace(tag, probability=1 / (1 + math.exp(-tag.score))) for tag in row.tags)
            yield replace(row, tags=tuple(tag for tag in tags if tag.probability >= (min_probability or 0))[:top_k])

    monkeypatch.setattr(Tagger, "calibrated", True)
    monkeypatch.setattr(Tagger, "calibration", None)
    monkeypatch.setattr(Tagger, "tag_each", tag_each)


@pytest.mark.usefixtures("calibrated")
def test_a_table_of_probabilities_shows_what_is_likely(cli: Cli, world: World, tmp_path: Path) -> None:
    command = ("tag", *world.pictures()[:4], "-m", world.run)
    tags = [row["tags"] for row in rows(cli(*command, "--format", "jsonl").out)]
    assert all(len(of_one) == len(LABELS) for of_one in tags)  # nothing is cut
    lines = cli(*command).out.splitlines()[3:]
    assert "probability" in cli(*command).out
    for line, of_one in zip(lines, tags, strict=True):
        likely = [tag for tag in of_one if tag["probability"] >= 0.5]  # type: ignore[attr-defined]
        assert line.split(maxsplit=1)[1] == "  ".join(f"{tag['label']} {tag['probability']:.2f}" for tag in likely)
    assert cli(*command, "--top-k", 5).out.splitlines()[3].count(" 0.") == 5
    assert "no tag above 0.99" in cli(*command, "--min-probability", 0.99).out
    as_csv = list(csv.reader(io.StringIO(cli(*command, "--format", "csv", "--min-probability", 0.99).out)))[1:]
    assert as_csv == [[str(path), "", "", "", "", ""] for path in world.pictures()[:4]]


def test_aliases_count_for_their_label(cli: Cli, world: World, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# colours\nred\tyellow\tgreen\nblue\n")
    (row,) = rows(cli("tag", world.pictures()[0], "-m", world.run, "--labels", words, "--format", "jsonl").out)
    (plain,) = rows(cli("tag", world.pictures()[0], "-m", world.run, "--format", "jsonl").out)
    scores = {tag["label"]: tag["score"] for tag in plain["tags"]}  # type: ignore[attr-defined]
    found = {tag["label"]: tag["score"] for tag in row["tags"]}  # type: ignore[attr-defined]
    assert found == pytest.approx(
        {"red": max(scores[name] for name in ("red", "yellow", "green")), "blue": scores["blue"]}
    )


@pytest.mark.parametrize("separator", [b"\n", pytest.param(b"\r\n", marks=pytest.mark.slow), b"\0"])
def test_a_list_on_stdin(world: World, tmp_path: Path, separator: bytes) -> None:
    names = [b"[1].png", b"a b.png", b"\xff.png"] + [b"new\nline.png"] * (separator == b"\0")
    for name in names:
        shutil.copy(world.pictures()[0], os.fsencode(tmp_path) + b"/" + name)
    listed = [*names, b"", names[0], b"missing.png", b"*.png"]
    done = tagprism(
        *("tag", "-", str(world.pictures()[1]), "-m", world.run, "--format", "jsonl"),
        *(["--null"] if separator == b"\0" else []),
        cwd=tmp_path,
        stdin=separator.join(listed),
    )
    assert done.returncode == 4, done.stderr
    paths = [os.fsencode(row["path"]) for row in rows(done.stdout.decode())]  # type: ignore[call-overload]
    assert paths == [*names, b"missing.png", b"*.png", os.fsencode(world.pictures()[1])]


def test_patterns_that_no_shell_expanded(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.data / "images")
    done = cli("tag", "**/red_*.png", "0/*_circle.png", "-m", world.run, "--format", "jsonl")
    paths = [str(row["path"]) for row in rows(done.out)]
    assert len(paths) == len(set(paths)) == 4 * 4 + 3  # 0/red_circle.png is not tagged twice
    assert paths[:4] == [f"0/red_{shape}.png" for shape in ("circle", "cross", "square", "triangle")]


@pytest.mark.slow
def test_rows_reach_their_file_while_a_terminal_shows_the_progress(world: World, tmp_path: Path) -> None:
    main, side = pty.openpty()
    with (tmp_path / "out.jsonl").open("wb") as out:
        command = [sys.executable, "-m", "tagprism", "tag", world.data, "-m", world.run, "--format", "jsonl"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm"}
        process = subprocess.Popen(command, stdout=out, stderr=side, env=environment)
        os.close(side)
        shown = b""
        with contextlib.suppress(OSError):  # how the end of a terminal is read
            while block := os.read(main, 65536):
                shown += block
        os.close(main)
        assert process.wait() == 0
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 64
    assert b"64/64" in shown and b'"path"' not in shown


def test_words_of_ones_own_are_ranked_as_in_the_vocabulary(cli: Cli, world: World, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\ufeffRed\r\n\n  orange \nstar\nyellow star\n", encoding="utf-8")
    picture = world.pictures()[0]
    own = rows(cli("tag", picture, "-m", world.run, "--labels", words, "--format", "jsonl").out)[0]["tags"]
    known = rows(cli("tag", picture, "-m", world.run, "--format", "jsonl").out)[0]["tags"]
    assert {tag["label"] for tag in own} == {"Red", "orange", "star", "yellow star"}  # type: ignore[attr-defined]
    (red,) = (tag["score"] for tag in known if tag["label"] == "red")  # type: ignore[attr-defined]
    (same,) = (tag["score"] for tag in own if tag["label"] == "Red")  # type: ignore[attr-defined]
    assert same == pytest.approx(red, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (b"sqare\n", "`sqare` (nearest known: square"),
        (b"\n\n", "there is no word in it"),
        (b"-\n", "there is no word in it"),
        (b"\xff\xfered", "is not UTF-16-LE"),
        (None, "cannot be read"),
    ],
)
def test_bad_word_lists(words: bytes | None, complaint: str, cli: Cli, world: World, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    if words is not None:
        path.write_bytes(words)
    cli("tag", world.data, "-m", world.run, "--labels", path, "--format", "csv").refused(complaint)


def test_an_unknown_word_leaves_the_others(cli: Cli, world: World, tmp_path: Path) -> None:
    (words := tmp_path / "words.txt").write_text("red\nsqare\nqwxz\tstar\nRED\n")
    done = cli("tag", world.pictures()[0], "-m", world.run, "--labels", words, "--format", "jsonl", "--quiet")
    assert done.code == 0 and {tag["label"] for tag in json.loads(done.out)["tags"]} == {"red", "star"}
    assert "2 of the words are unknown to this model: `qwxz` (" in done.err and "`sqare` (nearest: square, " in done.err
    assert "given twice and kept once: `RED` (line 4, as `red` in line 1)" in done.err


def test_the_packaged_model_names_what_is_not_english(cli: Cli, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("Hund\ncat\nplage\n犬\ncafé\nBeaches\nROCKET\n", encoding="utf-16")
    done = cli("tag", "tests/photos/chelsea.jpg", "--labels", words, "--format", "jsonl", "--quiet")
    assert (
        done.code == 0
        and "`Hund` (nearest: hound" in done.err
        and "`plage`" in done.err
        and "`犬`. The others" in done.err
    )
    tags = [tag["label"] for tag in json.loads(done.out)["tags"]]
    assert tags[0] == "cat" and set(tags) == {"cat", "café", "Beaches", "ROCKET"}
    words.write_text("cat\nRex qwxzvbn beach\n")
    done = cli("tag", "tests/photos/chelsea.jpg", "--labels", words, "--format", "jsonl", "--quiet")
    near = r"\(nearest: [a-z]+, [a-z]+, [a-z]+\)"  # of each word, not of the two as one
    assert re.search(f"model: `Rex` {near} and `qwxzvbn` {near} in `Rex qwxzvbn beach`", done.err)
    words.write_text("Hund\nplage\n")
    cli("tag", "tests/photos/chelsea.jpg", "--labels", words).refused("2 of the words are unknown", "Use other words")


def test_a_bundle_without_text_names_the_nearest_known_words(cli: Cli, world: World, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(world.run / "bundle", bundle)
    shutil.rmtree(bundle / "text")
    config = json.loads((bundle / "config.json").read_text())
    config["digests"] = {name: value for name, value in config["digests"].items() if not name.startswith("text/")}
    (bundle / "config.json").write_text(json.dumps(config))
    words = tmp_path / "words.txt"
    words.write_text("sqare\n")
    cli("tag", world.data, "-m", bundle, "--labels", words).refused("no vector for `sqare` (near: square", "its vocab")
    words.write_text("red\nsquares\n")
    assert cli("tag", world.data, "-m", bundle, "--labels", words).code == 0


def test_probabilities_need_a_calibrated_bundle(cli: Cli, world: World) -> None:
    cli("tag", world.data, "-m", world.run, "--min-probability", 0.5).refused("not calibrated", "--top-k")
    assert "its scores rank" in cli("tag", world.pictures()[0], "-m", world.run).err


def test_a_folder_without_pictures_is_nothing_to_do(cli: Cli, world: World, tmp_path: Path) -> None:
    cli("tag", tmp_path, "-m", world.run).refused("there are no pictures", str(tmp_path), code=3)


def test_a_path_that_is_not_there_is_refused_unless_others_are(cli: Cli, world: World, tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    cli("tag", gone, tmp_path / "*.jpg", "-m", world.run).refused(f"{gone}, {tmp_path}/*.jpg: is not there.")
    done = cli("tag", gone, world.pictures()[0], "-m", world.run, "--format", "jsonl")
    assert done.code == 4 and [row.get("error", {}).get("code") for row in rows(done.out)] == ["missing", None]  # type: ignore[attr-defined]


def test_the_cap_on_pixels_is_an_option(cli: Cli, world: World) -> None:
    done = cli("tag", world.pictures()[0], "-m", world.run, "--max-pixels", 96 * 72 - 1, "--format", "jsonl")
    assert done.code == 4
    assert rows(done.out)[0]["error"]["code"] == "too_many_pixels"  # type: ignore[index]
    assert "--max-pixels" in done.err
    assert cli("tag", world.pictures()[0], "-m", world.run, "--max-pixels", 96 * 72).code == 0
