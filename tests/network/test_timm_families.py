"""Any timm model: forty families with random weights, one look and one training step each; sizes, names and pooling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tagprism.errors import InputError, MachineError
from tagprism.network.backbones import Backbone
from tagprism.training.networks import open_backbone
from tagprism.training.recipe import ModelTable

SMALL, LARGER, LARGEST = 64, 96, 128
FAMILIES = {
    "cait_xxs24_224": SMALL,
    "coat_tiny": SMALL,
    "coatnet_pico_rw_224": SMALL,
    "convit_tiny": SMALL,
    "convnext_atto": SMALL,
    "convnextv2_atto": SMALL,
    "deit_tiny_patch16_224": SMALL,
    "dla46_c": SMALL,
    "edgenext_xx_small": SMALL,
    "efficientformerv2_s0": SMALL,
    "efficientvit_b0": SMALL,
    "efficientvit_m0": SMALL,
    "eva02_tiny_patch14_224": 56,
    "fasternet_t0": SMALL,
    "fastvit_t8": SMALL,
    "gcvit_xxtiny": SMALL,
    "ghostnet_050": SMALL,
    "hgnetv2_b0": SMALL,
    "inception_next_atto": SMALL,
    "lcnet_035": SMALL,
    "levit_128s": SMALL,
    "mambaout_femto": SMALL,
    "mobilenetv3_small_050": SMALL,
    "mobilevit_xxs": SMALL,
    "pit_ti_224": LARGER,
    "poolformer_s12": SMALL,
    "pvt_v2_b0": SMALL,
    "regnetx_002": SMALL,
    "repghostnet_050": SMALL,
    "repvit_m0_9": SMALL,
    "resnet10t": SMALL,
    "shvit_s1": SMALL,
    "starnet_s050": SMALL,
    "swiftformer_xs": SMALL,
    "test_nfnet": SMALL,
    "test_resnet": SMALL,
    "tf_efficientnet_lite0": SMALL,
    "tiny_vit_5m_224": LARGER,
    "vit_small_patch14_dinov2": 56,
    "vit_small_patch16_dinov3": SMALL,
    "vit_tiny_patch16_224": LARGEST,
    "vit_base_patch16_siglip_224": SMALL,
    "xcit_nano_12_p16_224": SMALL,
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), FAMILIES.items())
def test_a_family_looks_and_learns(name: str, size: int) -> None:
    torch.manual_seed(0)
    backbone = Backbone(name, "random", size=size)
    assert backbone.image_size == (size, size)
    pixels = torch.randn(2, 3, size, size)
    features = backbone.train()(pixels)
    assert features.shape == (2, backbone.features) and features.isfinite().all()
    steps = torch.optim.SGD(backbone.parameters(), lr=1e-2)
    before = {key: value.clone() for key, value in backbone.named_parameters()}
    features.square().mean().backward()
    steps.step()
    reached = [key for key, value in backbone.named_parameters() if value.grad is not None]
    assert len(reached) > 0.9 * len(before)  # some gradients are zero at first, behind gates that begin at zero
    assert any(not torch.equal(value, before[key]) for key, value in backbone.named_parameters())
    with torch.inference_mode():
        assert backbone.eval()(pixels).isfinite().all()


def test_position_embeddings_of_another_size_are_resampled(tmp_path: Path) -> None:
    """As timm resamples those of its hub: here the weights are a file."""
    name = "test_vit"
    trained = timm.create_model(name)
    torch.nn.init.normal_(trained.pos_embed)
    save_file(trained.state_dict(), tmp_path / "own.safetensors")
    own = trained.pretrained_cfg["input_size"][-1]
    backbone = Backbone(name, str(tmp_path / "own.safetensors"), size=own // 2)
    expected = timm.layers.resample_abs_pos_embed(
        trained.pos_embed, backbone.network.patch_embed.grid_size, num_prefix_tokens=1
    )
    torch.testing.assert_close(backbone.network.pos_embed, expected)
    torch.testing.assert_close(Backbone(name, str(tmp_path / "own.safetensors")).network.pos_embed, trained.pos_embed)


def test_a_size_that_does_not_go_is_refused() -> None:
    with pytest.raises(InputError, match="cannot take pictures of 96 pixels a side"):
        Backbone("efficientformer_l1", "random", size=96)


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_the_class_token_or_the_mean_of_the_patches(name: str) -> None:
    model = {"backbone": name, "weights": "random", "image_size": 96}
    torch.manual_seed(0)
    token = open_backbone(ModelTable(**model, rows_from="token")).eval()
    torch.manual_seed(0)
    mean = open_backbone(ModelTable(**model)).eval()
    pixels = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        places = token.network.forward_features(pixels)
        expected = places[:, 0] if name == "vit_tiny_patch16_224" else token(pixels)
        torch.testing.assert_close(token(pixels), expected)
        torch.testing.assert_close(mean(pixels), places[:, mean.network.num_prefix_tokens :].mean(dim=1))
    assert token.weights_digest() != mean.weights_digest()  # kept features are not taken for the others
    assert mean.classifier is None and token.classifier is None


def test_attention_pooling_of_siglip_stays() -> None:
    torch.manual_seed(0)
    model = {"backbone": "vit_base_patch32_siglip_256", "weights": "random", "image_size": 64}
    backbone = open_backbone(ModelTable(**model, rows_from="token")).eval()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = backbone.network.attn_pool(backbone.network.forward_features(pixels))
        torch.testing.assert_close(backbone(pixels), expected)


def test_a_folder_of_timm(tmp_path: Path) -> None:
    network = timm.create_model("test_vit", img_size=64)
    config = {"architecture": "test_vit", "num_classes": 1000, "model_args": {"img_size": 64}}
    config["pretrained_cfg"] = {"input_size": [3, 64, 64], "mean": [0.5, 0.4, 0.3], "std": [0.2] * 3}
    config["pretrained_cfg"] |= {"classifier": "head", "first_conv": "patch_embed.proj", "num_classes": 1000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    name = f"local-dir:{tmp_path}"
    with pytest.raises(InputError, match="no folder of a timm model"):
        Backbone(name)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    backbone = Backbone(name)
    torch.testing.assert_close(backbone.network.pos_embed, network.pos_embed)
    assert backbone.image_size == (64, 64) and backbone.mean == (0.5, 0.4, 0.3)
    assert backbone.classifier is None or backbone.classifier.out_features == 1000
    larger = Backbone(name, size=96)
    assert larger.image_size == (96, 96) and larger.network.pos_embed.shape != network.pos_embed.shape
    with pytest.raises(InputError, match="no folder of a timm model"):
        Backbone(f"local-dir:{tmp_path / 'absent'}")


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(MachineError, match=r"settings of hf-hub:owner/name.*no route to host"):
        Backbone("hf-hub:owner/name", "random")
    with pytest.raises(MachineError, match=r"pretrained weights of hf-hub:owner/name"):
        Backbone("hf-hub:owner/name")
