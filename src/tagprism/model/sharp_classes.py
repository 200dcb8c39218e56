"""What a classifier sees in a picture and at its places, as further columns of the ranking matrix. Knows only tensors.

As `model.classes`, but for photos with many and small things, and for labels trained on too (docs/photos_lite.md). The
score is `SDL + weight * classes`, both standardised per image over the seen labels.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from tagprism.model.embedding_matrix import RankingMatrix
from tagprism.model.queries import ClassQueries, class_say

_TRAINED = 0.25  # how much labels trained on ask: more costs them more than it gives (docs/photos_lite.md)
_LEAST_SHARE = 1e-5  # of a class in the training pictures: one that they never show still counts a little


class SharpColumns(nn.Module):
    """What the classes seen in an image say of a label, against what they say of the seen labels.

    The label's score would be `sum_c seen_c say_c(label)`. A table of every class' say in every label has a low rank,
    so R directions of it are kept, those that matter for the classes that the training pictures show.

    Args:
        classes: K, the last K features (`model.class_places`).
        dimension: D, length of a label vector.
        rank: R, directions kept.
        seen: S, labels trained on.
        weight: of this score beside the trained one's.

    Source: the idea of ConSE (Norouzi et al., arXiv 1312.5650), whose mean of class vectors is a linear say.
    """

    def __init__(self, classes: int, dimension: int, rank: int, seen: int, *, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("vectors", torch.zeros(classes, dimension))
        self.register_buffer("columns", torch.zeros(classes, rank))
        self.register_buffer("basis", torch.zeros(classes, rank))
        self.register_buffer("seen", torch.zeros(seen, rank))

    def fill(
        self,
        vectors: Float32[np.ndarray, "K D"],
        seen_vectors: Float32[np.ndarray, "S D"],
        pictures: Float32[np.ndarray, "n F"] | None,
    ) -> SharpColumns:
        """Choose the directions.

        Args:
            vectors: of the classes.
            seen_vectors: of the labels trained on.
            pictures: features of training pictures, which say how much each class matters; all alike when None.
        """
        classes, rank = self.get_buffer("basis").shape
        share = np.ones(classes) if pictures is None else pictures[:, -classes:].mean(axis=0) + _LEAST_SHARE
        importance = torch.tensor(np.sqrt(share), dtype=torch.float32)
        say = torch.from_numpy(class_say(np.concatenate([vectors, seen_vectors]), vectors))  # (K + S, K)
        _, _, directions = torch.linalg.svd(say * importance, full_matrices=False)
        chosen = directions[:rank].mT
        with torch.no_grad():
            self.get_buffer("vectors").copy_(torch.from_numpy(vectors))
            self.get_buffer("columns").copy_(chosen / importance[:, None])
            self.get_buffer("basis").copy_(chosen * importance[:, None])
            self.get_buffer("seen").copy_(torch.from_numpy(self.queries.of(seen_vectors)))
        return self

    @property
    def queries(self) -> ClassQueries:
        """What asks for these columns, for labels trained on too."""
        return ClassQueries(self.get_buffer("basis").numpy(), self.get_buffer("vectors").numpy(), _TRAINED)

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B R1"]:
        """Columns (B, R + 1), the same for all M rows of an image."""
        classes = self.get_buffer("columns")
        columns: Tensor = RankingMatrix(self.get_buffer("seen"))((features[:, -len(classes) :] @ classes)[:, None])
        return self.weight * columns[:, 0]
