"""What a backbone's own classes say of a picture: as further shared numbers, and as a prior of its rows.

With class columns, a label's score is `SDL + weight * classes`, both standardised per image over the seen labels.
`classes` is the sum over the classes of their evidence in the picture times their affinity to the label, so it is a dot
product too, also for labels never trained on. Knows only tensors.

A small thing in a large picture is lost in the mean over the places, and found at its own: the evidence for a class is
`sqrt(p(whole picture) * max over places p(place))` where the features are the mean of a map, else its posterior.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from tagprism.bundle.record import SHARPNESS, ClassAffinity, class_label_affinity
from tagprism.files import digest_bytes
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import Standardiser
from tagprism.network.export import feature_map

_TEMPERATURE = 2.0  # of the prior: the logits are divided by it
_LEAST_SHARE = 1e-5  # of a class in the training pictures: one that they never show still counts a little


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
        seen = self._posterior(features.detach())  # no loss reads it, and the root of a 0 would make its gradient nan
        if self.places is not None:
            rows = feature_map(found, self.inner.features, self.places[0] * self.places[1]).detach()  # (B, P, C)
            seen = (seen * self._posterior(rows).amax(dim=1)).sqrt()
        return torch.cat([features, seen], dim=1)

    def _posterior(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.get_buffer("weight"), self.get_buffer("bias")).softmax(dim=-1)


class ClassColumns(nn.Module):
    """The score that the classes seen in an image give a label, standardised over the seen labels.

    That score would be `sum_c evidence_c^power affinity_c(label)`. The table of affinities has a low rank, so R
    directions of it are kept, those that matter for the classes that the training pictures show.

    Args:
        classes: K, the last K features (`ClassEvidence`).
        dimension: D, length of a label vector.
        rank: R, directions kept.
        seen: S, labels trained on.
        weight: of this score beside the trained one's.
        trained: weight for seen labels, as a share of the weight for other labels.
        sharpness: how fast the affinity of a class to a label falls with their angle.
        power: of the evidence; below 1, faint evidence counts more.

    Source: the idea of ConSE (Norouzi et al., arXiv 1312.5650), whose mean of class vectors is linear in them.
    """

    def __init__(
        self,
        classes: int,
        dimension: int,
        rank: int,
        seen: int,
        *,
        weight: float,
        trained: float = 0.25,
        sharpness: float = SHARPNESS,
        power: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight, self.trained, self.sharpness, self.power = weight, trained, sharpness, power
        self.register_buffer("vectors", torch.zeros(classes, dimension))
        self.register_buffer("columns", torch.zeros(classes, rank))
        self.register_buffer("basis", torch.zeros(classes, rank))
        self.register_buffer("seen", torch.zeros(seen, rank))

    def fill(
        self,
        vectors: Float32[np.ndarray, "K D"],
        seen_vectors: Float32[np.ndarray, "S D"],
        pictures: Float32[np.ndarray, "n F"] | None,
    ) -> ClassColumns:
        """Choose the directions.

        Args:
            vectors: of the classes.
            seen_vectors: of the labels trained on.
            pictures: features of training pictures, which say how much each class matters; all alike when None.
        """
        classes, rank = self.get_buffer("basis").shape
        share = np.ones(classes)
        if pictures is not None:
            share = (pictures[:, -classes:] ** self.power).mean(axis=0) + _LEAST_SHARE
        importance = torch.tensor(np.sqrt(share), dtype=torch.float32)
        labels = np.concatenate([vectors, seen_vectors])
        affinity = torch.from_numpy(class_label_affinity(labels, vectors, self.sharpness))  # (K + S, K)
        _, _, directions = torch.linalg.svd(affinity * importance, full_matrices=False)
        chosen = directions[:rank].mT
        with torch.no_grad():
            self.get_buffer("vectors").copy_(torch.from_numpy(vectors))
            self.get_buffer("columns").copy_(chosen / importance[:, None])
            self.get_buffer("basis").copy_(chosen * importance[:, None])
            self.get_buffer("seen").copy_(torch.from_numpy(self.affinity.of(seen_vectors)))
        return self

    @property
    def affinity(self) -> ClassAffinity:
        """Affinities of labels to these classes, with the weight that seen labels get."""
        return ClassAffinity(
            self.get_buffer("basis").numpy(), self.get_buffer("vectors").numpy(), self.trained, self.sharpness
        )

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B R1"]:
        """Columns (B, R + 1)."""
        classes = self.get_buffer("columns")
        evidence = features[:, -len(classes) :] ** self.power
        rows, shift = Standardiser(self.get_buffer("seen"))((evidence @ classes)[:, None])
        return self.weight * torch.cat([rows[:, 0], shift], dim=-1)


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
