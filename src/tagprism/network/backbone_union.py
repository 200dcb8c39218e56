"""Several backbones as one, which look at the same pixels. Knows neither labels nor image files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tagprism.errors import InputError
from tagprism.files import digest_bytes
from tagprism.network.backbones import Backbone


class BackboneUnion(Backbone):
    """Several backbones that look at the same pixels: their features, joined end to end, are one feature vector.

    Where all maps have the same places, so has the union. Its classifier has the mean of their logits.

    Args:
        parts: at least two, prepared for alike.

    Attributes:
        parts: the backbones; the pixels are prepared as the first one wants them.

    Raises:
        InputError: the backbones want pixels of different mean or deviation.
    """

    def __init__(self, parts: Sequence[Backbone]) -> None:
        nn.Module.__init__(self)
        first = parts[0]
        if any((part.mean, part.std) != (first.mean, first.std) for part in parts):
            raise InputError(
                "the backbones want pixels of different mean or deviation.",
                where="model.backbone",
                remedy="Join backbones of one family.",
            )
        self.parts = nn.ModuleList(parts)
        self.name = "+".join(part.name for part in parts)
        self.features = sum(part.features for part in parts)
        self.image_size, self.mean, self.std = first.image_size, first.mean, first.std
        self.interpolation = first.interpolation
        self.classifier = _joined_classifier([part.classifier for part in parts])

    @property
    def members(self) -> list[Backbone]:
        """The backbones, one by one."""
        return [part for part in self.parts if isinstance(part, Backbone)]

    def weights_digest(self) -> str:
        """SHA-256 over the digests of the parts."""
        return digest_bytes("".join(part.weights_digest() for part in self.members).encode())

    def last_map(self, pixels: Float[Tensor, "B 3 H W"]) -> Any:
        """Each backbone's own last map; joined over the channels where that is possible."""
        found = [part.last_map(pixels) for part in self.members]
        maps = [one for one in found if isinstance(one, Tensor) and one.ndim == 4]
        alike = len(maps) == len(found) and len({one.shape[2:] for one in maps}) == 1
        sizes = [one.shape[1] for one in maps] == [part.features for part in self.members]
        return torch.cat(maps, dim=1) if alike and sizes else found

    def pooled(self, found: Any) -> Float[Tensor, "B C"]:
        """Pooled features of the last maps, joined."""
        if isinstance(found, Tensor):
            found = torch.split(found, [part.features for part in self.members], dim=1)
        return torch.cat([part.pooled(one) for part, one in zip(self.members, found, strict=True)], dim=1)


def _joined_classifier(classifiers: Sequence[nn.Linear | None]) -> nn.Linear | None:
    """Mean of the logits, as one linear map of the joined features; None where a backbone has none or another size."""
    known = [one for one in classifiers if one is not None]
    if len(known) < len(classifiers) or len({one.out_features for one in known}) > 1:
        return None
    joined = nn.Linear(sum(one.in_features for one in known), known[0].out_features)
    with torch.no_grad():
        joined.weight.copy_(torch.cat([one.weight for one in known], dim=1) / len(known))
        joined.bias.copy_(torch.stack([one.bias for one in known]).mean(dim=0))
    return joined.requires_grad_(False)
