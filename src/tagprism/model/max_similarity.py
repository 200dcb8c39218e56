"""Scores of labels against embedding matrices: the largest dot product over the M rows. Knows only arrays.

The maximum over M is taken in exactly two places, one for tensors and one for arrays; a property test holds them equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Integer

if TYPE_CHECKING:
    from torch import Tensor
else:
    from typing import Any as Tensor  # torch is not needed to rank; jaxtyping checks shapes on any array type


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


def max_similarity_numpy(
    matrices: Float[np.ndarray, "B M D"], label_vectors: Float[np.ndarray, "L D"]
) -> tuple[Float32[np.ndarray, "B L"], Integer[np.ndarray, "B L"]]:
    """Score every label against every image's embedding matrix (numpy, float32), as `max_similarity` does.

    Args:
        matrices: (B, M, D) embedding or ranking matrices; float16 is widened.
        label_vectors: (L, D) label vectors.

    Returns:
        scores (B, L) float32; winners (B, L): the m that won, the lowest one on a tie.

    Source: arXiv 2105.05926, section 3.1.
    """
    B, M, D = matrices.shape
    rows = matrices.reshape(B * M, D).astype(np.float32, copy=False)
    products = (rows @ label_vectors.astype(np.float32, copy=False).T).reshape(B, M, -1)  # (B, M, L)
    scores = products[:, 0].copy()
    winners = np.zeros(scores.shape, np.uint8 if M <= 256 else np.int64)
    for m in range(1, M):  # M passes over whole arrays: several times faster than argmax over a middle axis
        np.maximum(winners, (products[:, m] > scores) * winners.dtype.type(m), out=winners)  # m rises: the last winner
        np.maximum(scores, products[:, m], out=scores)
    return scores, winners
