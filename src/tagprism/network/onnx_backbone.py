"""The image network of a foreign model in ONNX as a frozen backbone: its unit vectors are the features."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tagprism.bundle.referring import open_foreign
from tagprism.errors import InputError
from tagprism.files import digest_json
from tagprism.network.backbones import Backbone
from tagprism.network.onnx_models import ONNX


class OnnxBackbone(Backbone):
    """A public CLIP or SigLIP in a layout of its own; it is run by ONNX Runtime, and never trained.

    Args:
        spec: `onnx:...`, see `onnx_models`.

    Attributes:
        foreign: the model.
        reference: what a bundle keeps of it.
        features: E, the length of its vectors, which lie in its text network's space already.
        projection: (E, E), the identity: from the features to that space.
        embedding: E.
        preprocess: how its pictures are prepared.

    Raises:
        InputError: there is no such model, or it is not understood.
        MachineError: it cannot be fetched.
    """

    projection: Tensor
    network = None  # it is no module of torch

    def __init__(self, spec: str) -> None:
        nn.Module.__init__(self)
        self.foreign, self.reference = open_foreign(spec.removeprefix(ONNX))
        self.name, self.classifier = spec, None
        self.features = self.embedding = self.foreign.config.dimension
        self.register_buffer("projection", torch.eye(self.features), persistent=False)
        its = self.preprocess = self.foreign.layout.vision.preprocess
        self.image_size, self.mean, self.std = (its.height, its.width), its.mean, its.std
        self.interpolation, self.resize, self.pad_color = its.interpolation, its.resize, its.pad_color

    def last_map(self, pixels: Float[Tensor, "B 3 H W"]) -> Any:
        """The features themselves: there is no map whose mean they are."""
        return torch.from_numpy(self.foreign.model(pixels.detach().cpu().numpy())).to(pixels.device)

    def pooled(self, found: Any) -> Float[Tensor, "B E"]:
        """What `last_map` gave."""
        features: Tensor = found
        return features

    def with_places(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B T E"]]:
        """Nothing.

        Raises:
            InputError: always.
        """
        what = "an ONNX export gives one vector a picture, and no patches."
        raise InputError(what, where=self.name, remedy='Set model.rows_from = "pooled".')

    def weights_digest(self) -> str:
        """SHA-256 over the model's files: two of one digest give the same features."""
        return digest_json(["onnx", self.reference.digest])
