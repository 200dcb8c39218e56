"""Places in a ranked list and the best labels of an image. Knows neither policies, protocols nor percent."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64


def images_before(
    scores: Float[np.ndarray, " N"],
    images: Int64[np.ndarray, " N"],
    own_scores: Float[np.ndarray, " P"],
    own_images: Int64[np.ndarray, " P"],
) -> Int64[np.ndarray, " P"]:
    """Count the images of a list that rank before each of some images: higher score, or equal score and lower index.

    Sorting the bare values and looking the few up is several times faster than a stable argsort of the whole list, and
    counts over disjoint lists add up, so that one image's place in many collections costs one sort of each part.

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
        ranks: (P,) places of the positives from 1, in any order.
    """
    if not len(ranks):
        return float("nan")
    return float(np.mean(np.arange(1, len(ranks) + 1) / np.sort(ranks)))


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
    for place in range(k):
        labels = left.argmax(axis=1)
        values[:, place] = left[images, labels]
        best[:, place] = np.where(values[:, place] == -np.inf, -1, labels)
        left[images, labels] = -np.inf
    return best, values
