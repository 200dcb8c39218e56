"""`tagprism tag`: the rows it writes and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from tests.app.conftest import Cli
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


def test_the_table_shows_every_picture(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    done = cli("tag", *world.pictures()[:2], "-m", world.run, "--top-k", 1)
    assert done.code == 0
    assert all(str(path) in done.out for path in world.pictures()[:2])


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
        (b"red\nsqare\n", "`sqare` (nearest known: square"),
        (b"red\nRED\n", "line 2: `RED` is given twice"),
        (b"\n\n", "there is no word in it"),
        (b"-\n", "line 1: `-` is not a word"),
        (b"\xff\xfered", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_bad_word_lists(words: bytes | None, complaint: str, cli: Cli, world: World, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    if words is not None:
        path.write_bytes(words)
    cli("tag", world.data, "-m", world.run, "--labels", path, "--format", "csv").refused(complaint)


def test_a_bundle_without_text_names_the_nearest_known_words(cli: Cli, world: World, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(world.run / "bundle", bundle)
    shutil.rmtree(bundle / "text")
    config = json.loads((bundle / "config.json").read_text())
    config["digests"] = {name: value for name, value in config["digests"].items() if not name.startswith("text/")}
    (bundle / "config.json").write_text(json.dumps(config))
    words = tmp_path / "words.txt"
    words.write_text("red\nsquares\n")
    cli("tag", world.data, "-m", bundle, "--labels", words).refused(
        "no vector for `squares` (near: square", "its vocab"
    )
    words.write_text("red\nsquare\n")
    assert cli("tag", world.data, "-m", bundle, "--labels", words).code == 0


def test_probabilities_need_a_calibrated_bundle(cli: Cli, world: World) -> None:
    cli("tag", world.data, "-m", world.run, "--min-probability", 0.5).refused("not calibrated", "--top-k")


def test_a_folder_without_pictures_is_nothing_to_do(cli: Cli, world: World, tmp_path: Path) -> None:
    cli("tag", tmp_path, "-m", world.run).refused("there are no pictures", str(tmp_path), code=3)


def test_the_cap_on_pixels_is_an_option(cli: Cli, world: World) -> None:
    done = cli("tag", world.pictures()[0], "-m", world.run, "--max-pixels", 96 * 72 - 1, "--format", "jsonl")
    assert done.code == 4
    assert rows(done.out)[0]["error"]["code"] == "too_many_pixels"  # type: ignore[index]
    assert "--max-pixels" in done.err
    assert cli("tag", world.pictures()[0], "-m", world.run, "--max-pixels", 96 * 72).code == 0
