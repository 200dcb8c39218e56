"""Rows of an embedding matrix that look at the patches of a picture, each by its own attention. Knows only tensors."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tagprism.errors import InputError
from tagprism.files import digest_bytes
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix


class PatchFeatures(Backbone):
    """A backbone that gives its pooled features and those of every patch, one after the other in one row.

    Args:
        backbone: whose patches have features of the pooled ones' length.
        image_size: (H, W) of the pixels.

    Attributes:
        features: (1 + T) * C.
        whole: the backbone itself.

    Raises:
        InputError: the backbone has no patches, or what it pools has another length.
    """

    def __init__(self, backbone: Backbone, image_size: tuple[int, int]) -> None:
        nn.Module.__init__(self)
        self.name, self.whole, self.classifier = f"{backbone.name} and patches", backbone, None
        with torch.inference_mode():
            features, places = backbone.eval().with_places(torch.zeros(1, 3, *image_size))
        if places.shape[2] != features.shape[1]:
            raise InputError(
                f"its patches have {places.shape[2]} numbers and its pooled features {features.shape[1]}.",
                where=f"{backbone.name}, model.rows_from",
                remedy='Set model.rows_from = "pooled".',
            )
        self.features = (1 + places.shape[1]) * places.shape[2]
        self.image_size, self.mean, self.std = backbone.image_size, backbone.mean, backbone.std
        self.interpolation, self.resize = backbone.interpolation, backbone.resize
        self.pad_color = backbone.pad_color

    @property
    def pooling(self) -> Backbone:
        """The backbone without its patches."""
        return self.whole

    def weights_digest(self) -> str:
        """SHA-256 of the backbone's, and of this name."""
        return digest_bytes(f"{self.name} {self.whole.weights_digest()}".encode())

    def last_map(self, pixels: Float[Tensor, "B 3 H W"]) -> Any:
        """Pooled features and patches."""
        return self.whole.with_places(pixels)

    def pooled(self, found: Any) -> Float[Tensor, "B TC"]:
        """Pooled features, then the patches, in one row."""
        features, places = found
        return torch.cat([features[:, None], places], dim=1).flatten(1)


class PatchRows(EmbeddingMatrix):
    """Each row is a linear map of a weighted mean of patches; a query per row gives the weights, at first equal ones.

    Args:
        channels: C.
        vectors: M.
        dimension: D.
        prior: what the backbone already knows, from the pooled features.
    """

    def __init__(self, channels: int, vectors: int, dimension: int, prior: nn.Module | None = None) -> None:
        super().__init__(channels, vectors, dimension, prior)
        self.queries = nn.Parameter(torch.zeros(vectors, channels))

    def forward(self, features: Float[Tensor, "B TC"]) -> Float[Tensor, "B M D"]:
        """Embedding matrices of what `PatchFeatures` gives."""
        tokens = features.view(features.shape[0], -1, self.queries.shape[1])  # (B, 1 + T, C)
        weights = (tokens @ self.queries.T / self.queries.shape[1] ** 0.5).softmax(dim=1)  # (B, 1 + T, M)
        looked = weights.mT @ tokens  # (B, M, C)
        maps = self.linear.weight.view(self.vectors, self.dimension, -1)
        matrices = torch.einsum("bmc,mdc->bmd", looked, maps)
        return matrices if self.prior is None else matrices + self.prior(tokens[:, 0])[:, None]
