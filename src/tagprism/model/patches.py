"""Rows of an embedding matrix that look at the patches of a picture, each by an attention of its own. Knows only tensors."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tagprism.errors import InputError
from tagprism.model.anchor import Anchor
from tagprism.model.backbones import Backbone, FeatureNetwork
from tagprism.model.clip_backbone import ClipBackbone
from tagprism.model.embedding_matrix import EmbeddingMatrix


class PatchFeatures(FeatureNetwork):
    """A backbone that gives its pooled features and those of every patch, one after the other in one row.

    Args:
        backbone: whose patches have features of the pooled ones' length.
        image_size: (H, W) of the pixels.

    Attributes:
        features: (1 + T) * C.
        pooled: the backbone itself.

    Raises:
        InputError: the backbone has no patches, or what it pools has another length.
    """

    def __init__(self, backbone: Backbone | ClipBackbone, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.name, self.pooled = f"{backbone.name} and patches", backbone
        with torch.inference_mode():
            features, places = backbone.eval().with_places(torch.zeros(1, 3, *image_size))
        if places.shape[2] != features.shape[1]:
            raise InputError(
                f"its patches have {places.shape[2]} numbers and its pooled features {features.shape[1]}.",
                where=f"{backbone.name}, model.rows_from",
                remedy='Set model.rows_from = "pooled".',
            )
        self.features = (1 + places.shape[1]) * places.shape[2]

    @property
    def network(self) -> Any:  # type: ignore[override]
        """The network of the backbone, which holds all weights."""
        return self.pooled.network

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B TC"]:
        """Pooled features, then patches, of prepared pixels."""
        features, places = self.pooled.with_places(pixels)
        return torch.cat([features[:, None], places], dim=1).flatten(1)


class PatchRows(EmbeddingMatrix):
    """Each row is a linear map of a weighted mean of patches; a query per row gives the weights, at first equal ones.

    Args:
        channels: C.
        vectors: M.
        dimension: D.
        anchor: what the backbone already knows, from the pooled features.
    """

    def __init__(self, channels: int, vectors: int, dimension: int, anchor: Anchor | None = None) -> None:
        super().__init__(channels, vectors, dimension, anchor)
        self.queries = nn.Parameter(torch.zeros(vectors, channels))

    def forward(self, features: Float[Tensor, "B TC"]) -> Float[Tensor, "B M D"]:
        """Embedding matrices of what `PatchFeatures` gives."""
        tokens = features.view(len(features), -1, self.queries.shape[1])  # (B, 1 + T, C)
        weights = (tokens @ self.queries.T / self.queries.shape[1] ** 0.5).softmax(dim=1)  # (B, 1 + T, M)
        looked = weights.mT @ tokens  # (B, M, C)
        maps = self.linear.weight.view(self.vectors, self.dimension, -1)
        matrices = torch.einsum("bmc,mdc->bmd", looked, maps)
        return matrices if self.anchor is None else matrices + self.anchor(tokens[:, 0])[:, None]
