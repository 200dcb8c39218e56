"""Scores of labels against embedding matrices in torch: the largest dot product over the M rows. Knows only tensors.

The maximum over M is taken in exactly two functions, here and in `bundle.score`; a property test holds them equal.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from tagprism.errors import InputError


def max_similarity(
    matrices: Float[Tensor, "B M D"], label_vectors: Float[Tensor, "L D"]
) -> tuple[Float[Tensor, "B L"], Integer[Tensor, "B L"]]:
    """Score every label against every image's embedding matrix (torch).

    Args:
        matrices: (B, M, D) embedding or ranking matrices.
        label_vectors: (L, D) label vectors of the same float type and device.

    Returns:
        scores (B, L): max over m of <A_m, w_l>; winners (B, L) int64: the m that won, the lowest one on a tie.

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
    scores, winners = (matrices @ label_vectors.mT).max(dim=1)
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
