"""CLIP's image towers as backbones: open_clip's own vectors, in open_clip's own preparation, in ONNX too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tagprism.errors import InputError, MachineError
from tagprism.images.decode import open_picture
from tagprism.network.backbone_union import BackboneUnion
from tagprism.network.backbones import make_backbone
from tagprism.network.export import export_onnx, find_places
from tagprism.network.open_clip_backbone import ClipBackbone
from tagprism.network.patch_rows import PatchFeatures
from tagprism.training.networks import open_backbone
from tagprism.training.prepare import make_preprocess
from tagprism.training.recipe import ModelTable, Recipe
from tests.small_clip import make_clip, open_clip, theirs

TOWERS: dict[str, tuple[dict[str, Any], int]] = {  # config, length of the features before the projection
    "class token": ({}, 64),
    "mean of the patches": ({"pool_type": "avg", "final_ln_after_pool": True}, 64),
    "ResNet": ({"layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "patch_size": None, "head_width": 32}, 24),
    "timm": ({"timm_model_name": "test_vit.r160_in1k", "timm_pool": "token", "image_size": 160}, 64),
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_clip(tmp_path_factory.mktemp("clip") / "small")


@pytest.mark.slow
@pytest.mark.parametrize("name", TOWERS)
def test_every_kind_of_tower_gives_open_clips_vectors(name: str, tmp_path: Path) -> None:
    vision, features = TOWERS[name]
    spec = make_clip(tmp_path / "clip", vision=vision)
    backbone = make_backbone(spec)
    assert isinstance(backbone, ClipBackbone)
    pixels = torch.rand(2, 3, *backbone.image_size)
    with torch.inference_mode():
        found = backbone(pixels)
        expected = theirs(spec)[0].encode_image(pixels, normalize=True)
        torch.testing.assert_close(backbone.embed(found), expected, atol=1e-6, rtol=1e-5)
    assert found.shape == (2, features) and backbone.features == features and backbone.embedding == 24
    assert export_onnx(backbone, backbone.image_size, tmp_path / "x.onnx") < 1e-3
    assert find_places(backbone, backbone.image_size) is None  # no plain mean of a map: refused by --explain


@pytest.mark.parametrize("size", [(48, 48), (130, 70), (61, 200)])
def test_pictures_are_prepared_as_by_open_clip(size: tuple[int, int], spec: str, tmp_path: Path) -> None:
    rough = Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8))
    rough.resize(size, Image.Resampling.BICUBIC).save(tmp_path / "x.png")
    backbone = make_backbone(spec)
    model, transform, _ = theirs(spec)
    preprocess = make_preprocess(Recipe(name="x", model=ModelTable(backbone=spec)), backbone)
    assert (preprocess.resize, preprocess.interpolation, preprocess.mean) == ("crop", "bicubic", (0.4, 0.5, 0.6))
    with torch.inference_mode(), Image.open(tmp_path / "x.png") as image:
        picture = model.encode_image(transform(image)[None], normalize=True)
        ours = backbone.embed(backbone(torch.from_numpy(preprocess.apply(open_picture(tmp_path / "x.png")))[None]))
        # The resizes differ in their last pixel columns; another picture is far away.
        torch.testing.assert_close(ours, picture, atol=1e-5 if size == (48, 48) else 0.02, rtol=0)
        assert (backbone.embed(backbone(torch.rand(1, 3, 48, 48))) - picture).abs().max() > 0.1


def test_two_models_do_not_share_a_cache(spec: str, tmp_path: Path) -> None:
    other = make_clip(tmp_path / "other", resize_mode="squash")
    file = tmp_path / "other/open_clip_pytorch_model.bin"
    weights = torch.load(file, weights_only=True)
    weights["visual.conv1.weight"] += 1
    torch.save(weights, file)
    first, second = ClipBackbone(spec), ClipBackbone(other)
    assert first.weights_digest() != second.weights_digest()
    assert (first.resize, second.resize) == ("crop", "squash")
    assert first.weights_digest() == ClipBackbone(spec).weights_digest()


@pytest.mark.slow
def test_patches_are_those_that_the_tower_pools(tmp_path: Path) -> None:
    spec = make_clip(tmp_path / "clip", vision={"pool_type": "avg"})
    backbone = open_backbone(ModelTable(backbone=spec, rows_from="patches"))
    assert isinstance(backbone, PatchFeatures) and backbone.features == (1 + 9) * 64
    pixels = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        rows = backbone(pixels).view(2, 10, 64)
        torch.testing.assert_close(rows[:, 0], rows[:, 1:].mean(dim=1), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(rows[:, 0], make_backbone(spec)(pixels))
    assert backbone.weights_digest() != backbone.whole.weights_digest()
    assert export_onnx(backbone, (48, 48), tmp_path / "x.onnx") < 1e-3
    resnet = make_clip(tmp_path / "resnet", vision=TOWERS["ResNet"][0])
    with pytest.raises(InputError, match="no patches"):
        open_backbone(ModelTable(backbone=resnet, rows_from="patches"))


@pytest.fixture
def named(tmp_path: Path) -> str:
    """A small model under a name of its own, as open_clip's are."""
    make_clip(tmp_path / "c")
    config = json.loads((tmp_path / "c/open_clip_config.json").read_text())
    (tmp_path / "tagprism-test.json").write_text(json.dumps(config["model_cfg"]))
    open_clip.add_model_config(tmp_path / "tagprism-test.json")
    return "tagprism-test"


def test_a_named_model_takes_a_local_file_or_random_weights(named: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = open_clip.create_model(named)
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    backbone = ClipBackbone(f"open_clip:{named}/{tmp_path / 'weights.pt'}")
    assert (backbone.image_size, backbone.resize, backbone.features, backbone.embedding) == ((48, 48), "crop", 64, 24)
    torch.testing.assert_close(backbone.projection, whole.visual.proj.detach().T)
    state = torch.get_rng_state()
    random = ClipBackbone(f"open_clip:{named}/random")
    assert torch.equal(torch.get_rng_state(), state)  # drawn from a seed of its own
    again = ClipBackbone(f"open_clip:{named}/{tmp_path / 'weights.pt'}", "random")
    assert torch.equal(random.projection, again.projection)
    assert not torch.equal(random.projection, backbone.projection)


@pytest.mark.slow
def test_a_network_to_load_weights_into_has_their_activation() -> None:
    kinds = {tag: ClipBackbone(f"open_clip:ViT-B-32/{tag}", "random") for tag in ("openai", "laion2b_s34b_b79k")}
    names = {tag: {type(module).__name__ for module in kind.modules()} for tag, kind in kinds.items()}
    assert "QuickGELU" in names["openai"] and "QuickGELU" not in names["laion2b_s34b_b79k"]


def test_what_cannot_be_loaded_is_refused(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in {
        "open_clip:ViT-B-33/openai": "no model `ViT-B-33`",
        "open_clip:ViT-B-32/laion3b": "neither a tag of ViT-B-32 nor a file",
        "open_clip:ViT-B-32": "neither a tag of ViT-B-32 nor a file",
        f"open_clip:local-dir:{tmp_path / 'absent'}": "cannot be loaded",
    }.items():
        with pytest.raises(InputError, match=words):
            make_backbone(name)
    bad = make_clip(tmp_path / "bad")
    (tmp_path / "bad/open_clip_pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):  # a random model is no CLIP model
        make_backbone(bad)
    with pytest.raises(InputError, match=r"model\.image_size: .* takes pictures of 48 pixels"):
        open_backbone(ModelTable(backbone=spec, image_size=64))
    with pytest.raises(InputError, match=r"model\.weights: a CLIP backbone's weights are part of its name"):
        make_backbone(spec, "x.safetensors")
    with pytest.raises(InputError, match="different mean"):
        make_backbone([spec, "test_vit.r160_in1k"], "random")
    assert isinstance(make_backbone([spec, spec], "random"), BackboneUnion)
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(InputError, match="needs the extra `clip`"):
        make_backbone("open_clip:ViT-B-32/openai")


def test_a_hub_that_does_not_answer_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MachineError, match=r"laion2b_s34b_b79k: the CLIP model cannot be loaded.*Check the network"):
        make_backbone("open_clip:ViT-B-32/laion2b_s34b_b79k")
    with pytest.raises(MachineError, match=r"owner/name: the CLIP model cannot be loaded.*Check the network"):
        make_backbone("open_clip:hf-hub:owner/name")
