"""What ranking matrices are multiplied with to score labels. Knows only arrays.

A ranking matrix has the columns `[A_m / sd, -mu / sd]`, and where a bundle has class columns also what the backbone's
own classifier says of labels that were never trained on (`model.classes`). A label trained on does not look at those.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32


def label_queries(
    vectors: Float32[np.ndarray, "L D"],
    basis: Float[np.ndarray, "D R"] | None = None,
    trained: Bool[np.ndarray, " L"] | None = None,
) -> Float32[np.ndarray, "L Q"]:
    """Queries of label vectors: `[w, 1]`, or `[w, 1, t * w basis, t]` with t = 0 for labels trained on, else 1.

    Args:
        vectors: (L, D) label vectors.
        basis: (D, R) of a bundle's class columns; None where it has none.
        trained: (L,) true for labels trained on; none of them when None.
    """
    one = np.ones((len(vectors), 1), np.float32)
    if basis is None:
        return np.concatenate([vectors, one], axis=1)
    untrained = one if trained is None else 1 - trained[:, None].astype(np.float32)
    return np.concatenate([vectors, one, untrained * (vectors @ basis), untrained], axis=1, dtype=np.float32)


def trained_queries(vectors: Float32[np.ndarray, "L D"], columns: int) -> Float32[np.ndarray, "L Q"]:
    """Queries of labels trained on for ranking matrices of so many columns, with or without class columns."""
    queries = label_queries(vectors)
    return np.pad(queries, ((0, 0), (0, columns - queries.shape[1])))
