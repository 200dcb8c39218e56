"""The head: pooled features to an embedding matrix, its similarity to labels, and the picture record made of it.

The maximum over M is taken in exactly two functions, here and in `bundle.record`; a property test holds them equal.
Knows only tensors and records.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from tagprism.bundle.record import ClassAffinity, Records
from tagprism.errors import InputError


def max_similarity(
    matrices: Float[Tensor, "B M D"],
    label_vectors: Float[Tensor, "V D"],
    groups: Integer[Tensor, "L K"] | None = None,
    *,
    best_rows: int = 1,
) -> tuple[Float[Tensor, "B L"], Integer[Tensor, "B L"]]:
    """Score every label against every image's embedding matrix (torch).

    Args:
        matrices: (B, M, D) embedding matrices, or the rows of records.
        label_vectors: (V, D) label vectors of the same float type and device.
        groups: (L, K) the vectors of each label, by number, the first one again where it has fewer than K; None where
            each label has one, V = L.
        best_rows: k: the mean of a vector's k largest products (M where there are fewer) in place of the largest.

    Returns:
        scores (B, L): max over m, and over the label's vectors w, of <A_m, w>; winners (B, L) int64: the m that won, of
        the first vector that did and the lowest one on a tie.

    Raises:
        InputError: shapes that do not fit, or a label vector with NaN or infinity.

    Source: arXiv 2105.05926, section 3.1 (the score of a label is its highest dot product with a principal vector).

    Example:
        >>> import torch
        >>> from tagprism import max_similarity
        >>> matrices = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])  # one image, two vectors
        >>> scores, winners = max_similarity(matrices, torch.tensor([[1.0, 1.0]]))
        >>> scores.tolist(), winners.tolist()
        ([[2.0]], [[1]])
    """
    check_label_vectors(label_vectors)
    check_matrices(matrices, label_vectors.shape[1])
    products = matrices @ label_vectors.mT  # (B, M, V)
    scores, winners = products.max(dim=1)
    if best_rows > 1:
        scores = products.topk(min(best_rows, products.shape[1]), dim=1).values.mean(dim=1)
    if groups is not None:
        scores, best = scores[:, groups].max(dim=2)
        winners = winners[:, groups].gather(2, best[..., None])[..., 0]
    return scores, winners


def check_label_vectors(label_vectors: Tensor) -> None:
    """Refuse what are no label vectors.

    Raises:
        InputError: not of the shape (labels, numbers), or NaN or infinity among the numbers.
    """
    if label_vectors.ndim != 2:
        raise InputError(f"have shape {_shape(label_vectors)}, not (labels, D).", where="label vectors")
    if torch.compiler.is_compiling() or bool(label_vectors.detach().sum().isfinite()):  # a graph has no such branch
        return
    if bad := (~label_vectors.isfinite().all(dim=1)).nonzero().flatten().tolist():
        raise InputError(
            f"{len(bad)} of them hold NaN or infinity, the first is number {bad[0]}.",
            where="label vectors",
            remedy="Leave out labels that have no vector.",
        )


def check_matrices(matrices: Tensor, dimension: int) -> None:
    """Refuse what are no embedding matrices for label vectors of D numbers.

    Raises:
        InputError: not of the shape (images, M, D); a flat output like the authors' is named as such.
    """
    if matrices.ndim == 3 and matrices.shape[2] == dimension:
        return
    remedy = "A head gives M vectors of the label vectors' size for every image."
    if matrices.ndim == 2 and matrices.shape[1] % dimension == 0:
        vectors = matrices.shape[1] // dimension
        remedy = (
            f"This looks like the authors' flat output, which is D-major (element d*M + m): reshape it with "
            f"`flat.view(len(flat), {dimension}, {vectors}).mT`."
        )
    elif matrices.ndim == 3 and matrices.shape[1] == dimension:
        remedy = "M and D have changed places: transpose with `matrices.mT`."
    raise InputError(
        f"have shape {_shape(matrices)}, not (images, M, {dimension}).", where="embedding matrices", remedy=remedy
    )


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


class EmbeddingMatrix(nn.Module):
    """Linear map of pooled features to M principal embedding vectors, each added to the prior where there is one.

    Args:
        features: C, length of the feature vector.
        vectors: M, principal vectors per image.
        dimension: D, length of a label vector.
        prior: features (B, C) -> (B, D), not trained: the head learns what is to be added to it.

    Raises:
        InputError: a size below 1; features of another shape, when it is called.

    Source: arXiv 2105.05926, section 3.2; the authors' flat output is D-major, ours is (B, M, D). The prior is ours.

    Example:
        >>> import torch
        >>> from tagprism import EmbeddingMatrix
        >>> head = EmbeddingMatrix(features=1280, vectors=7, dimension=300)
        >>> head(torch.randn(2, 1280)).shape
        torch.Size([2, 7, 300])
    """

    def __init__(self, features: int, vectors: int, dimension: int, prior: nn.Module | None = None) -> None:
        super().__init__()
        if min(features, vectors, dimension) < 1:
            raise InputError(f"is {(features, vectors, dimension)}; all must be 1 or more.", where="features, M, D")
        self.vectors, self.dimension = vectors, dimension
        self.linear = nn.Linear(features, vectors * dimension, bias=False)
        self.prior = prior

    def forward(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B M D"]:
        """Embedding matrices of a batch of feature vectors."""
        matrices = self.trained(features)
        return matrices if self.prior is None else matrices + self.prior(features)[:, None]

    def trained(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B M D"]:
        """The linear part alone, to which each place of a picture adds its share."""
        if features.ndim != 2 or features.shape[1] < self.linear.in_features:
            raise InputError(
                f"have shape {tuple(features.shape)}, not (images, {self.linear.in_features}).",
                where="features",
                remedy="A head takes one pooled feature vector per image.",
            )
        matrices: Tensor = self.linear(features[:, : self.linear.in_features])  # class evidence may stand behind them
        return matrices.view(-1, self.vectors, self.dimension)


class Standardiser(nn.Module):
    """Make scores comparable between images: rows `A_m / sd`, and the shared number `-mu / sd`.

    `mu` and `sd` are the mean and the (population) deviation of the image's raw scores over the seen labels. With
    `standardise=False` the rows are the embedding matrix, the shared number is 0, and scores are the authors' raw ones.

    Args:
        seen_vectors: (V, D) vectors of the labels trained on, which are at least 2.
        groups: as for `max_similarity`.
        standardise: whether to standardise.
        best_rows: as for `max_similarity`.
    """

    groups: Tensor | None

    def __init__(
        self,
        seen_vectors: Float[Tensor, "V D"],
        groups: Integer[Tensor, "L K"] | None = None,
        *,
        standardise: bool = True,
        best_rows: int = 1,
    ) -> None:
        super().__init__()
        self.standardise, self.best_rows = standardise, best_rows
        self.register_buffer("seen_vectors", seen_vectors, persistent=False)
        self.register_buffer("groups", groups, persistent=False)

    def forward(self, matrices: Float[Tensor, "B M D"]) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B 1"]]:
        """Rows and shared number of embedding matrices."""
        return self.standardised(matrices, *self.moments(matrices))

    def moments(self, matrices: Float[Tensor, "B M D"]) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]:
        """Mean and deviation of each image's raw scores over the seen labels; 0 and 1 without standardising."""
        if not self.standardise:
            one = torch.ones_like(matrices[:, 0, :1])
            return torch.zeros_like(one), one
        seen_vectors = self.get_buffer("seen_vectors").to(matrices.dtype)
        scores, _ = max_similarity(matrices, seen_vectors, self.groups, best_rows=self.best_rows)  # (B, L)
        return scores.mean(dim=1)[:, None], scores.std(dim=1, correction=0).clamp_min(1e-6)[:, None]

    @staticmethod
    def standardised(
        matrices: Float[Tensor, "B M D"], mean: Float[Tensor, "B 1"], deviation: Float[Tensor, "B 1"]
    ) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B 1"]]:
        """Rows and shared number of embedding matrices with these moments."""
        return matrices / deviation[..., None], -mean / deviation


class Network(nn.Module):
    """The whole way of a picture: pixels -> features -> embedding matrix -> record. This is exported.

    Args:
        backbone: pixels (B, 3, H, W) -> features (B, C).
        head: features -> embedding matrices; `EmbeddingMatrix`, or any other module.
        standardiser: embedding matrices -> rows, and the first of the shared numbers.
        class_columns: `ClassColumns`, features -> further shared numbers (B, R + 1).
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        standardiser: Standardiser,
        class_columns: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.standardiser, self.class_columns = backbone, head, standardiser, class_columns

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B S"]]:
        """Rows and shared numbers of prepared pixels."""
        return self.of_features(self.backbone(pixels))

    def of_features(self, features: Float[Tensor, "B C"]) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B S"]]:
        """Rows and shared numbers of feature vectors."""
        rows, shift = self.standardiser(self.head(features))
        return rows, self.with_class_columns(shift, features)

    def records(self, features: Float[np.ndarray, "B C"]) -> Records:
        """Records of feature vectors, without a gradient."""
        with torch.inference_mode():
            return Records(*(part.numpy() for part in self.of_features(torch.from_numpy(features))))

    @property
    def class_affinity(self) -> ClassAffinity | None:
        """Affinities of labels to the classes of the class columns; None where there are no such columns."""
        affinity: ClassAffinity | None = getattr(self.class_columns, "affinity", None)
        return affinity

    def with_class_columns(self, shift: Float[Tensor, "B 1"], features: Float[Tensor, "B C"]) -> Float[Tensor, "B S"]:
        """The shared numbers: the class columns behind `-mu / sd`, where there are some."""
        return shift if self.class_columns is None else torch.cat([shift, self.class_columns(features)], dim=-1)
