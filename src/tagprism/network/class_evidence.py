"""A backbone whose features end with the evidence for the classes of its own classifier. Knows only tensors.

A small thing in a large picture is lost in the mean over the places, and found at its own: a class counts
`sqrt(p(whole picture) * max over places p(place))` where the features are the mean of a map, else its posterior.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tagprism.files import digest_bytes
from tagprism.network.backbones import Backbone
from tagprism.network.export import feature_map


class ClassEvidence(Backbone):
    """Pooled features (C), and behind them the evidence for each of K classes, 0..1.

    Args:
        inner: the backbone; its classifier is taken over where it has one.
        places: (h, w) of the map that its features are the mean of (`network.find_places`), or None.
        classes: K.
    """

    def __init__(self, inner: Backbone, places: tuple[int, int] | None, classes: int) -> None:
        nn.Module.__init__(self)
        self.inner, self.places, self.classes = inner, places, classes
        self.name, self.features = f"{inner.name} with classes", inner.features + classes
        self.image_size, self.mean, self.std = inner.image_size, inner.mean, inner.std
        self.interpolation, self.resize, self.pad_color = inner.interpolation, inner.resize, inner.pad_color
        object.__setattr__(self, "classifier", inner.classifier)  # a module has one owner: `inner`
        self.register_buffer("weight", torch.zeros(classes, inner.features))
        self.register_buffer("bias", torch.zeros(classes))
        if inner.classifier is not None:
            self.get_buffer("weight").copy_(inner.classifier.weight.detach())
            self.get_buffer("bias").copy_(inner.classifier.bias.detach())

    @property
    def network(self) -> Any:
        """The network of the backbone inside."""
        return self.inner.network

    def weights_digest(self) -> str:
        """SHA-256 over the weights of the backbone and the classifier."""
        rows = [self.get_buffer(name).cpu().numpy().tobytes() for name in ("weight", "bias")]
        return digest_bytes(f"{self.inner.weights_digest()} {self.places}".encode() + b"".join(rows))

    def last_map(self, pixels: Float[Tensor, "B 3 H W"]) -> Any:
        """That of the backbone inside."""
        return self.inner.last_map(pixels)

    def pooled(self, found: Any) -> Float[Tensor, "B CK"]:
        """Pooled features and classes of a last map."""
        features = self.inner.pooled(found)
        seen = self._posterior(features)
        if self.places is not None:
            rows = feature_map(found, self.inner.features, self.places[0] * self.places[1])  # (B, P, C)
            seen = (seen * self._posterior(rows).amax(dim=1)).sqrt()
        return torch.cat([features, seen], dim=1)

    def _posterior(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.get_buffer("weight"), self.get_buffer("bias")).softmax(dim=-1)
