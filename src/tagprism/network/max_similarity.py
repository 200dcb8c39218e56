"""Scores of labels against embedding matrices in torch: the largest dot product over the M rows. Knows only tensors.

The maximum over M is taken in exactly two functions, here and in `bundle.score`; a property test holds them equal.
"""

from __future__ import annotations

from jaxtyping import Float, Integer
from torch import Tensor


def max_similarity(
    matrices: Float[Tensor, "B M D"], label_vectors: Float[Tensor, "L D"]
) -> tuple[Float[Tensor, "B L"], Integer[Tensor, "B L"]]:
    """Score every label against every image's embedding matrix (torch).

    Args:
        matrices: (B, M, D) embedding or ranking matrices.
        label_vectors: (L, D) label vectors of the same float type and device.

    Returns:
        scores (B, L): max over m of <A_m, w_l>; winners (B, L) int64: the m that won, the lowest one on a tie.

    Source: arXiv 2105.05926, section 3.1 (the score of a label is its highest dot product with a principal vector).
    """
    scores, winners = (matrices @ label_vectors.mT).max(dim=1)
    return scores, winners
