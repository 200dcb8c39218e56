"""One vector and one number for all rows of a picture, whose product with a label vector is near the rows' largest.

The mean of the rows is near where they are alike. Where they differ, the vector is found by least squares over label
vectors that are usually asked for: it then counts each row as much as labels ask for it (docs/scale.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tagprism.files import machine_errors, replaced_whole

_RIDGE = 0.1  # of the mean square of a label vector's numbers: how little label vectors say of what they do not span
_PART = 512  # pictures whose products with all label vectors are held at once


@dataclass(frozen=True)
class RowSummary:
    """Least squares over label vectors.

    Args:
        label_vectors: (K, D) what is usually asked for; some hundred, drawn from a vocabulary.
        by_length: whether the number is fitted too; else it is 0, and the vector alone is nearest.
    """

    label_vectors: Float32[np.ndarray, "K D"]
    by_length: bool = True

    @classmethod
    def over(cls, label_vectors: Float32[np.ndarray, "K D"]) -> RowSummary:
        """Over label vectors as `save` keeps them; how long they are all together changes nothing."""
        largest = max(float(np.abs(label_vectors).max(initial=0)), 1e-30)
        return cls((label_vectors / largest).astype(np.float16).astype(np.float32))

    @classmethod
    def opened(cls, path: Path, dimension: int) -> RowSummary | None:
        """What `save` wrote; None where there is none, or it is damaged."""
        try:
            kept = load_file(path)["label_vectors"].astype(np.float32)
        except (OSError, SafetensorError, KeyError):
            return None
        fits = kept.ndim == 2 and len(kept) and kept.shape[1] == dimension and np.isfinite(kept).all()
        return cls(kept) if fits else None

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            MachineError: it cannot be written.
        """
        with machine_errors(path), replaced_whole(path) as beside:
            save_file({"label_vectors": self.label_vectors.astype(np.float16)}, beside)

    def of(self, rows: Float32[np.ndarray, "n M D"]) -> tuple[Float32[np.ndarray, "n D"], Float32[np.ndarray, " n"]]:
        """Vectors x and numbers r, so that x w + r |w| is near the largest product of a row and a label vector w."""
        D, mean, more = rows.shape[2], rows.mean(axis=1), np.empty((len(rows), self._solution.shape[1]), np.float32)
        for at in range(0, len(rows), _PART):
            with np.errstate(invalid="ignore"):  # as in `bundle.record`
                products = rows[at : at + _PART] @ self.label_vectors.T  # (n, M, K)
                more[at : at + _PART] = (products.max(axis=1) - products.mean(axis=1)) @ self._solution
        return mean + more[:, :D], np.maximum(more[:, D:].sum(axis=1), 0)

    @cached_property
    def _solution(self) -> Float32[np.ndarray, "K D1"]:
        """What makes the numbers of the largest products' excess over the mean ones."""
        known = self.label_vectors.astype(np.float64)
        ridge = _RIDGE * max(float(np.square(known).sum()) / known.shape[1], 1e-12)
        if self.by_length:
            known = np.concatenate([known, np.linalg.norm(known, axis=1, keepdims=True)], axis=1)
        squares = known.T @ known
        found: Float32[np.ndarray, "K D1"]
        found = np.linalg.solve(squares + ridge * np.eye(len(squares)), known.T).T.astype(np.float32)
        return found


def is_nearer(label_vectors: Float32[np.ndarray, "K D"], vectors: int) -> bool:
    """Whether a summary over label vectors is nearer than the mean of so many rows.

    One row is its own summary, and few label vectors say less than the mean.
    """
    K, D = label_vectors.shape
    return vectors > 1 and K >= 2 * D
