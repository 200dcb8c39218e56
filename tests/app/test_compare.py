"""`tagprism compare`: rows, splits, results that are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tagprism.comparing.experiment import Experiment
from tagprism.evaluation.published import Entry, published_for
from tests.app.conftest import Cli
from tests.small_world import World

VARIANTS = """
[[variant]]
name = "M=1"
set = ["model.vectors=1"]
[[variant]]
name = "raw"
set = ["model.standardise=false"]
"""


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    path = tmp_path / "variants.toml"
    path.write_text(VARIANTS)
    return path


def test_finished_runs_are_rows(cli: Cli, world: World, tmp_path: Path) -> None:
    data = ("--data", f"tagged:{world.data}", "--split", f"{world.data / 'splits.json'}#0")
    shutil.copytree(world.run / "bundle", tmp_path / "other")
    compared = cli(
        "compare", *data, "-m", world.run, "-m", tmp_path / "other", "--seeds", "2", "--format", "json", "-q"
    )
    assert compared.code == 0
    methods = json.loads(compared.out)["methods"]
    assert list(methods) == [world.run.name, "other"] and methods["other"] == methods[world.run.name]
    measured = json.loads(cli("evaluate", world.run, *data, "--k", "3", "--format", "json", "-q").out)
    assert methods["other"][0]["gzsl"] == measured["gzsl"]
    cli("compare", *data, "-m", tmp_path).refused("is not a bundle")
    cli("compare", *data, "-m", tmp_path / "none").refused("none: there is no such folder")
    cli("compare", *data).refused("name a recipe")
    other_split = ("--data", f"tagged:{world.data}", "--split", f"{world.data / 'splits.json'}#1")
    cli("compare", world.recipe, *other_split, "-m", world.run, "-q").refused(
        f"{world.run.name}: ", "the model was trained on", "splits.json#1, or leave the row out"
    )


@pytest.mark.slow
def test_every_recipe_on_every_split_and_a_second_time_without_training(
    cli: Cli, world: World, variants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ("compare", world.recipe, "--data", f"tagged:{world.data}", "--split", world.data / "splits.json")
    command = (*named, "--variants", variants, "--supervised", "--out", tmp_path / "kept")
    first = cli(*command, "--format", "json", "--quiet")
    assert (first.code, first.err) == (0, "")
    methods = json.loads(first.out)["methods"]
    assert {name: len(results) for name, results in methods.items()} == dict.fromkeys(
        ("small", "M=1", "raw", "supervised"), 2
    )
    assert len({json.dumps(results[0]["gzsl"]) for results in methods.values()}) == 4  # four methods, four results

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Experiment, "run", refuse)
    again = cli(*command, "--format", "json", "--quiet")
    assert json.loads(again.out)["methods"] == methods
    table = cli(*command, "--quiet")
    assert all(name in table.out for name in (*methods, "chance", "ceiling", "±"))
    markdown = cli(*command, "--quiet", "--format", "markdown")
    assert markdown.out.startswith("| percent |") and "| M=1 |" in markdown.out
    (spoilt, *_) = sorted((tmp_path / "kept").iterdir())
    spoilt.write_text("{}")
    cli(*command, "--quiet").refused(spoilt.name, "Delete it")


def test_compare_says_what_evaluate_says(cli: Cli, world: World) -> None:
    compared = cli("compare", world.recipe, *world.on(0), "--format", "json", "--quiet")
    evaluated = cli("evaluate", world.run, *world.on(0), "--format", "json", "--quiet", "--k", 3)
    ours, theirs = json.loads(compared.out)["methods"]["small"][0], json.loads(evaluated.out)
    assert ours["gzsl"]["mAP"] == pytest.approx(theirs["gzsl"]["mAP"], rel=1e-3)
    assert ours["zsl"]["mAP"] == pytest.approx(theirs["zsl"]["mAP"], rel=1e-3)
    for model in (world.run, world.run / "bundle"):
        again = cli("compare", "-m", model, "--data", f"tagged:{world.data}", "--format", "json")
        assert f"split: that of the run, {world.run}" in again.err
        (row,) = json.loads(again.out)["methods"].values()
        assert row[0]["zsl"]["mAP"] == pytest.approx(theirs["zsl"]["mAP"], rel=1e-3)


@pytest.mark.slow
def test_damaged_pictures_are_listed_also_when_results_were_kept(cli: Cli, world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    split = json.loads((data / "split.json").read_text())
    damaged = split["train"][0], split["test"][0]
    for key in damaged:
        (data / "images" / key).write_bytes(b"no picture")
    command = ("compare", world.recipe, *world.on(0, data), "--out", tmp_path / "kept", "--quiet")
    for _ in range(2):
        done = cli(*command)
        assert done.code == 4
        assert all(f"skipped {key}: The file is not a picture" in done.err for key in damaged)


@pytest.mark.slow
def test_settings_are_chosen_without_test_pictures(cli: Cli, world: World) -> None:
    done = cli("compare", world.recipe, *world.on(0), "--pseudo-unseen", 0.3, "--format", "json", "--quiet")
    assert done.code == 0
    found = json.loads(done.out)
    (results,) = found["methods"].values()
    assert len(results) == len(found["provenance"]["splits"]) == 5
    assert all(result["zsl"]["labels"] == 2 and result["gzsl"]["labels"] == 6 for result in results)


@pytest.mark.slow
def test_all_rivals_stand_beside_the_recipe(cli: Cli, world: World, tmp_path: Path) -> None:
    command = ("compare", world.recipe, *world.on(0), "--baselines", "--out", tmp_path, "--format", "json")
    done = cli(*command)
    assert done.code == 0 and "ConSE is left out" in done.err  # a random backbone has no ImageNet classifier
    methods = json.loads(done.out)["methods"]
    rivals = ("SDL, the authors' recipe", "single vector, M=1", "ridge", "word-query decoder")
    assert list(methods) == ["small", *rivals]
    assert len({json.dumps(results[0]["gzsl"]) for results in methods.values()}) == 5
    assert len({(r[0]["zsl"]["images"], r[0]["zsl"]["chance_mAP"]) for r in methods.values()}) == 1  # the same test
    assert "published" not in json.loads(done.out)
    again = cli(*command[:-1], "markdown", "--quiet")
    assert all(f"| {name} |" in again.out for name in methods)


@pytest.mark.slow
def test_rivals_are_named_one_by_one(cli: Cli, world: World) -> None:
    named = ("--baseline", "single", "--baseline", "ridge", "--baseline", "single")
    done = cli("compare", world.recipe, *world.on(0), *named, "--format", "json", "--quiet")
    assert list(json.loads(done.out)["methods"]) == ["small", "single vector, M=1", "ridge"]
    one = cli("compare", world.recipe, *world.on(0), "--set", "model.vectors=1", "--format", "json", "--quiet")
    single = json.loads(one.out)["methods"]["small"]
    assert json.loads(done.out)["methods"]["single vector, M=1"][0]["zsl"] == single[0]["zsl"]
    cli("compare", world.recipe, *world.on(0), "--baseline", "best").refused(
        "no baseline `best`", "decoder", "open_clip"
    )


def test_conse_needs_an_imagenet_classifier(cli: Cli, world: World) -> None:
    done = cli("compare", world.recipe, *world.on(0), "--baseline", "conse", "--quiet")
    done.refused("ConSE", "ImageNet-1k")


@pytest.mark.slow
def test_published_numbers_of_the_same_protocol_stand_beside(
    cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def of_nus_wide(*protocol: object) -> tuple[Entry, ...]:
        asked.append(protocol)
        return published_for("nus-wide", 925, 81)

    monkeypatch.setattr("tagprism.comparing.compare.published_for", of_nus_wide)
    command = ("compare", world.recipe, *world.on(0), "--quiet")
    found = json.loads(cli(*command, "--format", "json").out)
    assert asked == [("tagged", 6, 2)]
    result = found["methods"]["small"][0]
    assert "F1@5" in result["gzsl"] and "F1@3" not in result["zsl"]  # the published K, where there are labels enough
    values = {(e["method"], e["task"]): e["values"] for e in found["published"]["entries"]}
    assert values["ML-Decoder", "zsl"] == {"mAP": 31.1}
    assert all(e.get("source") or e["unverified"] for e in found["published"]["entries"])
    (lesa,) = (g for g in found["published"]["comparable_groups"] if "LESA" in g["methods"] and g["task"] == "zsl")
    assert lesa["positives_per_image"] == pytest.approx(1.876, abs=0.01) and "BiAM" in lesa["methods"]
    markdown = cli(*command, "--format", "markdown").out
    assert "| ML-Decoder (published) | 31.1 |" in markdown and "| CONSE (published) | 9.4? |" in markdown
    assert "NOT COMPARABLE with this test" in markdown
    table = cli(*command).out
    assert "SDL (published)" in table and "unverified" in table
    drawn = cli(*command, "--pseudo-unseen", 0.3, "--format", "json")
    assert "published" not in json.loads(drawn.out)  # other labels, other pictures


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("variant = 3", ("[[variant]]",)),
        ('[[variant]]\nname = "x"', ("set", "[[variant]]")),
        ("[[variant", ("not a file of variants",)),
        ('[[variant]]\nname = "small"\nset = []', ("same name",)),
        ('[[variant]]\nname = "x"\nset = ["model.vektors=1"]', ("model.vektors",)),
    ],
)
def test_bad_variants(text: str, words: tuple[str, ...], cli: Cli, world: World, variants: Path) -> None:
    variants.write_text(text)
    cli("compare", world.recipe, *world.on(0), "--variants", variants).refused(*words)


def test_end_to_end_recipes_are_refused(cli: Cli, world: World, variants: Path) -> None:
    done = cli("compare", world.recipe, *world.on(0), "--set", "training.end_to_end=true", "--quiet")
    done.refused("frozen features", "tagprism train")
    variants.write_text('[[variant]]\nname = "whole network"\nset = ["training.end_to_end=true"]\n')
    cli("compare", world.recipe, *world.on(0), "--variants", variants).refused("whole network: comparisons train")


@pytest.mark.slow
def test_seeds_are_asked_for_on_the_command_line(cli: Cli, world: World, tmp_path: Path) -> None:
    command = ("compare", world.recipe, *world.on(0), "--baseline", "ridge", "--seeds", 2, "--out", tmp_path / "kept")
    done = cli(*command, "--format", "json")
    assert "seed 2 of 2" in done.err
    found = json.loads(done.out)
    assert [len(split) for split in found["by_seed"]["small"]] == [2]
    markdown = cli(*command, "--format", "markdown", "--ratio-to", "ridge", "--quiet").out
    assert "1 split, 2 seeds each." in markdown and "as a multiple of `ridge`" in markdown
