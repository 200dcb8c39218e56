"""The prior: what a backbone knows of a picture, as a label vector that every row starts from. Knows only tensors."""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_TEMPERATURE = 2.0  # the logits are divided by it


class ClassifierPrior(nn.Module):
    """The classes that a classifier sees, as the direction of their vectors: `weight * unit(posterior @ vectors)`.

    The mixture of ConSE (Norouzi et al., arXiv 1312.5650) over all classes, at a temperature. Nothing in it is trained.

    Args:
        features: C, length of the feature vector.
        classes: K.
        dimension: D, length of a label vector.
        weight: length of the result.
    """

    def __init__(self, features: int, classes: int, dimension: int, *, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("classifier", torch.zeros(classes, features))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("vectors", torch.zeros(classes, dimension))

    def fill(self, classifier: nn.Linear, kept: list[int], vectors: Float[Tensor, "K D"]) -> ClassifierPrior:
        """Take over a classifier's rows `kept` and the vectors of their classes."""
        with torch.no_grad():
            self.get_buffer("classifier").copy_(classifier.weight[kept])
            self.get_buffer("bias").copy_(classifier.bias[kept])
            self.get_buffer("vectors").copy_(vectors)
        return self

    def forward(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B D"]:
        """A label vector of length `weight` for every feature vector."""
        classifier = self.get_buffer("classifier")
        logits = functional.linear(features[:, : classifier.shape[1]], classifier, self.get_buffer("bias"))
        posterior = (logits / _TEMPERATURE).softmax(dim=1)
        return self.weight * functional.normalize(posterior @ self.get_buffer("vectors"), dim=1)


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


Prior: TypeAlias = ClassifierPrior | OpenClipPrior
