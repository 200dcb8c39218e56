"""Pictures of one collection that are like each other, and scores averaged over them. Knows only arrays.

A picture's score says more when those like it have it too. It takes the collection itself, without any label, and is
no part of a bundle: a picture alone is scored as ever.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int64

_ROWS = 1024  # pictures compared with all others at once
_SHARE = 0.3  # of a score that comes from the neighbours; chosen on pseudo-unseen labels


def nearest_pictures(rows: Float[np.ndarray, "N M D"], k: int) -> Int64[np.ndarray, "N k"]:
    """The k pictures most like each picture, itself left out: by the cosine of the means of their principal vectors.

    Args:
        rows: (N, M, D) of the records of a collection, or of the first hits of a search.
        k: at most N - 1 are given.
    """
    means = rows.mean(axis=1, dtype=np.float32)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    means = means / np.where(lengths > 0, lengths, 1)
    count, k = len(means), min(k, len(means) - 1)
    found = np.empty((count, k), np.int64)
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        alike = means[rows] @ means.T
        alike[np.arange(len(rows)), rows] = -np.inf
        found[rows] = np.argpartition(-alike, max(k - 1, 0), axis=1)[:, :k]
    return found


def smoothed(
    scores: Float32[np.ndarray, "P L"], own: Int64[np.ndarray, " B"], nearest: Int64[np.ndarray, "B k"]
) -> Float32[np.ndarray, "B L"]:
    """Scores of B pictures, three tenths of each the mean score of the picture's neighbours.

    Args:
        scores: (P, L) of the pictures and all their neighbours.
        own: (B,) where each picture is among the P.
        nearest: (B, k) where its neighbours are; with none the scores stay.
    """
    if not nearest.shape[1]:
        return np.asarray(scores[own])
    total = np.zeros((len(own), scores.shape[1]), np.float32)
    for column in nearest.T:  # k passes: no array of k times the size
        total += scores[column]
    own_share, their_share = np.float32(1 - _SHARE), np.float32(_SHARE / nearest.shape[1])
    mixed: Float32[np.ndarray, "B L"] = own_share * scores[own] + their_share * total
    return mixed
