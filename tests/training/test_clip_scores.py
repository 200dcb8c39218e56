"""CLIP scores against open_clip's own transforms and towers, with a small random model from a local folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tagprism.errors import InputError
from tagprism.images.decode import open_picture
from tagprism.training import clip_scores
from tagprism.training.clip_scores import ClipModel
from tagprism.training.features import compute_features
from tests.small_world import LABELS, World

open_clip = pytest.importorskip("open_clip", reason="the extra [clip] is not installed")

CONFIG = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 48, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "resize_mode": "shortest"},
}


def make_clip(folder: Path, **changes: Any) -> Path:
    """A random CLIP model in open_clip's own form."""
    folder.mkdir()
    config = {**CONFIG, "preprocess_cfg": CONFIG["preprocess_cfg"] | changes}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}")
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "small")


@pytest.mark.parametrize("size", [(48, 48), (130, 70), (61, 200)])
def test_vectors_are_open_clips(size: tuple[int, int], folder: Path, tmp_path: Path) -> None:
    rough = Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8))
    rough.resize(size, Image.Resampling.BICUBIC).save(tmp_path / "x.png")
    model = ClipModel(f"open_clip:local-dir:{folder}")
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    theirs.eval()
    tokenise = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.inference_mode(), Image.open(tmp_path / "x.png") as image:
        picture = theirs.encode_image(transform(image)[None], normalize=True).numpy()
        words = theirs.encode_text(tokenise(["a photo of a hot dog.", "a photo of a sky."]), normalize=True).numpy()
        ours = model(torch.from_numpy(model.preprocess.apply(open_picture(tmp_path / "x.png")))[None]).numpy()
    # The resizes differ in their last pixel columns; another picture is far away.
    np.testing.assert_allclose(ours, picture, atol=1e-5 if size == (48, 48) else 0.02)
    with torch.inference_mode():
        other = model(torch.rand(1, 3, 48, 48)).numpy()
    assert np.abs(other - picture).max() > 0.1
    np.testing.assert_allclose(model.embed(["hot_dog", "sky"]), words, atol=1e-6)
    features = compute_features([tmp_path / "x.png"], model, model.preprocess)
    np.testing.assert_allclose(features.vectors, ours, atol=1e-4)  # exported, cached, read back


def test_two_models_do_not_share_a_cache(folder: Path, tmp_path: Path) -> None:
    other = make_clip(tmp_path / "other", resize_mode="squash")
    weights = torch.load(other / "open_clip_pytorch_model.bin", weights_only=True)
    weights["visual.proj"] += 1
    torch.save(weights, other / "open_clip_pytorch_model.bin")
    first, second = ClipModel(f"open_clip:local-dir:{folder}"), ClipModel(f"open_clip:local-dir:{other}")
    assert first.weights_digest() != second.weights_digest()
    assert (first.preprocess.resize, second.preprocess.resize) == ("crop", "squash")


def test_a_named_model_takes_a_local_file_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    whole = open_clip.create_model("ViT-B-32")
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    model = ClipModel(f"open_clip:ViT-B-32/{tmp_path / 'weights.pt'}")
    assert (model.preprocess.height, model.preprocess.resize, model.features) == (224, "crop", 512)
    torch.testing.assert_close(model.network.proj, whole.visual.proj)


def test_what_cannot_be_loaded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for spec, words in {
        "open_clip:ViT-B-33/openai": "no model `ViT-B-33`",
        "open_clip:ViT-B-32/laion3b": "neither a tag of ViT-B-32 nor a file",
        "open_clip:ViT-B-32": "neither a tag of ViT-B-32 nor a file",
        f"open_clip:local-dir:{tmp_path / 'absent'}": "cannot be loaded",
    }.items():
        with pytest.raises(InputError, match=words):
            ClipModel(spec)
    bad = make_clip(tmp_path / "bad")
    (bad / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):  # a random model is no CLIP model
        ClipModel(f"open_clip:local-dir:{bad}")
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(InputError, match="needs the extra `clip`"):
        ClipModel("open_clip:ViT-B-32/openai")


def test_compare_ranks_by_cosine(world: World, folder: Path) -> None:
    from tagprism.app import console
    from tagprism.app.cli import app
    from tagprism.datasets.registry import open_dataset
    from tagprism.datasets.splits import load_split
    from tagprism.evaluation.metrics import mean_average_precision
    from tagprism.training.experiment import Experiment
    from tagprism.training.recipe import load_recipe

    spec = f"open_clip:local-dir:{folder}"
    table = open_dataset(f"tagged:{world.data}")
    split = load_split(f"{world.data}/splits.json#0", table)
    found = Experiment(table, split, ks=(3,)).baseline(spec, load_recipe(world.recipe))
    rows = table.rows_of(split.test)
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    theirs.eval()
    names = (*split.seen, *split.unseen)
    assert set(names) == set(LABELS)
    words = open_clip.get_tokenizer(f"local-dir:{folder}")([clip_scores.PROMPT.format(name) for name in names])
    with torch.inference_mode():
        pictures = torch.stack([transform(Image.open(table.files[int(row)]).convert("RGB")) for row in rows])
        cosines = theirs.encode_image(pictures, normalize=True) @ theirs.encode_text(words, normalize=True).T
    targets = table.targets(rows, names)
    expected = mean_average_precision(cosines.numpy(), targets)
    assert found.gzsl.labelled.mean_ap == pytest.approx(expected, abs=3)  # another decoder of the same small drawings
    assert found.label_encoder == spec
    arguments = ["compare", str(world.recipe), *world.on(0), "--baseline", spec, "--format", "markdown", "--quiet"]
    assert console.run(lambda: app(arguments, standalone_mode=False)) == 0
