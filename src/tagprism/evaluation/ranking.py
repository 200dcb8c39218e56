"""Ranks in a sorted list, the best labels of an image, and what is counted of them. Knows no policies, no protocols."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Int64


def images_before(
    scores: Float[np.ndarray, " N"],
    images: Int64[np.ndarray, " N"],
    own_scores: Float[np.ndarray, " P"],
    own_images: Int64[np.ndarray, " P"],
) -> Int64[np.ndarray, " P"]:
    """Count the images of a list that rank before each of some images: higher score, or equal score and lower index.

    Sorting the bare values and looking the few up is several times faster than a stable argsort of the whole list, and
    counts over disjoint lists add up, so that one image's rank in many collections costs one sort of each part.

    Args:
        scores: (N,) one label's score of every image of the list, finite.
        images: (N,) the index of each, ascending.
        own_scores: (P,) scores of the images asked about, in the list or not.
        own_images: (P,) their indices.

    Returns:
        (P,) counts; an image does not count itself.
    """
    ordered = np.sort(scores)
    starts, ends = np.searchsorted(ordered, own_scores, side="left"), np.searchsorted(ordered, own_scores, side="right")
    before = np.asarray(len(scores) - ends, dtype=np.int64)
    listed = np.searchsorted(images, own_images, side="right") > np.searchsorted(images, own_images, side="left")
    tied = ends - starts > listed
    if tied.any():
        before[tied] += _equals_before(scores, images, own_scores[tied], own_images[tied])
    return before


def _equals_before(
    scores: Float[np.ndarray, " N"],
    images: Int64[np.ndarray, " N"],
    own_scores: Float[np.ndarray, " T"],
    own_images: Int64[np.ndarray, " T"],
) -> Int64[np.ndarray, " T"]:
    """Count, for each of some images, the images of the list that have exactly its score and a lower index."""
    values, own_group = np.unique(own_scores, return_inverse=True)
    group = np.minimum(np.searchsorted(values, scores), len(values) - 1)
    equals = np.flatnonzero(values[group] == scores)
    stride = int(max(images.max(), own_images.max())) + 1
    keys = np.sort(group[equals] * stride + images[equals])  # by score, then by index
    starts = np.searchsorted(keys, own_group * stride)
    return np.asarray(np.searchsorted(keys, own_group * stride + own_images) - starts, dtype=np.int64)


def average_precision_of_ranks(ranks: Int64[np.ndarray, " P"]) -> float:
    """Mean over the hits of the precision at the hit, from 0 to 1; NaN without hits.

    Args:
        ranks: (P,) ranks of the positives, counted from 1, in any order.
    """
    if not len(ranks):
        return float("nan")
    return float(np.mean(np.arange(1, len(ranks) + 1) / np.sort(ranks)))


def expected_average_precision(n: Any, positives: Any) -> Float64[np.ndarray, " ..."]:
    """Exact mean of the average precision over all orders of a list: the chance level of a label.

    Rank k holds a positive with probability P/n, and then (k-1)(P-1)/(n-1) positives are expected before it, so
    `E[AP] = (H_n + (n - H_n) (P-1)/(n-1)) / n` with the harmonic number `H_n`. (P/n, often quoted, is too low.)

    Args:
        n: lengths of the lists, one or an array of any shape.
        positives: positives in each, at most `n`.

    Returns:
        Percent, in the common shape; NaN without positives.
    """
    n, positives = np.broadcast_arrays(n, positives)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(n.max(initial=0)) + 1))])[n]
    mean = (harmonic + (n - harmonic) * (positives - 1) / np.maximum(n - 1, 1)) / np.maximum(n, 1)
    return np.asarray(np.where(positives > 0, 100 * mean, np.nan), dtype=np.float64)


def best_labels(scores: Float[np.ndarray, "B L"], k: int) -> tuple[Int64[np.ndarray, "B k"], Float[np.ndarray, "B k"]]:
    """Labels with the K highest scores of each image, best first; of equal scores the lower label index comes first.

    K passes of argmax beat a partition or a sort for the small K that people use.

    Args:
        scores: (B, L), L at least `k`; -inf marks a label that this image must not get.
        k: labels per image.

    Returns:
        labels (B, k): label indices, -1 where fewer than `k` labels may be given; their scores (B, k), -inf there.
    """
    left = scores.copy()
    images = np.arange(len(scores))
    best, values = np.empty((len(scores), k), np.int64), np.empty((len(scores), k), scores.dtype)
    for rank in range(k):
        labels = left.argmax(axis=1)
        values[:, rank] = left[images, labels]
        best[:, rank] = np.where(values[:, rank] == -np.inf, -1, labels)
        left[images, labels] = -np.inf
    return best, values


def micro_scores(hits: float | int, predicted: int, positives: int) -> tuple[float, float, float]:
    """Precision, recall and F1 in percent from counts; NaN where there is nothing to divide by."""
    parts = ((hits, predicted), (hits, positives), (2 * hits, predicted + positives))
    precision, recall, f1 = (100 * top / bottom if bottom else float("nan") for top, bottom in parts)
    return precision, recall, f1


def mean_of_known(values: Float64[np.ndarray, " L"], weights: Any = None) -> float:
    """Mean (weighted if asked) over the entries that are not NaN; NaN when there are none."""
    known = ~np.isnan(values)
    if not known.any():
        return float("nan")
    return float(np.average(values[known], weights=None if weights is None else np.asarray(weights)[known]))


def hits_at_k(labels: Int64[np.ndarray, "B k"], targets: Int8[np.ndarray, "B L"]) -> Bool[np.ndarray, "B k"]:
    """Mark which of each image's best labels (-1: none) are positives of it."""
    hits: Bool[np.ndarray, "B k"] = (np.take_along_axis(targets, np.maximum(labels, 0), axis=1) == 1) & (labels >= 0)
    return hits


def constant_hits(
    targets: Int8[np.ndarray, "B L"], frequency: Int64[np.ndarray, " L"], k: int
) -> Bool[np.ndarray, "B k"]:
    """Mark which of the K most frequent labels, the same for every image but for ignored ones, are its positives."""
    common = np.where(targets >= 0, frequency.astype(np.float32), -np.inf)
    return hits_at_k(best_labels(common, k)[0], targets)
