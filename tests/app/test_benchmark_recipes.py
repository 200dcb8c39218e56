"""The recipes of the three benchmarks, dry: from pictures in the official layouts to a result, with a tiny backbone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagprism.datasets.registry import open_dataset
from tagprism.labels.phrases import spoken_phrase
from tagprism.training.recipe import load_recipe
from tests.app.conftest import Cli
from tests.datasets.official_trees import make_coco, make_nus_wide, make_open_images

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TREES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "nus_wide": ("nus-wide", make_nus_wide),
    "coco_48_17": ("coco", make_coco),
    "open_images": ("open-images", make_open_images),
}
SMALL = {
    "model.backbone": "test_efficientnet.r160_in1k",
    "model.weights": "random",
    "model.image_size": "64",
    "training.epochs": "2",
    "training.workers": "0",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, Path]]:
    """The data set of a recipe as `KIND:DIR`, and a file of label vectors in the form of the authors' release."""
    made: dict[str, tuple[str, Path]] = {}

    def place(name: str) -> tuple[str, Path]:
        if name not in made:
            kind, make = TREES[name]
            folder = tmp_path_factory.mktemp(name)
            make(folder / "data")
            named = open_dataset(f"{kind}:{folder / 'data'}").labels
            labels = list(dict.fromkeys(map(spoken_phrase, named)))
            vectors = np.random.default_rng(0).standard_normal((len(labels), 300)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            np.savez(folder / "official_label_vectors.npz", labels=np.array(labels), vectors=vectors)
            made[name] = f"{kind}:{folder / 'data'}", folder / "official_label_vectors.npz"
        return made[name]

    return place


@pytest.mark.slow
@pytest.mark.parametrize("modern", [False, True], ids=["authors", "modern"])
@pytest.mark.parametrize("name", TREES)
def test_from_pictures_to_a_result(
    name: str, modern: bool, places: Callable[[str], tuple[str, Path]], cli: Cli, tmp_path: Path
) -> None:
    data, vectors = places(name)
    recipe = RECIPES / f"{name}{'_modern' * modern}.toml"
    changed = SMALL | {"labels.parts": f'[{{ encoder = "file:{vectors.as_posix()}", centre = {str(modern).lower()} }}]'}
    changed |= {"training.validation": "0.3"} if modern else {"training.precision": "32"}  # fp16 needs a GPU
    settings = [part for key, value in changed.items() for part in ("--set", f"{key}={value}")]
    trained = cli("train", recipe, "--data", data, "--out", tmp_path / "run", "--limit", 64, *settings)
    assert trained.code == 0, trained.err
    assert "images/s" in trained.err and "waiting for data" in trained.err
    config = json.loads((tmp_path / "run/bundle/config.json").read_text())
    assert config["vectors"] == load_recipe(recipe).model.vectors
    assert config["standardised"] is modern
    measured = cli("evaluate", tmp_path / "run", "--data", data, "--limit", 64, "--format", "json", "--quiet")
    assert measured.code == 0, measured.err
    result = json.loads(measured.out)
    for task in ("zsl", "gzsl"):
        assert result[task]["images"] > 0 and 0 < result[task]["mAP"] <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nus_wide", "coco_48_17"])
def test_on_clip_from_pictures_to_a_result(
    name: str, places: Callable[[str], tuple[str, Path]], cli: Cli, tmp_path: Path
) -> None:
    pytest.importorskip("open_clip", reason="the extra [clip] is not installed")
    from tests.small_clip import make_clip

    data, _ = places(name)
    spec, recipe = make_clip(tmp_path / "clip"), RECIPES / f"{name}_clip.toml"
    (part,) = load_recipe(recipe).labels.parts
    parts = f'[{{ encoder = "{spec}", template = "{part.template}" }}]'
    changed = {"model.backbone": spec, "labels.parts": parts, "training.epochs": "2", "training.workers": "0"}
    changed["training.validation"] = "0.3"
    settings = [part for key, value in changed.items() for part in ("--set", f"{key}={value}")]
    trained = cli("train", recipe, "--data", data, "--out", tmp_path / "run", "--limit", 64, *settings, "--quiet")
    assert trained.code == 0, trained.err
    measured = cli("evaluate", tmp_path / "run", "--data", data, "--limit", 64, "--format", "json", "--quiet")
    assert measured.code == 0, measured.err
    assert 0 < json.loads(measured.out)["zsl"]["mAP"] <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
def test_without_the_label_vectors_the_recipe_says_what_is_missing(
    name: str, places: Callable[[str], tuple[str, Path]], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, _ = places(name)
    (part,) = load_recipe(RECIPES / f"{name}.toml").labels.parts
    missing = part.encoder.removeprefix("file:")
    cli("train", RECIPES / f"{name}.toml", "--data", data, "--out", "run", "--quiet").refused(missing)
