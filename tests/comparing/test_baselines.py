"""Ridge and ConSE against other people's code and the slow definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from timm.data.imagenet_info import ImageNetInfo

from tagprism.comparing import baselines
from tagprism.comparing.baselines import conse, ridge
from tagprism.comparing.methods import authors_recipe, single_vector_recipe
from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import load_encoder
from tagprism.labels.label_space import LabelSpace
from tagprism.labels.space_part import SpacePart
from tagprism.network.backbones import Backbone
from tagprism.network.encoder_sources import encoder_folder
from tagprism.training.recipe import load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_the_solution_is_scikit_learns(penalty: float) -> None:
    random = np.random.default_rng(0)
    inputs, wanted, asked = (random.standard_normal(shape) for shape in ((40, 12), (40, 5), (7, 12)))
    inputs += 3  # not centred
    strength = penalty * inputs.var(axis=0).mean() * len(inputs)
    expected = Ridge(alpha=strength).fit(inputs, wanted).predict(asked)
    np.testing.assert_allclose(baselines._solve(inputs, wanted, asked, penalty), expected, rtol=1e-6, atol=1e-9)


def test_ridge_finds_a_linear_rule_and_leaves_images_without_labels_out() -> None:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((6, 4)).astype(np.float32)
    labels = random.integers(0, 6, 120)
    rule = random.standard_normal((4, 9))
    features = (vectors[labels] @ rule).astype(np.float32)
    targets = np.zeros((120, 6), np.int8)
    targets[np.arange(120), labels] = 1
    targets[:10] = -1
    features[:10] = 1e3  # would spoil everything
    predicted = ridge(features[:100], targets[:100], vectors, features[100:])
    assert predicted.shape == (20, 1, 4) and predicted.dtype == np.float32
    np.testing.assert_allclose(predicted[:, 0], vectors[labels[100:]], atol=1e-2)


@pytest.mark.slow
def test_conse_equals_the_slow_definition(tmp_path: Path) -> None:
    info = ImageNetInfo()
    names = [info.index_to_description(index).split(",")[0] for index in range(1000)]
    random = np.random.default_rng(2)
    table = {name.lower(): random.standard_normal(6) for name in names[::3]}
    words = tmp_path / "classes.npz"
    np.savez(words, labels=list(table), vectors=np.stack(list(table.values())).astype(np.float32))
    encoder = load_encoder(encoder_folder(f"file:{words}"))
    space = LabelSpace.fit([SpacePart(encoder="x")], {"x": encoder}, list(table)[:5])
    backbone = Backbone("tf_efficientnet_lite0")
    features = random.random((3, backbone.features)).astype(np.float32)
    known = [place for place, name in enumerate(names) if encoder.encode([name]).any()]
    assert 300 < len(known) < 1000
    assert backbone.classifier is not None
    with torch.inference_mode():
        posterior = backbone.classifier(torch.from_numpy(features)).softmax(1).numpy()
    for row, found in enumerate(conse(features, backbone, space, classes=4)):
        best = sorted(known, key=lambda place: -posterior[row, place])[:4]
        mixed = sum(posterior[row, place] * space.embed([names[place]]).vectors[0] for place in best)
        np.testing.assert_allclose(found[0], mixed / np.linalg.norm(mixed), atol=1e-5)


def test_the_authors_way_of_a_recipe() -> None:
    recipe = load_recipe(RECIPES / "corel5k.toml")
    theirs = load_recipe(RECIPES / "corel5k_authors.toml")
    assert authors_recipe(recipe).model_dump(exclude={"name"}) == theirs.model_dump(exclude={"name"})
    assert single_vector_recipe(recipe) == load_recipe(RECIPES / "corel5k.toml", ("model.vectors=1",))


def test_conse_needs_a_classifier(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", labels=["a", "b"], vectors=np.eye(2, dtype=np.float32))
    encoder = load_encoder(encoder_folder(f"file:{tmp_path / 'w.npz'}"))
    space = LabelSpace.fit([SpacePart(encoder="x")], {"x": encoder}, ["a", "b"])
    backbone = Backbone("test_efficientnet.r160_in1k", "random")
    with pytest.raises(InputError, match="ImageNet-1k classifier"):
        conse(np.zeros((1, backbone.features), np.float32), backbone, space)
