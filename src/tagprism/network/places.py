"""Which place of a picture adds what to its ranking matrix: exact, where the pooled features are the mean of a map.

The head is linear: `A_m = H_m mean_p f_p = sum_p (1/P) H_m f_p`. Its prior is not, and belongs to no place. Knows only
tensors and backbones.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix, Network

_TOLERANCE = 1e-4  # of the pooled features' largest magnitude


def find_places(backbone: Backbone, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Places of a backbone's feature map, if the mean over them is the pooled feature vector.

    Decided by shape and by numbers, not by names. Anything behind the pooling (the convolutional head of MobileNetV3,
    the norm of ConvNeXt), attention pooling and class tokens all give another vector than the mean.

    Args:
        backbone: in any mode; it is run in evaluation mode.
        image_size: (H, W) of the pixels.

    Returns:
        (h, w), or None where the features are something else than this mean.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, *image_size, generator=generator)
    was_training = backbone.training
    try:
        with torch.inference_mode():
            backbone.eval()
            found = backbone.last_map(pixels)
            pooled = backbone.pooled(found)[:, : backbone.channels]
    finally:
        backbone.train(was_training)
    if not isinstance(found, Tensor):
        return None
    features = pooled.shape[1]
    if found.ndim == 4 and features in (found.shape[1], found.shape[3]):
        h, w = found.shape[2:] if found.shape[1] == features else found.shape[1:3]
    elif found.ndim == 3 and found.shape[2] == features:
        h, w = getattr(getattr(backbone.network, "patch_embed", None), "grid_size", None) or (0, 0)
        if h * w != found.shape[1] - getattr(backbone.network, "num_prefix_tokens", 0):
            return None
    else:
        return None
    difference = (feature_map(found, features, h * w).mean(dim=1) - pooled).abs().max()
    return (int(h), int(w)) if difference <= _TOLERANCE * pooled.abs().max() else None


def feature_map(found: Tensor, features: int, places: int) -> Float[Tensor, "B P C"]:
    """A timm network's last map as rows of places: of (B, C, h, w), (B, h, w, C) or tokens with others before them."""
    if found.ndim == 3:
        return found[:, found.shape[1] - places :]
    if found.shape[1] == features:
        return found.flatten(2).mT
    return found.flatten(1, 2)


class PlacedNetwork(nn.Module):
    """A network with a second output: what each place adds to the ranking matrix's first D columns.

    What belongs to no place (the columns behind them, the head's prior) is the rest: score - sum over places.
    Places are computed for those images of a batch that are asked for: by default none, which costs nothing.

    Args:
        network: whose backbone passed `find_places`, with an `EmbeddingMatrix` as head.
        places: (h, w) as found.
    """

    def __init__(self, network: Network, places: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.places = network, places[0] * places[1]

    def forward(
        self, pixels: Float[Tensor, "B 3 H W"], asked: Int64[Tensor, " A"]
    ) -> tuple[Float[Tensor, "B M D1"], Float[Tensor, "A P M D"]]:
        """Ranking matrices, and each place's share of those asked for, row by row of the feature map."""
        backbone, head, ranking = self.network.backbone, self.network.head, self.network.ranking
        assert isinstance(backbone, Backbone) and isinstance(head, EmbeddingMatrix)
        found = backbone.last_map(pixels)
        features = backbone.pooled(found)
        matrices = head(features)
        mean, deviation = ranking.moments(matrices)
        rows = feature_map(found.index_select(0, asked), backbone.channels, self.places)  # (A, P, C)
        shares = head.trained(rows.flatten(0, 1))  # one weight, two uses
        shares = shares.view(-1, self.places, head.vectors, head.dimension)
        divisor = self.places * deviation.index_select(0, asked)[..., None]
        ranked = self.network.with_class_columns(ranking.standardised(matrices, mean, deviation), features)
        return ranked, shares / divisor
