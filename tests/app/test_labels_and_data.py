"""`tagprism labels`, `data` and `doctor`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tagprism.labels.vocabulary import Vocabulary
from tests.app.conftest import Cli
from tests.small_world import LABELS, UNSEEN, World


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text("red\nyellow star\nstar zzzzz\n")
    return path


def test_aliases_are_made_and_checked(cli: Cli, world: World, words: Path, tmp_path: Path) -> None:
    words.write_text("# colours\nred\tyellow\torange\nstar\tzzzzz\n")
    out = tmp_path / "own.safetensors"
    assert cli("labels", "make", words, "--out", out, "--encoder", f"file:{world.words}").code == 0
    again = cli("labels", "make", words, "--out", out, "--encoder", f"file:{world.words}")
    assert again.code == 0  # a vocabulary is replaced, a list of words is not
    cli("labels", "make", words, "--out", words, "--encoder", f"file:{world.words}").refused(
        "list.txt: is there already"
    )
    vocabulary = Vocabulary.load(out)
    assert vocabulary.names == ("red", "star")
    assert vocabulary.aliases == {"red": ("yellow", "orange"), "star": ("zzzzz",)}
    checked = cli("labels", "check", words, "--encoder", f"file:{world.words}")
    assert checked.code == 2
    assert "zzzzz" in checked.out and "5 phrases: 4 fully known, 0 known in part, 1 known by no encoder" in checked.err


def test_make_then_show(cli: Cli, world: World, words: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    made = cli("labels", "make", words, "--out", out, "--encoder", f"file:{world.words}", "--centre")
    assert (made.code, made.out) == (0, "")
    assert "3 labels, 12 numbers each" in made.err
    vocabulary = Vocabulary.load(out)
    assert vocabulary.names == ("red", "yellow star", "star zzzzz")
    np.testing.assert_allclose(np.linalg.norm(vocabulary.vectors, axis=1), 1, rtol=1e-5)
    shown = cli("labels", "show", out)
    assert shown.code == 0
    assert shown.out.splitlines() == ["red\tother", "yellow star\tother", "star zzzzz\tother"]
    assert vocabulary.digest in shown.err


def test_show_a_vocabulary(cli: Cli, tmp_path: Path) -> None:
    names, out = ("red", "yellow star", "star zzzzz"), tmp_path / "own.safetensors"
    vocabulary = Vocabulary(names, np.eye(3, 12, dtype=np.float32), ("other",) * 3, {"red": ("ruby",)})
    vocabulary.save(out)
    shown = cli("labels", "show", out)
    assert shown.code == 0
    assert shown.out.splitlines() == ["red\tother\truby", "yellow star\tother", "star zzzzz\tother"]
    assert "3 labels, 12 numbers each" in shown.err and vocabulary.digest in shown.err


def test_show_a_run_with_its_roles(cli: Cli, world: World) -> None:
    lines = cli("labels", "show", world.run).out.splitlines()
    assert dict(line.split("\t") for line in lines) == {
        label: "unseen" if label in UNSEEN else "seen" for label in LABELS
    }
    cli("labels", "show", world.data).refused("is not a bundle")
    cli("labels", "show", world.recipe).refused("small.toml", "safetensors")


def test_check_names_what_is_missing_and_what_is_near(cli: Cli, world: World, words: Path) -> None:
    encoder = ("--encoder", f"file:{world.words}")
    done = cli("labels", "check", words, *encoder)
    assert done.code == 0
    assert "zzzzz" in done.out and "partly" in done.out and "yellow" not in done.out
    assert "3 phrases: 2 fully known, 1 known in part, 0 known by no encoder" in done.err
    words.write_text("red\nsqare\n")
    done = cli("labels", "check", words, *encoder)
    assert done.code == 2
    assert "sqare" in done.out and "square" in done.out
    words.write_text("- red\n")
    done = cli("labels", "check", words, *encoder)
    assert done.out == "" and "1 phrase: 1 fully known" in done.err and "the first `- red` (line 1)" in done.err
    words.write_text("huond\n")  # in no spelling in the table, but like names of the model in the box
    assert "hound" in cli("labels", "check", words, *encoder).out
    cli("labels", "check", words.parent / "nope.txt", *encoder).refused("cannot be read", "Name a text file")


def test_check_says_by_which_rule(cli: Cli, world: World, words: Path) -> None:
    encoder = ("--encoder", f"file:{world.words}")
    words.write_text("red\nyellow star\nStars (bright)\nred-ish\n")
    done = cli("labels", "check", words, *encoder)
    assert done.code == 0
    assert "stars: star" in done.out and "bright" in done.out and "yellow" not in done.out
    assert "whole 1, words 1, partly 2, missing 0, respelled 1" in done.err
    listed = cli("labels", "check", words, *encoder, "--all").out
    assert "yellow star" in listed and "whole" in listed and "words" in listed


def test_make_refuses_unknown_words_and_encoders(cli: Cli, world: World, words: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    words.write_text("sqare\n")
    cli("labels", "make", words, "--out", out, "--encoder", f"file:{world.words}").refused("sqare", "square")
    cli("labels", "make", words, "--out", out, "--encoder", "nothing").refused("`nothing` is not a label encoder")
    cli("labels", "make", words, "--out", out, "--encoder", f"file:{world.recipe}").refused("small.toml", "row")
    assert not out.exists()


def test_data_info(cli: Cli, world: World) -> None:
    done = cli("data", "info", f"tagged:{world.data}", "--split", f"{world.data}/splits.json#0", "--format", "json")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    wanted = {"pictures": 64, "labels": 8, "positives": 128, "unlisted": "negative", "skipped": 0}
    wanted |= {"split_seen": 6, "split_unseen": 2, "split_train": 42, "split_val": 0, "split_test": 22}
    assert wanted.items() <= facts.items()
    table = cli("data", "info", f"tagged:{world.data}")
    assert facts["digest"] in table.out and "split_seen" not in table.out


@pytest.mark.slow
def test_data_info_lists_what_would_be_skipped(cli: Cli, world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    labels = json.loads((data / "labels.json").read_text())
    labels |= {"gone.png": ["red"], "0/red_circle.png": [], "odd \udcff.png": ["red"]}
    (data / "labels.json").write_text(json.dumps(labels))
    done = cli("data", "info", f"tagged:{data}")
    assert done.code == 4
    assert "skipped gone.png: There is no such file" in done.err
    assert "skipped 0/red_circle.png: No label" in done.err
    assert r"skipped odd \xff.png: There is no such file" in done.err
    train = cli(*world.train_arguments(tmp_path / "run", data), "--set", "training.epochs=1", "--quiet")
    assert train.code == 4
    assert "odd \udcff.png" in json.loads((tmp_path / "run/skipped.json").read_text())


def test_doctor(cli: Cli, cache_folder: Path) -> None:
    done = cli("doctor")
    assert (done.code, done.err) == (0, "")
    for word in ("tagprism", "python", "onnxruntime", "cores", "[train]", "installed", str(cache_folder)):
        assert word in done.out


def test_doctor_without_a_usable_cache(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGPRISM_CACHE", str(world.recipe / "cache"))
    done = cli("doctor")
    assert done.code == 6
    assert "Not a directory" in done.out and "Traceback" not in done.err
