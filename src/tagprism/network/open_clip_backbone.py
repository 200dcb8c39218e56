"""A CLIP model's image tower as a backbone, and its vector as the prior of a head. Knows neither labels nor texts.

Features are what the tower has before its last linear map (of a ViT: the class token), as in linear probes of CLIP;
that map, `projection`, leads from there to CLIP's own space, in which its text tower puts phrases.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tagprism.errors import InputError
from tagprism.network.backbones import Backbone
from tagprism.network.open_clip_models import PREFIX, load_clip

_RESIZES = {"shortest": "crop", "longest": "pad", "squash": "squash"}
_FILTERS = ("bicubic", "bilinear")


class ClipBackbone(Backbone):
    """The image tower of an open_clip model.

    Args:
        spec: `open_clip:...`, see `open_clip_models`.
        weights: `pretrained` (those the name says) or `random`.

    Attributes:
        features: C, the length of the feature vector.
        projection: (E, C), CLIP's own last map, or the identity where it cannot be told apart; not trained.
        embedding: E, the length of a vector of CLIP's own space.
        classifier: None.
        image_size, mean, std, interpolation, resize, pad_color: how pixels must be prepared.

    Raises:
        InputError: no such model, another kind of weights, or pictures prepared in a way that is not known here.
        MachineError: the weights cannot be had.
    """

    projection: Tensor

    def __init__(self, spec: str, weights: str = "pretrained") -> None:
        nn.Module.__init__(self)
        if weights not in ("pretrained", "random"):
            raise InputError(
                "a CLIP backbone's weights are part of its name.",
                where="model.weights",
                remedy=f'Set model.backbone = "{PREFIX}MODEL/FILE".',
            )
        clip, _ = load_clip(spec, random=weights == "random")
        self.name, self.network, self.classifier = spec, clip.visual, None
        self._read_preparation(clip.visual.preprocess_cfg, spec)
        projection = _taken_projection(self.network)
        with torch.inference_mode():
            self.features = int(self.eval()(torch.zeros(1, 3, *self.image_size)).shape[1])
        self.register_buffer("projection", torch.eye(self.features) if projection is None else projection)
        self.embedding = len(self.projection)

    def last_map(self, pixels: Float[Tensor, "B 3 H W"]) -> Any:
        """The features themselves: there is no map whose mean they are."""
        found = self.network(pixels)
        return found[0] if isinstance(found, tuple) else found  # with its tokens: CoCa, and after `with_places`

    def pooled(self, found: Any) -> Float[Tensor, "B C"]:
        """What `last_map` gave."""
        features: Tensor = found
        return features

    def with_places(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B T C"]]:
        """Features, and those of the T patches in the same space.

        Raises:
            InputError: the tower has no such patches.
        """
        if not hasattr(self.network, "output_tokens") or self.network.attn_pool is not None:
            raise InputError("this image tower has no patches to be looked at apart.", where=self.name)
        self.network.output_tokens = True  # for good: several threads may be in here, and `last_map` takes both forms
        features, tokens = self.network(pixels)
        return features, tokens

    def embed(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B E"]:
        """Unit vectors in CLIP's own space."""
        return nn.functional.normalize(features @ self.projection.T, dim=-1)

    def _read_preparation(self, config: dict[str, Any], spec: str) -> None:
        if config["resize_mode"] not in _RESIZES or config["interpolation"] not in _FILTERS:
            raise InputError(
                f"wants its pictures resized as `{config['resize_mode']}`, `{config['interpolation']}`, which is not "
                "known here.",
                where=spec,
            )
        size = config["size"]
        self.image_size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self.interpolation, self.resize = config["interpolation"], _RESIZES[config["resize_mode"]]
        self.pad_color = (config.get("fill_color") or 0,) * 3


def _taken_projection(visual: Any) -> Float[Tensor, "E C"] | None:
    """Take the last linear map off a tower: of open_clip's own transformers, and of timm's networks in open_clip."""
    projection: Tensor | None = None
    if isinstance(own := getattr(visual, "proj", None), nn.Parameter):
        projection, visual.proj = own.detach().T.contiguous(), None
    elif isinstance(head := getattr(visual, "head", None), nn.Sequential) and list(head._modules) == ["drop", "proj"]:
        linear: Any = head._modules["proj"]
        if linear.bias is None:
            projection, visual.head = linear.weight.detach().clone(), nn.Identity()
    return projection


class OpenClipPrior(nn.Module):
    """CLIP's own vector of a picture, where its text vectors lie in the label space: `weight * unit(features P) lift`.

    With a label space of CLIP's text tower alone the lift is the identity, and a label's score is `weight` times CLIP's
    own cosine. Nothing in it is trained.

    Args:
        features: C, length of the feature vector.
        embedding: E, length of a vector of CLIP's space.
        dimension: D, length of a label vector.
        weight: length of the vector before the lift; CLIP's own logits are cosines times about 100.
    """

    def __init__(self, features: int, embedding: int, dimension: int, *, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("projection", torch.zeros(embedding, features))
        self.register_buffer("lift", torch.zeros(embedding, dimension))

    def fill(self, projection: Float[Tensor, "E C"], lift: Float[Tensor, "E D"]) -> OpenClipPrior:
        """Take over CLIP's projection, and the map from its space to the label space."""
        self.get_buffer("projection").copy_(projection)
        self.get_buffer("lift").copy_(lift)
        return self

    def forward(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B D"]:
        """A vector of the label space for every feature vector."""
        embedded = functional.normalize(functional.linear(features, self.get_buffer("projection")), dim=1)
        lifted: Tensor = self.weight * embedded @ self.get_buffer("lift")
        return lifted
