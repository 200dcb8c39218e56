"""Scores of labels for stored ranking matrices, streamed over images. Knows nothing of targets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32, Int64

from tagprism.bundle.neighbours import smoothed
from tagprism.bundle.score import max_similarity_numpy, scoring_vectors
from tagprism.errors import InputError
from tagprism.evaluation.metrics import check_finite

CHUNK = 128  # images scored at once: their products with 1000 labels stay in the processor's cache


def score_matrices(
    matrices: Float[np.ndarray, "N M D1"], labels: Float[np.ndarray, "L _"]
) -> Float32[np.ndarray, "N L"]:
    """Scores of labels for ranking matrices, streamed over the images.

    Args:
        matrices: (N, M, D+1) ranking matrices, in memory or memory-mapped, float16 or float32.
        labels: (L, D+1) queries, or (L, D) label vectors, whose queries are `[w, 1]`.

    Returns:
        (N, L) scores, comparable between images.

    Raises:
        InputError: the sizes do not fit, or a score is not finite.
    """
    scores = np.empty((len(matrices), len(labels)), np.float32)
    for rows, chunk in score_chunks(matrices, queries_of(matrices, labels)):
        scores[rows] = chunk
    return scores


def queries_of(matrices: Float[np.ndarray, "N M D1"], vectors: Float[np.ndarray, "L D"]) -> Float32[np.ndarray, "L D1"]:
    """Queries as they are, or `[w, 1]` of label vectors."""
    if matrices.ndim == 3 and vectors.ndim == 2 and matrices.shape[2] == vectors.shape[1]:
        return vectors.astype(np.float32, copy=False)
    if matrices.ndim != 3 or vectors.ndim != 2 or matrices.shape[2] != vectors.shape[1] + 1:
        raise InputError(
            f"ranking matrices {matrices.shape} must have the shape (images, M, D+1) "
            f"and label vectors {vectors.shape} the shape (labels, D).",
            remedy="Evaluate with the label space that the model was trained in.",
        )
    return scoring_vectors(vectors.astype(np.float32, copy=False))


def score_chunks(
    matrices: Float[np.ndarray, "N M D1"],
    queries: Float32[np.ndarray, "L D1"],
    nearest: Int64[np.ndarray, "N k"] | None = None,
) -> Iterator[tuple[slice, Float32[np.ndarray, "B L"]]]:
    """Scores of a few images at a time, checked to be finite."""
    for rows in slices(len(matrices)):
        if nearest is None:
            scores, _ = max_similarity_numpy(np.asarray(matrices[rows]), queries)
        else:
            own = np.arange(rows.start, rows.stop)
            asked, inverse = np.unique(np.column_stack([own, nearest[rows]]), return_inverse=True)
            inverse = inverse.reshape(len(own), -1)
            found, _ = max_similarity_numpy(np.asarray(matrices[asked]), queries)
            scores = smoothed(found, inverse[:, 0], inverse[:, 1:])
        check_finite(scores, rows.start)
        yield rows, scores


def array_chunks(
    scores: Float[np.ndarray, "N L"], labels: Int64[np.ndarray, " l"]
) -> Iterator[tuple[slice, Float[np.ndarray, "B l"]]]:
    """Some columns of scores that are already there for a few images at a time, checked to be finite."""
    for rows in slices(len(scores)):
        chunk = scores[rows]
        check_finite(chunk, rows.start)
        yield rows, chunk[:, labels]


def slices(n: int) -> Iterator[slice]:
    """Chunks of n images."""
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))
