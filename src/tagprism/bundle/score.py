"""The score of a label: the largest dot product of its scoring vector with a row of a ranking matrix. Knows arrays.

A ranking matrix has the columns `[A_m / sd, -mu / sd]`, and where a bundle has class columns also the evidence for the
classes of the backbone's own classifier (`network.class_columns`). They count less for labels that were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer

SHARPNESS = 5.0
"""How fast the affinity of a class to a label falls with their angle; chosen on photos (docs/photos_lite.md)."""


_CHUNK = 1024  # labels whose affinities to all classes are held at once


@dataclass(frozen=True, eq=False)
class ClassAffinity:
    """How near each label, also one never trained on, is to the classes of the backbone's classifier.

    The affinity of class k to label l is `exp(SHARPNESS * cos(v_k, w_l))`, standardised over the classes. The table of
    all affinities has a low rank, so a label's K numbers are kept in R directions.

    Args:
        basis: (K, R), the directions.
        vectors: (K, D) vectors of the classes.
        trained: weight of the class columns for labels trained on, of their weight for other labels; 0..1.
    """

    basis: Float[np.ndarray, "K R"]
    vectors: Float[np.ndarray, "K D"]
    trained: float = 0.0

    @property
    def columns(self) -> int:
        """R + 1, the number of class columns of a ranking matrix."""
        rank: int = self.basis.shape[1]
        return rank + 1

    def of(self, vectors: Float32[np.ndarray, "L D"]) -> Float32[np.ndarray, "L R"]:
        """Affinities of labels in the R directions."""
        basis, classes = self.basis.astype(np.float32), self.vectors.astype(np.float32)
        found = np.empty((len(vectors), basis.shape[1]), np.float32)
        for start in range(0, len(vectors), _CHUNK):
            rows = slice(start, start + _CHUNK)
            found[rows] = class_label_affinity(vectors[rows], classes) @ basis
        return found


def class_label_affinity(
    vectors: Float32[np.ndarray, "L D"], classes: Float32[np.ndarray, "K D"]
) -> Float32[np.ndarray, "L K"]:
    """Affinity of each class to each label, with mean 0 and deviation 1 over the classes; all vectors of length 1."""
    affinity: Float32[np.ndarray, "L K"] = np.exp(SHARPNESS * (vectors @ classes.T))
    affinity -= affinity.mean(axis=1, keepdims=True)
    affinity /= np.maximum(affinity.std(axis=1, keepdims=True), 1e-6)
    return affinity


def scoring_vectors(
    vectors: Float32[np.ndarray, "L D"],
    classes: ClassAffinity | None = None,
    trained: Bool[np.ndarray, " L"] | None = None,
) -> Float32[np.ndarray, "L Q"]:
    """Scoring vectors of labels: `[w, 1]`, or `[w, 1, t * u, t]` where the ranking matrices have class columns.

    Args:
        vectors: (L, D) label vectors w.
        classes: gives u, a label's affinities to the classes; None where there are no class columns.
        trained: (L,) true for labels trained on, whose t is `classes.trained` in place of 1; none of them when None.

    Returns:
        (L, Q), Q the width of a ranking matrix: the dot product with its rows is the label's score.
    """
    one = np.ones((len(vectors), 1), np.float32)
    if classes is None:
        return np.concatenate([vectors, one], axis=1)
    weight = one if trained is None else np.where(trained[:, None], np.float32(classes.trained), one)
    return np.concatenate([vectors, one, weight * classes.of(vectors), weight], axis=1, dtype=np.float32)


def max_similarity_numpy(
    matrices: Float[np.ndarray, "B M D"], label_vectors: Float[np.ndarray, "L D"]
) -> tuple[Float32[np.ndarray, "B L"], Integer[np.ndarray, "B L"]]:
    """Score every label against every image's embedding matrix in numpy, as `network.embedding_matrix` does in torch.

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
