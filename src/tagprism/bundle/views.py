"""One record of the several views of a picture: the rows of all of them. Knows no pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32

from tagprism.bundle.record import Records, largest_similarity
from tagprism.files import digest_json

_AT_ONCE = 4  # views a run of a network, as for pictures
_VERSION = 1  # of what is made of several views: an index of another one does not fit
_LEAST_DEVIATION = 1e-6  # of raw scores; nothing is divided by zero


def digest_of_views(digest: str, views: int) -> str:
    """Digest of a model with so many views of each picture; one view is the model itself."""
    return digest if views == 1 else digest_json([digest, "views", views, _VERSION])


def some_views(pixels: Float32[np.ndarray, "B C H W"]) -> Iterator[Float32[np.ndarray, "n 3 H W"]]:
    """Prepared views of pictures, one after the other, a few at a time."""
    views = pixels.reshape(-1, 3, *pixels.shape[2:])
    return (views[start : start + _AT_ONCE] for start in range(0, len(views), _AT_ONCE))


def records_of_views(
    network: Callable[[Float32[np.ndarray, "n 3 H W"]], Records],
    pixels: Float32[np.ndarray, "B C H W"],
    reference: Float32[np.ndarray, "S D"] | None,
) -> Records:
    """Records of pictures whose rows are those of all views.

    The shared numbers (but for the mean that is taken away from all scores) are those of the whole picture, which is
    the first view: what they say is of the picture, and an index keeps them once.

    Args:
        network: makes a record of each view.
        pixels: (B, 3 V, H, W) as `images.views.ViewedPreprocess` makes them.
        reference: vectors of the labels over which scores are standardised; None where they are not.
    """
    V = pixels.shape[1] // 3
    found = Records.joined(map(network, some_views(pixels)))
    rows = found.rows.reshape(len(pixels), -1, found.rows.shape[2])  # (B, V M, D)
    shared = found.shared[::V].copy()
    if reference is not None:
        rows, shared[:, :1] = standardised_rows(rows, reference)
    return Records(rows, shared)


def standardised_rows(
    rows: Float32[np.ndarray, "B M D"], reference: Float32[np.ndarray, "S D"]
) -> tuple[Float32[np.ndarray, "B M D"], Float32[np.ndarray, "B 1"]]:
    """`A_m / sd` and `-mu / sd`, mu and sd over the scores of some labels in each picture."""
    scores = largest_similarity(rows, reference)
    mean = scores.mean(axis=1, keepdims=True, dtype=np.float64)
    deviation = np.maximum(scores.std(axis=1, keepdims=True, dtype=np.float64), _LEAST_DEVIATION)
    return (rows / deviation[:, :, None]).astype(np.float32), (-mean / deviation).astype(np.float32)
