"""`models calibrate`: probabilities fitted to one's own labelled pictures, kept, moved, refused and taken away."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import tagprism
from tagprism.datasets.registry import open_dataset
from tagprism.evaluation import fit_calibration as fitting
from tagprism.evaluation.fit_calibration import fit_calibration
from tests.app.conftest import Cli
from tests.small_world import World


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where calibrations are kept, and a cache without records."""
    monkeypatch.setenv("TAGPRISM_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "state"


def test_a_model_without_probabilities_gets_them(cli: Cli, world: World, state: Path, tmp_path: Path) -> None:
    calibrate, picture = ("models", "calibrate", world.run), world.pictures()[0]
    done = cli(*calibrate, "--data", f"tagged:{world.data}")
    assert done.code == 0 and "held-out labels" in done.out, done.err
    (file,) = state.rglob("*.safetensors")
    assert file.stem == tagprism.load(world.run).bundle.digest and str(file) in done.err
    rows = cli("tag", picture, "--model", world.run, "--format", "jsonl", "--min-probability", 0)
    chances = [tag["probability"] for tag in json.loads(rows.out)["tags"]]
    assert "of your own calibration" in rows.err and all(0 <= chance <= 1 for chance in chances)
    assert chances == sorted(chances, reverse=True) and len(set(chances)) > 1
    assert "by you: 64 pictures and 8 labels" in cli("models", "info", world.run, "--format", "json").out
    held = cli("evaluate", world.run, *world.on(), "--format", "json", "--quiet")
    assert json.loads(held.out)["calibration"].keys() == {"seen", "unseen"}
    assert not tagprism.load(world.run, views=2).calibrated  # it is another model
    cli(*calibrate, "--views", 2, "--from", file).refused("not a calibration of this model")
    moved = file.rename(tmp_path / "moved.safetensors")
    assert tagprism.load(world.run).calibration is None
    assert cli(*calibrate, "--from", moved).code == 0 and file.is_file()
    again = cli("tag", picture, "--model", world.run, "--format", "jsonl", "--min-probability", 0)
    assert again.out == rows.out
    assert cli(*calibrate, "--remove").code == 0
    assert not tagprism.load(world.run).calibrated and cli(*calibrate, "--remove").code == 3


def test_only_the_training_side_of_a_split_is_used(world: World, state: Path) -> None:
    from tagprism.datasets.splits import load_split

    table = open_dataset(f"tagged:{world.data}")
    split = load_split(f"{world.data}/splits.json#0", table)
    fitted = fit_calibration(tagprism.load(world.run), table, split)
    assert (fitted.note["pictures"], fitted.note["labels"]) == (len(split.train), len(split.seen))


def test_an_interrupted_call_goes_on(world: World, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, looked = open_dataset(f"tagged:{world.data}"), []
    monkeypatch.setattr(fitting, "_AT_ONCE", 20)
    tagger = tagprism.load(world.run)
    network = tagger.network

    def counted(pixels: np.ndarray) -> object:
        looked.append(len(pixels))
        return network(pixels)

    done = []

    def advance(count: int) -> None:
        done.append(count)
        if len(done) == 45:
            raise KeyboardInterrupt

    tagger.network = counted
    with pytest.raises(KeyboardInterrupt):
        fit_calibration(tagger, table, progress=lambda _what, total: nullcontext(advance))
    before = sum(looked)
    first = fit_calibration(tagger, table)
    assert sum(looked) == before + 64 - 40
    monkeypatch.setattr(fitting, "_AT_ONCE", 64)
    whole = fit_calibration(tagger, table)
    assert np.allclose(first.calibration.maps["seen"].logits, whole.calibration.maps["seen"].logits)


def test_labels_that_say_too_little(cli: Cli, world: World, state: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "images").symlink_to(world.data / "images")
    labels = json.loads((world.data / "labels.json").read_text())
    (few / "labels.json").write_text(json.dumps(dict(list(labels.items())[:5])))
    cli("models", "calibrate", world.run, "--data", f"tagged:{few}").refused("at least 60 are needed")
    (few / "labels.json").write_text(json.dumps(labels))
    (few / "dataset.json").write_text('{"unlisted": "unknown"}')
    cli("models", "calibrate", world.run, "--data", f"tagged:{few}").refused("what it does not show", "dataset.json")
    cli("models", "calibrate", world.run).refused("--data KIND:PATH")
    cli("models", "calibrate", world.run, "--data", f"tagged:{few}", "--remove").refused("--from FILE")
    assert not list(tmp_path.glob("state/*/*.safetensors"))


def test_a_damaged_calibration_is_an_error_that_says_what_to_do(cli: Cli, world: World, state: Path) -> None:
    assert cli("models", "calibrate", world.run, "--data", f"tagged:{world.data}", "--quiet").code == 0
    (file,) = state.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    cli("tag", world.pictures()[0], "--model", world.run, "--format", "jsonl").refused(str(file))
    assert cli("models", "calibrate", world.run, "--remove", "--quiet").code == 0
