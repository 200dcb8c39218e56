"""Several data sets as one folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tagprism.datasets.tagged import open_tagged
from tests.app.conftest import Cli
from tests.app.conftest import cli as cli


def make(folder: Path, labels: dict[str, object], unlisted: str | None = None) -> Path:
    for key in labels:
        file = folder / "images" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"{folder.name} {key}".encode())
    (folder / "labels.json").write_text(json.dumps(labels))
    if unlisted:
        (folder / "dataset.json").write_text(json.dumps({"unlisted": unlisted}))
    return folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return make(tmp_path / "first", {"a.jpg": ["cats", "sea"], "deep/b.jpg": ["sea"]})


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return make(tmp_path / "second", {"a.jpg": ["cat", "dog"], "c.jpg": ["Cat"], "d.jpg": {"positive": ["cat"]}})


def targets(folder: Path) -> dict[str, dict[str, int]]:
    table = open_tagged(folder)
    return {
        key: dict(zip(table.labels, row.tolist(), strict=True))
        for key, row in zip(table.keys, table.targets(range(len(table)), table.labels), strict=True)
    }


def test_each_source_keeps_its_meaning_of_unlisted(cli: Cli, first: Path, tmp_path: Path) -> None:
    second = make(tmp_path / "second", {"a.jpg": ["cat", "dog"], "d.jpg": {"positive": ["dog"], "negative": ["cat"]}})
    out = tmp_path / "out"
    done = cli("data", "join", f"tagged:{first}", f"tagged:{second}", "--unknown", f"tagged:{second}", "--into", out)
    assert done.code == 0 and done.out == ""
    assert "3 labels" in done.err and "4 pictures" in done.err and "cat: also written cats" in done.err
    assert targets(out) == {
        "first/a.jpg": {"cat": 1, "dog": -1, "sea": 1},
        "first/deep/b.jpg": {"cat": 0, "dog": -1, "sea": 1},
        "second/a.jpg": {"cat": 1, "dog": 1, "sea": -1},
        "second/d.jpg": {"cat": 0, "dog": 1, "sea": -1},
    }
    for key in ("first/deep/b.jpg", "second/d.jpg"):
        assert (out / "images" / key).read_bytes() == key.replace("/", " ", 1).encode()


def test_a_data_set_that_says_unknown_itself_needs_no_option(cli: Cli, first: Path, tmp_path: Path) -> None:
    second = make(tmp_path / "second", {"a.jpg": ["dog"]}, "unknown")
    assert cli("data", "join", f"tagged:{first}", f"tagged:{second}", "--into", tmp_path / "out").code == 0
    assert targets(tmp_path / "out")["second/a.jpg"] == {"cats": -1, "dog": 1, "sea": -1}


def test_joined_twice_is_the_same(cli: Cli, first: Path, tmp_path: Path) -> None:
    second = make(tmp_path / "second", {"a.jpg": ["dog"]})
    for name in ("one", "two"):
        assert cli("data", "join", f"tagged:{first}", f"tagged:{second}", "--into", tmp_path / name).code == 0
    assert open_tagged(tmp_path / "one").digest == open_tagged(tmp_path / "two").digest


def test_what_is_wrong_is_said(cli: Cli, first: Path, second: Path, tmp_path: Path) -> None:
    out = ("--into", tmp_path / "out")
    cli("data", "join", f"tagged:{first}", *out).refused("two data sets or more")
    cli("data", "join", f"tagged:{first}", f"tagged:{second}", *out).refused("same label", "labels.json")
    other = make(tmp_path / "other", {"a.jpg": ["dog"]})
    both = (f"tagged:{first}", f"tagged:{other}")
    cli("data", "join", *both, *out, "--unknown", "tagged:x").refused("--unknown", "tagged:x")
    cli("data", "join", *both, "--into", first).refused("exists already", "--into")
    cli("data", "join", "tagged:large", "tagged:larger", "--into", first).refused(
        "exists already"
    )  # before any is read
    same_name = make(tmp_path / "below/first", {"a.jpg": ["dog"]})
    cli("data", "join", f"tagged:{first}", f"tagged:{same_name}", *out).refused("one name", "Rename")
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_not_there_are_listed(cli: Cli, first: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", {"a.jpg": ["dog"], "b.jpg": ["dog"]})
    (other / "images/a.jpg").unlink()
    done = cli("data", "join", f"tagged:{first}", f"tagged:{other}", "--into", tmp_path / "out", "--quiet")
    assert done.code == 4 and "other/a.jpg" in done.err
    assert "other/a.jpg" not in targets(tmp_path / "out")
