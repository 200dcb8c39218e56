"""`tagprism data split`: what it writes is a split file, or a list of splits, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from tagprism.datasets.splits import load_split, split_names
from tagprism.datasets.tagged import open_tagged
from tests.app.conftest import Cli
from tests.small_world import make_pictures


def test_one_split_and_several(cli: Cli, tmp_path: Path) -> None:
    data, out = make_pictures(tmp_path / "data"), tmp_path / "split.json"
    done = cli("data", "split", f"tagged:{data}", "--unseen", "0.25", "--seed", "3", "--out", out, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    table = open_tagged(data)
    split = load_split(str(out), table)
    assert (len(split.seen), len(split.unseen), len(split.val)) == (6, 2, 0)
    assert abs(len(split.test) / len(table) - 0.3) < 0.05
    assert json.loads(out.read_text())["seed"] == 3
    again = ("data", "split", f"tagged:{data}", "--unseen", "0.25", "--seed", "3", "--count", "3", "--out")
    cli(*again, out).refused("exists already")  # runs may have been made on it
    out = tmp_path / "splits.json"
    done = cli(*again, out)
    assert "drawn with seed 5: 6 seen and 2 unseen labels (0 too rare for either); " in done.err
    names = split_names(str(out))
    several = [load_split(name, table) for name in names]
    assert names == [f"{out}#{number}" for number in range(3)]
    assert several[0].digest == split.digest and len({one.digest for one in several}) == 3


def test_pictures_that_cannot_be_used_are_listed(cli: Cli, tmp_path: Path) -> None:
    data, out = make_pictures(tmp_path / "data"), tmp_path / "split.json"
    (data / "images/0/red_circle.png").write_bytes(b"no picture")
    (data / "images/0/red_cross.png").unlink()
    done = cli("data", "split", f"tagged:{data}", "--out", out)
    assert done.code == 4
    assert "0/red_circle.png: The picture cannot be decoded." in done.err and "0/red_cross.png: There is no" in done.err
    assert "0/red_circle.png" not in out.read_text()
    out = tmp_path / "unseen.json"
    assert cli("data", "split", f"tagged:{data}", "--no-look", "--out", out, "-q").code == 4
    assert "0/red_circle.png" in out.read_text()


def test_what_cannot_be_drawn_is_refused(cli: Cli, tmp_path: Path) -> None:
    data, out = make_pictures(tmp_path / "data"), tmp_path / "split.json"
    few = cli("data", "split", f"tagged:{data}", "--least-positives", "9", "--out", out, "-q")
    few.refused("fewer than 9 positives in test", "Lower --least-positives or --unseen, raise --test")
    cli("data", "split", f"tagged:{data}", "--unseen", "2", "--out", out, "-q").refused(
        "--unseen (2) must be a share above 0 and below 1"
    )
    both = ("--test", "0.7", "--val", "0.5")
    cli("data", "split", f"tagged:{data}", *both, "--out", out, "-q").refused("--test (0.7) and --val (0.5) together")
    for option, number in (("--unseen", "nan"), ("--unseen", "-1"), ("--test", "0"), ("--test", "1")):
        done = cli("data", "split", "tagged:nowhere", option, number, "--out", out, "-q")  # before the data are opened
        done.refused(f"{option} ({number}) must be a share above 0 and below 1")
    cli("data", "shards", f"tagged:{data}", "--out", data, "-q").refused("holds no shards", "Choose another --out.")
    assert not out.exists()
