"""What a backbone's own classifier says of labels never trained on, as columns of the ranking matrix: ConSE.

Knows only tensors. For such a label the score is `SDL + weight * ConSE`, both standardised per image over the seen
labels, and it stays one dot product: the columns are `weight * [u / sd, -mu / sd]`, and `[w basis, 1]` asks for them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tagprism.model.embedding_matrix import RankingMatrix
from tagprism.model.queries import ClassQueries


class ClassColumns(nn.Module):
    """The classes that a classifier is surest of, mixed by their posterior, against the seen labels of the same image.

    Args:
        features: C, length of the feature vector.
        classes: K.
        dimension: D, length of a label vector.
        rank: R, directions of the class vectors that are kept.
        seen: S, labels trained on.
        weight: of this score beside the trained one's.
        surest: how many classes are mixed.

    Source: Norouzi et al., arXiv 1312.5650, equation 4.
    """

    def __init__(
        self, features: int, classes: int, dimension: int, rank: int, seen: int, *, weight: float, surest: int = 10
    ) -> None:
        super().__init__()
        self.weight, self.surest = weight, min(surest, classes)
        self.register_buffer("classifier", torch.zeros(classes, features))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("vectors", torch.zeros(classes, rank))
        self.register_buffer("basis", torch.zeros(dimension, rank))
        self.register_buffer("seen", torch.zeros(seen, rank))

    def fill(
        self,
        classifier: nn.Linear,
        kept: list[int],
        vectors: Float[Tensor, "K D"],
        seen_vectors: Float[Tensor, "S D"],
    ) -> ClassColumns:
        """Take over a classifier's rows `kept`, the vectors of their classes, and those of the seen labels."""
        with torch.no_grad():
            _, _, directions = torch.linalg.svd(vectors, full_matrices=False)
            basis = self.get_buffer("basis").copy_(directions[: self.get_buffer("basis").shape[1]].mT)
            self.get_buffer("classifier").copy_(classifier.weight[kept])
            self.get_buffer("bias").copy_(classifier.bias[kept])
            self.get_buffer("vectors").copy_(vectors @ basis)
            self.get_buffer("seen").copy_(seen_vectors @ basis)
        return self

    @property
    def queries(self) -> ClassQueries:
        """What asks for these columns."""
        return ClassQueries(self.get_buffer("basis").numpy())

    def forward(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B R1"]:
        """Columns (B, R + 1), the same for all M rows of an image."""
        logits = functional.linear(features, self.get_buffer("classifier"), self.get_buffer("bias"))
        best = logits.softmax(dim=1).topk(self.surest, dim=1)
        mixed = (best.values[..., None] * self.get_buffer("vectors")[best.indices]).sum(dim=1)
        columns: Tensor = RankingMatrix(self.get_buffer("seen"))(mixed[:, None])[:, 0]
        return self.weight * columns
