"""Multi-label metrics in percent, for arrays or tensors held in memory. Knows nothing of models, names or files.

Every metric validates, then counts, then computes. Targets are 1 positive, 0 negative, -1 unknown. With
`unknown="ignore"` an unknown image is left out of that label's ranking and the label out of that image's top K; with
`unknown="negative"` it counts as a negative. Ties are broken stably: of equal scores the lower index (of image or
label) comes first.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Int64, Shaped

from tagprism.errors import InputError
from tagprism.evaluation.ranking import (
    average_precision_of_ranks,
    best_labels,
    hits_at_k,
    images_before,
    mean_of_known,
    micro_scores,
)

_LABELS = 64  # whose columns are copied together
_AT_ONCE = 1 << 17  # scores that are looked through together, which the processor's caches hold
ImageSet = Literal["labelled", "all"]
UnknownPolicy = Literal["ignore", "negative"]
EmptyPolicy = Literal["exclude", "zero"]


def average_precisions(scores: Any, targets: Any, *, unknown: UnknownPolicy = "ignore") -> Float64[np.ndarray, " L"]:
    """Average precision of each label over the images: the mean, over its positives, of the precision at its rank.

    Args:
        scores: (N, L) finite numbers, higher is better, comparable between images.
        targets: (N, L) of 1, 0 and -1. Every image given is ranked; to leave out those without positives, select the
            rows with `labelled_images` beforehand.
        unknown: what -1 means.

    Returns:
        (L,) percent; NaN where a label has no positive.

    Raises:
        InputError: shapes differ, a score is not finite, a target is something else (also a soft one, such as 0.7).
    """
    scores, targets = _checked_scores(scores, targets, unknown)
    found: list[float] = []
    for start in range(0, scores.shape[1], _LABELS):  # a column by itself lies so far apart that each number is fetched
        some = slice(start, start + _LABELS)
        columns = (np.ascontiguousarray(array[:, some].T) for array in (scores, targets))
        found += map(_average_precision, *columns)
    return np.array(found) * 100


def mean_average_precision(
    scores: Any, targets: Any, *, empty: EmptyPolicy = "exclude", unknown: UnknownPolicy = "ignore"
) -> float:
    """Mean of `average_precisions` over the labels.

    Args:
        scores: (N, L), see `average_precisions`; every image given is ranked.
        targets: (N, L) of 1, 0 and -1.
        empty: labels without positives are left out (`exclude`) or count as 0 (`zero`, as the authors' code does).
        unknown: what -1 means.

    Returns:
        Percent; NaN when every label is left out.

    Raises:
        InputError: as `average_precisions`.

    Source: `empty="zero"` over labelled images is the mAP of Alibaba-MIIL/ZS_SDL.

    Example:
        Two labels have a positive; the second one's is ranked behind one other image, so its AP is 50.

        >>> scores = [[0.9, 0.7, 0.1], [0.2, 0.6, 0.3]]
        >>> targets = [[1, 0, 0], [0, 1, 0]]
        >>> mean_average_precision(scores, targets)
        75.0
        >>> mean_average_precision(scores, targets, empty="zero")
        50.0
    """
    _check_choice("empty", empty, EmptyPolicy)
    values = average_precisions(scores, targets, unknown=unknown)
    return mean_of_known(np.nan_to_num(values) if empty == "zero" else values)


def precision_recall_f1_at_k(
    scores: Any, targets: Any, k: int, *, image_set: ImageSet = "labelled", unknown: UnknownPolicy = "ignore"
) -> dict[str, float]:
    """Micro-averaged precision, recall and F1 of each image's K best labels.

    `TP = sum_i |top K of i & positives of i|`, `P = TP / (K N)`, `R = TP / positives`, `F1` their harmonic mean. An
    image with fewer than K labels that are not ignored gets only those, and counts with those in the denominator of P.

    Args:
        scores: (N, L) finite numbers, higher is better.
        targets: (N, L) of 1, 0 and -1.
        k: labels given to an image, 1 to L.
        image_set: score the images with a positive (`labelled`, the authors' way) or `all`.
        unknown: what -1 means.

    Returns:
        Percent under "P@k", "R@k", "F1@k" with the number in place of k; NaN where there is nothing to divide by.

    Raises:
        InputError: as `average_precisions`, or `k` is not between 1 and L.

    Source: arXiv 2105.05926, section 4; Alibaba-MIIL/ZS_SDL.

    Example:
        The second image has no positive, so only the first one is scored: both its labels are asked, one is right.

        >>> precision_recall_f1_at_k([[0.9, 0.7, 0.1], [0.2, 0.6, 0.3]], [[1, 0, 0], [0, 0, -1]], 2)
        {'P@2': 50.0, 'R@2': 100.0, 'F1@2': 66.66666666666667}
    """
    scores, targets = _checked_scores(scores, targets, unknown)
    images = np.arange(len(targets))[_images_at_k(targets, k, image_set)]
    hits, at_once = 0, max(1, _AT_ONCE // targets.shape[1])
    for start in range(0, len(images), at_once):
        some = images[start : start + at_once]
        best, _ = best_labels(np.where(targets[some] >= 0, scores[some], -np.inf), k)
        hits += hits_at_k(best, targets[some]).sum()
    return _at_k(k, targets[images], hits)


def precision_recall_curve(
    scores: Any, targets: Any, *, unknown: UnknownPolicy = "ignore"
) -> tuple[Float64[np.ndarray, " P"], Float64[np.ndarray, " P"]]:
    """Recall and precision of one label at each of its positives, down the ranking of the images.

    Args:
        scores: (N,) finite numbers, higher is better.
        targets: (N,) of 1, 0 and -1.
        unknown: what -1 means.

    Returns:
        recall (P,), rising to 100, and precision (P,), both percent; P is the number of positives, and the mean of the
        precision is the average precision.

    Raises:
        InputError: as `average_precisions`.
    """
    scores, targets = _checked_scores(np.asarray(as_array(scores))[:, None], as_array(targets)[:, None], unknown)
    ranks = np.sort(_positive_ranks(scores[:, 0], targets[:, 0]))
    found = np.arange(1, len(ranks) + 1)
    return 100 * found / max(len(ranks), 1), 100 * found / ranks


def labelled_images(targets: Any) -> Bool[np.ndarray, " N"]:
    """Mark the images with at least one positive among the labels of (N, L) targets: the image set `labelled`."""
    return np.asarray((as_array(targets) == 1).any(axis=1))


def as_array(values: Any) -> Shaped[np.ndarray, " ..."]:
    """Numpy array of an array, a nested list or a tensor of any device (float16 and bfloat16 are widened).

    Raises:
        InputError: rows of different lengths, or something else than numbers.
    """
    if hasattr(values, "detach"):  # a torch tensor, told by its shape because this package must not import torch
        values = values.detach().cpu()
        values = (values.float() if "float16" in str(values.dtype) else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"scores and targets must be arrays ({error}).") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"scores and targets must be numbers, not {array.dtype}.")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def checked_targets(targets: Any, unknown: UnknownPolicy) -> Int8[np.ndarray, "N L"]:
    """Targets as int8 with only the -1 that are to be ignored left; raises `InputError` for anything but 1, 0, -1."""
    _check_choice("unknown", unknown, UnknownPolicy)
    array = as_array(targets)
    if array.ndim != 2:
        raise InputError(f"targets must have the shape (images, labels), not {array.shape}.")
    if array.dtype != np.int8:
        _check_hard(array, (array == 1) | (array == 0) | (array == -1))
        array = array.astype(np.int8)
    elif array.size and (array.min() < -1 or array.max() > 1):
        _check_hard(array, np.abs(array) <= 1)
    return np.maximum(array, 0) if unknown == "negative" and array.size and array.min() < 0 else array


def _check_hard(targets: Shaped[np.ndarray, "N L"], allowed: Bool[np.ndarray, "N L"]) -> None:
    if not allowed.all():
        image, label = np.argwhere(~allowed)[0]
        raise InputError(
            "targets must be 1 (positive), 0 (negative) or -1 (unknown), "
            f"not {targets[image, label]:g} (image {image}, label {label})."
        )


def _checked_scores(
    scores: Any, targets: Any, unknown: UnknownPolicy
) -> tuple[Float[np.ndarray, "N L"], Int8[np.ndarray, "N L"]]:
    checked, array = checked_targets(targets, unknown), as_array(scores)
    if array.shape != checked.shape:
        raise InputError(f"scores {array.shape} and targets {checked.shape} must have the same shape (images, labels).")
    array = array if array.dtype.kind == "f" else array.astype(np.float64)
    check_finite(array)
    return array, checked


def check_finite(scores: Float[np.ndarray, "N L"], first_image: int = 0) -> None:
    """Raise `InputError` naming the first image and label whose score is NaN or infinite."""
    if not np.isfinite(scores).all():
        image, label = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(
            f"the score of image {first_image + image} for label {label} is {scores[image, label]}, not finite.",
            remedy="Find out where the model or its features overflowed; such scores cannot be ranked.",
        )


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise InputError(f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}.")


def _images_at_k(targets: Int8[np.ndarray, "N L"], k: int, image_set: ImageSet) -> Any:
    """Check K and the image set, and give the index that selects the images."""
    _check_choice("image_set", image_set, ImageSet)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= targets.shape[1]:
        raise InputError(f"k is {k!r}, but must be a whole number from 1 to the number of labels, {targets.shape[1]}.")
    return labelled_images(targets) if image_set == "labelled" else slice(None)


def _at_k(k: int, targets: Int8[np.ndarray, "N L"], hits: Any) -> dict[str, float]:
    predicted = np.minimum((targets >= 0).sum(axis=1), k).sum()
    scores = micro_scores(int(hits), int(predicted), int((targets == 1).sum()))
    return {f"{name}@{k}": score for name, score in zip(("P", "R", "F1"), scores, strict=True)}


def _positive_ranks(scores: Float[np.ndarray, " N"], targets: Int8[np.ndarray, " N"]) -> Int64[np.ndarray, " P"]:
    known, positive = np.flatnonzero(targets >= 0), np.flatnonzero(targets == 1)
    return 1 + images_before(scores[known], known, scores[positive], positive)


def _average_precision(scores: Float[np.ndarray, " N"], targets: Int8[np.ndarray, " N"]) -> float:
    return average_precision_of_ranks(_positive_ranks(scores, targets))
