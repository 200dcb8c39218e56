"""Recipes, weights, checkpoints and bundles of older versions: read under today's names, or refused with the remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file

from tagprism.bundle.bundle import Bundle
from tagprism.bundle.config import CLASSES, CONFIG
from tagprism.errors import InputError
from tagprism.files import digest_file
from tagprism.network.embedding_matrix import EmbeddingMatrix, Standardiser
from tagprism.training.diversity_loss import SemanticDiversityLoss
from tagprism.training.older_runs import current_names
from tagprism.training.recipe import TrainingTable, load_recipe, recipe_toml
from tests.app.conftest import Cli, cli  # noqa: F401 (a fixture)
from tests.small_world import World

OLD = """
name = "old"
[labels]
parts = [{ encoder = "minilm", weight = 1.0 }, { encoder = "glove50", centre = true }]
[model]
anchor = 0.5
anchor_temperature = 2.0
conse = 0.25
conse_rank = 7
conse_sharp = true
[training]
epochs = 3
accumulate = 1
batch_norm = "train"
checkpoint_batches = 50
"""

STATES = ("state_dict", "current_model_state")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(OLD)
    return path


def test_a_recipe_with_every_old_setting_is_read(recipe: Path) -> None:
    read = load_recipe(recipe)
    assert (read.model.prior, read.model.class_columns, read.model.class_columns_rank) == (0.5, 0.25, 7)
    assert [part.encoder for part in read.labels.parts] == ["minilm", "glove50"]
    assert read.training.epochs == 3
    recipe.write_text(recipe_toml(read))
    assert load_recipe(recipe) == read


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("anchor_temperature = 2.0", "anchor_temperature = 1.0", "model.anchor_temperature = 1.0"),
        ("conse_sharp = true", "conse_sharp = false", "model.conse_sharp = False"),
        ("conse_sharp = true\n", "", "model.conse_sharp = False"),  # what it was by default
        ("accumulate = 1", "accumulate = 4", "training.accumulate = 4"),
        ('batch_norm = "train"', 'batch_norm = "evaluation"\nend_to_end = true', "training.batch_norm = evaluation"),
        ("weight = 1.0", "weight = 0.5", "labels.parts.weight = 0.5"),
    ],
)
def test_another_value_of_a_removed_setting_is_refused(recipe: Path, old: str, new: str, named: str) -> None:
    recipe.write_text(OLD.replace(old, new))
    with pytest.raises(InputError, match="no longer has") as caught:
        load_recipe(recipe)
    assert f"`{named}`" in str(caught.value) and "Train an older run anew" in str(caught.value)


def test_former_defaults_are_meant_where_a_former_name_says_nothing(recipe: Path) -> None:
    recipe.write_text(OLD.replace("conse_rank = 7\n", ""))
    assert load_recipe(recipe).model.class_columns_rank == 96


@pytest.mark.parametrize(
    ("old", "new"),
    [("conse = 0.25", "conse = 0.0"), ("anchor = 0.5\nanchor_temperature = 2.0", "anchor_temperature = 1.0")],
)
def test_settings_of_what_was_not_wanted_mean_nothing(recipe: Path, old: str, new: str) -> None:
    recipe.write_text(OLD.replace(old, new).replace('batch_norm = "train"', 'batch_norm = "evaluation"'))
    read = load_recipe(recipe)
    assert read.model.prior == 0 or read.model.class_columns_rank == 192  # today's default


def test_the_last_word_stands_by_whichever_name(recipe: Path) -> None:
    assert load_recipe(recipe, ("model.prior=3", "model.class_columns=0")).model.prior == 3
    recipe.write_text(OLD.replace("anchor = 0.5\nanchor_temperature = 2.0", "prior = 0.5"))
    assert load_recipe(recipe, ("model.anchor=2",)).model.prior == 2


def test_linear_conse_that_was_not_wanted_is_no_reason_to_refuse(recipe: Path) -> None:
    recipe.write_text(OLD.replace("conse_sharp = true", "conse_sharp = false").replace("conse = 0.25", "conse = 0.0"))
    assert load_recipe(recipe).model.class_columns == 0


def test_both_names_of_one_setting_are_refused(recipe: Path) -> None:
    recipe.write_text(OLD.replace("anchor = 0.5", "anchor = 0.5\nprior = 0.5"))
    with pytest.raises(InputError, match=r"`model.anchor` is the old name of `model.prior`; both are given"):
        load_recipe(recipe)


def test_weights_get_todays_names_and_nothing_else_does() -> None:
    old = [
        "head.anchor.bias",
        "network.anchor.bias",
        "network.1.anchor.bias",
        "classes.seen",
        "backbone.classes.anchor.w",
    ]
    new = ["head.prior.bias", "network.prior.bias", "network.1.prior.bias", "class_columns.seen", old[-1]]
    assert list(current_names(dict.fromkeys(old, 0))) == new
    assert list(current_names(dict.fromkeys(new, 0))) == new


@pytest.mark.slow
def test_an_old_run_is_evaluated_and_continued(cli: Cli, world: World, tmp_path: Path) -> None:  # noqa: F811
    """Its recipe has settings that are gone, its weights and checkpoint older names."""
    settings = ("--set", "training.epochs=2", "--set", "training.choose=best")
    assert cli(*world.train_arguments(tmp_path / "run"), *settings, "-q").code == 0
    run = tmp_path / "run"
    text = (run / "recipe.toml").read_text()
    old = text.replace("[training]\n", '[training]\naccumulate = 1\nbatch_norm = "train"\ncheckpoint_batches = 9\n')
    assert old != text
    (run / "recipe.toml").write_text(old)
    weights = load_file(run / "weights.safetensors")
    scores = cli("evaluate", run, *world.on(0), "--engine", "torch", "--format", "json", "-q")
    assert scores.code == 0
    shutil.rmtree(run / "bundle")
    assert cli(*world.train_arguments(run), *settings, "-q").code == 0  # from its checkpoints
    for name, value in load_file(run / "weights.safetensors").items():
        torch.testing.assert_close(value, weights[name])


@pytest.mark.slow  # loads Lightning
def test_the_weights_of_an_old_checkpoint_get_todays_names() -> None:
    from tagprism.training.module import EmbeddingTrainer

    head, vectors = EmbeddingMatrix(4, 2, 3), torch.eye(3)
    trainer = EmbeddingTrainer(head, SemanticDiversityLoss(vectors), Standardiser(vectors), TrainingTable(), 0)
    checkpoint = {"batches_done": 3, "skipped_images": 1, "failed": "{}"}
    checkpoint |= {part: {"network.1.anchor.bias": 1, "network.linear.weight": 2} for part in STATES}
    trainer.on_load_checkpoint(checkpoint)
    assert all(list(checkpoint[part]) == ["network.1.prior.bias", "network.linear.weight"] for part in STATES)
    assert trainer.batches_done == 3


def test_a_bundle_of_linear_conse_is_refused_with_the_remedy(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(world.run / "bundle", folder)
    config = json.loads((folder / CONFIG).read_text())
    save_arrays({"mean": np.zeros(3, np.float32)}, folder / CLASSES)  # without the vectors of the classes
    config["class_columns"] = 4
    config["digests"][CLASSES] = digest_file(folder / CLASSES)
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"linear ConSE that tagprism no longer has.*tagprism train RECIPE"):
        _ = Bundle(folder).class_affinity
