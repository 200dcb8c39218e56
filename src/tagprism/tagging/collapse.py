"""How different the M principal vectors of pictures are: whether a model uses them or has collapsed to fewer.

Knows only arrays; needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from tagprism.bundle.record import max_similarity_numpy

CLOSE_COSINE, COLLAPSED_GAIN, DEAD_SHARE = 0.95, 0.1, 0.1
"""Mean cosine from which vectors are close; mean gain below which close vectors are one; part of an even share of the
wins below which a vector is dead."""


@dataclass(frozen=True, eq=False)
class Collapse:
    """The principal vectors of N pictures, measured.

    Args:
        effective_rank: (N,) per picture, 1..M.
        cosine: (N,) mean cosine between two different vectors of a picture; NaN where M = 1.
        gain: (N,) how far the winner of a best label is above the mean of the M vectors, in standard deviations of the
            picture's scores; mean over its best labels, 0 where all vectors are equal.
        wins: (M,) share of all (picture, label) pairs that each vector won; they sum to 1.
        top_wins: (M,) the same for the best labels of each picture alone.
    """

    effective_rank: Float64[np.ndarray, " N"]
    cosine: Float64[np.ndarray, " N"]
    gain: Float64[np.ndarray, " N"]
    wins: Float64[np.ndarray, " M"]
    top_wins: Float64[np.ndarray, " M"]

    @property
    def dead(self) -> list[int]:
        """Vectors that win next to nothing, neither among all labels nor among the best."""
        least = DEAD_SHARE / len(self.wins)
        return [m for m, share in enumerate(np.maximum(self.wins, self.top_wins)) if share < least]

    @property
    def verdict(self) -> str:
        """`single`, `collapsed`, `close` or `diverse`; the thresholds are this module's constants."""
        if len(self.wins) == 1:
            return "single"
        if self.cosine.mean() < CLOSE_COSINE:
            return "diverse"
        return "collapsed" if self.gain.mean() < COLLAPSED_GAIN else "close"


class CollapseMeter:
    """Measures pictures as they come, in memory of a few numbers a picture.

    Args:
        vectors: (L, D) vectors of the labels that are ranked.
        top: how many of a picture's labels count as its best.
    """

    def __init__(self, vectors: Float32[np.ndarray, "L D"], top: int = 10) -> None:
        self._vectors = vectors  # shared numbers favour no row
        self._top = min(top, len(vectors))
        self._ranks: list[Float64[np.ndarray, " B"]] = []
        self._cosines: list[Float64[np.ndarray, " B"]] = []
        self._gains: list[Float64[np.ndarray, " B"]] = []
        self._wins: Int64[np.ndarray, "2 M"] | None = None

    def add(self, rows: Float32[np.ndarray, "B M D"]) -> None:
        """Measure the rows of some more pictures' records."""
        M = rows.shape[1]
        self._ranks.append(effective_rank(rows))
        self._cosines.append(mean_cosine(rows))
        scores, winners = max_similarity_numpy(rows, self._vectors)  # (B, L)
        best = np.argpartition(-scores, self._top - 1, axis=1)[:, : self._top]
        gains = np.take_along_axis(scores - rows.mean(axis=1) @ self._vectors.T, best, axis=1).mean(axis=1)
        deviations = scores.std(axis=1, dtype=np.float64)
        self._gains.append(np.divide(gains, deviations, out=np.zeros_like(deviations), where=deviations > 0))
        counted = (winners, np.take_along_axis(winners, best, axis=1))
        wins = np.stack([np.bincount(won.ravel(), minlength=M) for won in counted])
        self._wins = wins if self._wins is None else self._wins + wins

    def result(self) -> Collapse:
        """What was measured; at least one picture must have been added."""
        assert self._wins is not None
        wins, top_wins = self._wins / self._wins.sum(axis=1, keepdims=True)
        ranks, cosines, gains = (np.concatenate(parts) for parts in (self._ranks, self._cosines, self._gains))
        return Collapse(ranks, cosines, gains, wins, top_wins)


def effective_rank(matrices: Float[np.ndarray, "B M D"]) -> Float64[np.ndarray, " B"]:
    """Number of directions that a matrix's rows spread over: exp of the entropy of its normalised energies.

    Args:
        matrices: (B, M, D).

    Returns:
        (B,) from 1 (all rows on one line) to min(M, D) (equal energy in all directions); 1 for a matrix of zeros.

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007, with the squares of the singular values (energies) in
    place of the values: rows that share one large part and differ a little are then near 1.
    """
    energies = np.linalg.svd(matrices.astype(np.float64), compute_uv=False) ** 2  # (B, min(M, D))
    shares = energies / np.maximum(energies.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    terms = shares * np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    rank: Float64[np.ndarray, " B"] = np.exp(-terms.sum(axis=1))
    return rank


def mean_cosine(matrices: Float[np.ndarray, "B M D"]) -> Float64[np.ndarray, " B"]:
    """Mean cosine between two different rows of a matrix.

    Args:
        matrices: (B, M, D); a row of zeros has cosine 0 with every other.

    Returns:
        (B,) from -1/(M-1) to 1; NaN where M = 1.
    """
    B, M, _ = matrices.shape
    if M == 1:
        return np.full(B, np.nan)
    rows = matrices.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=2, keepdims=True)  # (B, M, 1)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    total, own = (unit.sum(axis=1) ** 2).sum(axis=1), (unit**2).sum(axis=(1, 2))  # all pairs, each row with itself
    cosine: Float64[np.ndarray, " B"] = (total - own) / (M * (M - 1))
    return cosine
