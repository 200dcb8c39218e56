"""Scores of labels for stored records of pictures, streamed over images. Knows nothing of targets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32, Int64

from tagprism.bundle.neighbours import smoothed
from tagprism.bundle.record import Records, score_records, scoring_vectors
from tagprism.errors import InputError
from tagprism.evaluation.metrics import check_finite

CHUNK = 128  # images scored at once: their products with 1000 labels stay in the processor's cache


def streamed_scores(
    records: Records,
    labels: Float[np.ndarray, "V _"],
    groups: Int64[np.ndarray, "L K"] | None = None,
    *,
    best_rows: int = 1,
) -> Float32[np.ndarray, "N L"]:
    """Scores of labels for the records of pictures, streamed over the pictures.

    Args:
        records: of N pictures, in memory or memory-mapped, float16 or float32.
        labels: (V, Q) scoring vectors, or (V, D) label vectors, whose scoring vectors are `[w, 1]`.
        groups, best_rows: as `max_similarity` takes them.

    Returns:
        (N, L) scores, comparable between images.

    Raises:
        InputError: the sizes do not fit, or a score is not finite.
    """
    scores = np.empty((len(records), len(labels if groups is None else groups)), np.float32)
    for rows, chunk in score_chunks(records, queries_of(records, labels), None, groups, best_rows):
        scores[rows] = chunk
    return scores


def queries_of(records: Records, vectors: Float[np.ndarray, "L _"]) -> Float32[np.ndarray, "L Q"]:
    """Scoring vectors as they are, or `[w, 1]` of label vectors."""
    wanted = records.shape
    vectors = vectors.astype(np.float32, copy=False)
    if vectors.shape[1] == wanted.width:
        return vectors
    if vectors.shape[1] != wanted.dimension or wanted.shared != 1:
        raise InputError(
            f"records of {wanted} want scoring vectors (labels, {wanted.width}); these have the shape {vectors.shape}.",
            remedy="Evaluate with the label space that the model was trained in.",
        )
    return scoring_vectors(vectors)


def score_chunks(
    records: Records,
    queries: Float32[np.ndarray, "V Q"],
    nearest: Int64[np.ndarray, "N k"] | None = None,
    groups: Int64[np.ndarray, "L K"] | None = None,
    best_rows: int = 1,
) -> Iterator[tuple[slice, Float32[np.ndarray, "B L"]]]:
    """Scores of a few images at a time, checked to be finite."""
    for rows in slices(len(records)):
        if nearest is None:
            scores, _ = score_records(records[rows], queries, groups, best_rows=best_rows)
        else:
            own = np.arange(rows.start, rows.stop)
            asked, inverse = np.unique(np.column_stack([own, nearest[rows]]), return_inverse=True)
            inverse = inverse.reshape(len(own), -1)
            found, _ = score_records(records[asked], queries, groups, best_rows=best_rows)
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
