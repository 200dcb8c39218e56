"""`tagprism train`: what it prints, what it claims, what it refuses."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from tagprism.training.recipe import load_recipe
from tests.app.conftest import Cli
from tests.odd_pictures import DAMAGED, USABLE, draw_odd_pictures
from tests.small_world import World

END_TO_END = ("training.end_to_end=true", "training.workers=0", "training.batch_size=1")


def sets(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def odd_data(world: World, tmp_path: Path) -> Path:
    """Four good training pictures and one of every odd kind."""
    data = tmp_path / "odd"
    shutil.copytree(world.data, data)
    draw_odd_pictures(data / "images/odd")
    labels = json.loads((data / "labels.json").read_text())
    split = json.loads((data / "split.json").read_text())
    odd = [f"odd/{name}" for name in (*DAMAGED, *USABLE)]
    labels |= {key: [split["seen"][place % 6]] for place, key in enumerate(odd)}
    split["train"] = [*odd, *split["train"][:4]]
    (data / "labels.json").write_text(json.dumps(labels))
    (data / "splits.json").write_text(json.dumps([split]))
    return data


@pytest.mark.parametrize("mode", [(), END_TO_END], ids=["frozen", "end to end"])
@pytest.mark.slow
def test_odd_pictures_are_used_or_listed(
    mode: tuple[str, ...], cli: Cli, world: World, odd_data: Path, tmp_path: Path
) -> None:
    settings = sets("training.validation=0", "training.epochs=1", *mode)
    done = cli(*world.train_arguments(tmp_path / "run", odd_data), *settings, "--quiet")
    assert done.code == 4
    assert "Traceback" not in done.err and done.out == ""
    skipped = json.loads((tmp_path / "run/skipped.json").read_text())
    assert {key: code for key, (code, _) in skipped.items()} == {f"odd/{name}": code for name, code in DAMAGED.items()}
    for key, (_, message) in skipped.items():
        assert f"skipped {key}: {message}" in done.err
    assert done.err.count("\n") == len(DAMAGED) + 1  # and no warning of anyone else
    evaluated = cli("evaluate", tmp_path / "run", *world.on(0), "--format", "json", "--quiet")
    assert evaluated.code == 0
    assert json.loads(evaluated.out)["provenance"]["model"]["validation_mAP"] is None


@pytest.mark.parametrize("mode", [(), END_TO_END], ids=["frozen", "end to end"])
def test_only_damaged_pictures_are_an_error(
    mode: tuple[str, ...], cli: Cli, world: World, odd_data: Path, tmp_path: Path
) -> None:
    (split,) = json.loads((odd_data / "splits.json").read_text())
    split["train"] = [f"odd/{name}" for name in DAMAGED]
    (odd_data / "splits.json").write_text(json.dumps([split]))
    settings = sets("training.validation=0", "training.epochs=1", *mode)
    done = cli(*world.train_arguments(tmp_path / "run", odd_data), *settings, "--quiet")
    done.refused("pictures can be used. The first: ")
    cli("tag", world.data, "-m", tmp_path / "run").refused("has not finished", "continues")


@pytest.mark.slow
def test_missing_pictures_and_empty_lists_are_listed(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    labels = json.loads((data / "labels.json").read_text())
    split = json.loads((data / "split.json").read_text())
    train = split["train"]
    (data / "images" / train[0]).unlink()
    labels[train[1]] = []
    (data / "labels.json").write_text(json.dumps(labels))
    done = cli(*world.train_arguments(tmp_path / "run", data), *sets("training.epochs=1"), "--quiet")
    assert done.code == 4
    assert set(json.loads((tmp_path / "run/skipped.json").read_text())) == set(train[:2])
    config = json.loads((tmp_path / "run/bundle/config.json").read_text())
    assert config["provenance"]["training_images"] + config["provenance"]["validation_images"] == 40


def test_print_config_reads_back_equal(cli: Cli, world: World, tmp_path: Path) -> None:
    settings = ("loss.regulariser_weight=none", "training.ema=0.5", "model.vectors=1", 'name="x \\"y\\""')
    done = cli("train", world.recipe, "--print-config", *sets(*settings))
    assert (done.code, done.err) == (0, "")
    (tmp_path / "again.toml").write_text(done.out)
    again = load_recipe(tmp_path / "again.toml")
    assert again == load_recipe(world.recipe, settings)
    assert (again.model.vectors, again.loss.regulariser_weight, again.training.ema) == (1, None, 0.5)
    assert tomllib.loads(done.out)["training"]["warm_up"] == 0.1  # also what the recipe does not name


def test_a_finished_run_is_nothing_to_do(cli: Cli, world: World) -> None:
    before = (world.run / "weights.safetensors").stat().st_mtime_ns
    again = cli(*world.train_arguments())
    assert again.code == 0 and again.out == "" and "error" not in again.err
    assert f"nothing to do: {world.run}: this run is finished." in again.err
    assert (world.run / "weights.safetensors").stat().st_mtime_ns == before


def test_the_place_of_another_run_is_refused(cli: Cli, world: World) -> None:
    cli(*world.train_arguments(), *sets("seed=4")).refused("another recipe", "--out")
    cli("train", world.recipe, *world.on(1), "--out", world.run).refused("another recipe, data set or split")
    cli(*world.train_arguments(), "--limit", 5).refused("another recipe, data set or split")
    cli(*world.train_arguments(world.data)).refused("exists and is not a run")
    cli(*world.train_arguments(world.recipe)).refused("exists and is not a run")
    cli(*world.train_arguments(world.recipe / "run")).refused("Not a directory", "another path")


@pytest.mark.slow
def test_limit_is_a_dry_run(cli: Cli, world: World, tmp_path: Path) -> None:
    settings = sets("training.epochs=10", "training.batch_size=64", "training.validation=0")  # 10 steps, warm-up 0.1
    assert cli(*world.train_arguments(tmp_path / "run"), *settings, "--limit", 9, "--quiet").code == 0
    origin = json.loads((tmp_path / "run/bundle/config.json").read_text())["provenance"]
    assert origin["training_images"] == 9
    assert "first 9" in origin["split"]


def test_a_seen_label_that_no_encoder_knows_is_named(cli: Cli, world: World, tmp_path: Path) -> None:
    words = tmp_path / "fewer.txt"
    lines = world.words.read_text().splitlines(keepends=True)
    words.write_text("".join(line for line in lines if not line.startswith(("red ", "cross "))))
    setting = f'labels.parts=[{{encoder="file:{words}"}}]'
    done = cli(*world.train_arguments(tmp_path / "run"), *sets(setting), "--quiet")
    done.refused("no encoder knows `red`")  # `cross` is unseen: the space is fitted without it


def test_explicit_negatives_are_needed_where_unlisted_labels_are_ignored(
    cli: Cli, world: World, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    (data / "dataset.json").write_text('{"unlisted": "unknown"}')
    done = cli(*world.train_arguments(tmp_path / "run", data), *sets("loss.unlabelled=ignore"), "--quiet")
    done.refused("no explicit negatives", 'loss.unlabelled = "negative"')


def test_pictures_and_run_must_be_named(cli: Cli, world: World) -> None:
    cli("train", world.recipe).refused("--data tagged:DIR --split FILE#0 --out RUN")


@pytest.mark.parametrize("reason", [13, 28, 30], ids=["forbidden", "disk full", "read-only"])
def test_a_folder_that_cannot_be_written_exits_with_6(
    reason: int, cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def refuse(path: Path, *arguments: object, **named: object) -> None:
        if path.is_relative_to(tmp_path):
            raise OSError(reason, "refused", str(path))
        make(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", refuse)
    cli(*world.train_arguments(tmp_path / "below/run")).refused("cannot write", "below/run", code=6)
    assert not any(tmp_path.iterdir())


def test_a_damaged_cache_of_features_is_named(
    cli: Cli, world: World, tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "cache/features"
    damaged.mkdir(parents=True)
    for file in (cache_folder / "features").glob("*.sqlite"):
        (damaged / file.name).write_bytes(b"this is no database " * 500)
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    done = cli(*world.train_arguments(tmp_path / "run"), "--quiet")
    done.refused("not a database", ".sqlite", "delete it", code=6)
