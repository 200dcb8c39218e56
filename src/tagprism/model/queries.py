"""What ranking matrices are multiplied with to score labels. Knows only arrays.

A ranking matrix has the columns `[A_m / sd, -mu / sd]`, and where a bundle has class columns also what the backbone's
own classifier sees (`model.classes`). Labels that were trained on ask for that less than others, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

SHARPNESS = 5.0
"""How fast a class' say in a label falls with the angle of their vectors; chosen on photos (docs/photos_lite.md)."""


_CHUNK = 1024  # labels of which every class has its say at once


@dataclass(frozen=True, eq=False)
class ClassQueries:
    """Asks the class columns for labels, also for labels never heard of.

    Linear (ConSE): a label vector in R directions. Sharp: each of K classes has a say in a label, of their vectors
    `exp(SHARPNESS * cos)`, standardised over the classes, and these K numbers are taken in R directions.

    Args:
        basis: (D, R), or (K, R) of the sharp form.
        vectors: (K, D) of the classes for the sharp form, else None.
        trained: how much labels trained on ask them, of what others do; 0 for not at all.
    """

    basis: Float[np.ndarray, "_ R"]
    vectors: Float[np.ndarray, "K D"] | None = None
    trained: float = 0.0

    @property
    def columns(self) -> int:
        """R + 1, columns of a ranking matrix that are for these queries."""
        rank: int = self.basis.shape[1]
        return rank + 1

    def of(self, vectors: Float32[np.ndarray, "L D"]) -> Float32[np.ndarray, "L R"]:
        """Queries of label vectors for the first R class columns."""
        basis = self.basis.astype(np.float32)
        if self.vectors is None:
            linear: Float32[np.ndarray, "L R"] = vectors @ basis
            return linear
        classes = self.vectors.astype(np.float32)
        found = np.empty((len(vectors), basis.shape[1]), np.float32)
        for start in range(0, len(vectors), _CHUNK):
            rows = slice(start, start + _CHUNK)
            found[rows] = class_say(vectors[rows], classes) @ basis
        return found


def class_say(vectors: Float32[np.ndarray, "L D"], classes: Float32[np.ndarray, "K D"]) -> Float32[np.ndarray, "L K"]:
    """What each class says of each label, with mean 0 and deviation 1 over the classes; all vectors of length 1."""
    say: Float32[np.ndarray, "L K"] = np.exp(SHARPNESS * (vectors @ classes.T))
    say -= say.mean(axis=1, keepdims=True)
    say /= np.maximum(say.std(axis=1, keepdims=True), 1e-6)
    return say


def label_queries(
    vectors: Float32[np.ndarray, "L D"],
    classes: ClassQueries | None = None,
    trained: Bool[np.ndarray, " L"] | None = None,
) -> Float32[np.ndarray, "L Q"]:
    """Queries of label vectors: `[w, 1]`, or `[w, 1, t * u, t]` with t = 1 for labels that were not trained on.

    Args:
        vectors: (L, D) label vectors.
        classes: makes u of a bundle's class columns; None where it has none.
        trained: (L,) true for labels trained on; none of them when None.
    """
    one = np.ones((len(vectors), 1), np.float32)
    if classes is None:
        return np.concatenate([vectors, one], axis=1)
    looks = one if trained is None else np.where(trained[:, None], np.float32(classes.trained), one)
    return np.concatenate([vectors, one, looks * classes.of(vectors), looks], axis=1, dtype=np.float32)
