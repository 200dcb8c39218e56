"""How far two networks agree on the same pictures: numbers, directions and the best labels. Knows only arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float32, Float64

from tagprism.bundle.record import Records, score_records

_K = 5


@dataclass(frozen=True)
class Agreement:
    """Two networks on the same pictures.

    Args:
        pictures: how many.
        max_error: largest difference between two numbers of their records.
        mean_cosine: mean cosine between rows of their records, each with the shared numbers behind it.
        min_cosine: the smallest.
        max_score_error: largest difference between two scores of a label.
        top_k: K, labels compared per picture: 5, or all where there are fewer.
        top_k_agreement: mean share of the K best labels that are the same, 0..1.
    """

    pictures: int
    max_error: float
    mean_cosine: float
    min_cosine: float
    max_score_error: float
    top_k: int
    top_k_agreement: float

    def to_json(self) -> dict[str, int | float]:
        """The numbers, rounded to five digits."""
        return {name: round(value, 5) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.pictures} pictures: max error {self.max_error:.2g}, cosine mean {self.mean_cosine:.5f} and min "
            f"{self.min_cosine:.4f}, top {self.top_k} agree by {100 * self.top_k_agreement:.1f} %"
        )


def measure_agreement(
    expected: Records,
    found: Records,
    queries: Float32[np.ndarray, "L Q"],
    found_queries: Float32[np.ndarray, "L Q"],
) -> Agreement:
    """Compare records of the same pictures.

    Args:
        expected: of the network that is right.
        found: of the other.
        queries: (L, Q) scoring vectors of the labels to rank.
        found_queries: the same as the other stores them.
    """
    wanted, got = (_whole_rows(one) for one in (expected, found))
    lengths = np.linalg.norm(wanted, axis=2) * np.linalg.norm(got, axis=2)
    cosines = (wanted * got).sum(axis=2) / np.where(lengths > 0, lengths, 1)
    scores, others = (score_records(*pair)[0] for pair in ((expected, queries), (found, found_queries)))
    k = min(_K, len(queries))
    best, other = (np.argsort(-one, axis=1, kind="stable")[:, :k] for one in (scores, others))
    shared = (best[:, :, None] == other[:, None, :]).any(axis=2)  # (N, K)
    return Agreement(
        pictures=len(expected),
        max_error=float(np.abs(wanted - got).max()),
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        max_score_error=float(np.abs(scores - others).max()),
        top_k=k,
        top_k_agreement=float(shared.mean()),
    )


def _whole_rows(records: Records) -> Float64[np.ndarray, "N M Q"]:
    shared = np.repeat(records.shared[:, None], records.shape.vectors, axis=1)
    return np.concatenate([records.rows, shared], axis=2, dtype=np.float64)
