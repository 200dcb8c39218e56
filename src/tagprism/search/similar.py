"""A picture as a query: what it shows, and its own direction. Knows no query language."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64

from tagprism.bundle.score import max_similarity_numpy
from tagprism.errors import InputError, PictureError
from tagprism.search.collection import Collection
from tagprism.search.label_logits import Odds
from tagprism.search.match import log_chance
from tagprism.tagging.tagger import Tagger

_LABELS = 5  # labels that speak for a picture


@dataclass(frozen=True)
class Example:
    """A picture to find others like.

    Args:
        matrix: (M, Q) its ranking matrix.
        path: of its file, absolute; that file is never among what is found.
    """

    matrix: Float32[np.ndarray, "M Q"]
    path: str | None = None


@dataclass(frozen=True)
class Likeness:
    """What ranks pictures by their likeness: the weighted sum of log chances.

    Args:
        queries: (q, Q) the example's best trained labels, and its own direction as the last.
        weights: (q,) the labels' sum to 1, the direction has 1.
    """

    queries: Float32[np.ndarray, "q Q"]
    weights: Float64[np.ndarray, " q"]

    def log_match(self, logits: Float64[np.ndarray, "n q"]) -> Float64[np.ndarray, " n"]:
        """Logarithm of the match of n pictures."""
        match: Float64[np.ndarray, " n"] = log_chance(logits) @ self.weights
        return match


def likeness(example: Example, tagger: Tagger, odds: Odds) -> Likeness:
    """What ranks pictures by their likeness to an example.

    Its five likeliest trained labels, each weighted by its chance, and the mean of its principal vectors less the mean
    of the background's, as if that were a label. The labels alone find more pictures that share labels; the direction
    brings near-duplicates to the front (`docs/queries.md`).
    """
    seen = tagger.scoring_vectors(tagger.vocabulary.seen)
    scores, _ = max_similarity_numpy(example.matrix[None], seen)
    chances = np.exp(log_chance(odds.logits(seen, scores)))[0]
    best = np.argsort(-chances, kind="stable")[:_LABELS]
    own = _direction(example.matrix, odds.background, seen, tagger.bundle.config.dimension)
    weights = np.append(chances[best] / chances[best].sum(), 1.0)
    return Likeness(np.concatenate([seen[best], own[None]]).astype(np.float32), weights)


def _direction(
    matrix: Float32[np.ndarray, "M Q"],
    background: Float[np.ndarray, "b M Q"],
    labels: Float32[np.ndarray, "L Q"],
    dimension: int,
) -> Float32[np.ndarray, " Q"]:
    """The query that a picture is: what sets it apart, as long as labels are, and 1 for the mean.

    What all pictures share is most of a principal vector's length, and would make all pictures alike.
    """
    shared = background[:, :, :dimension].astype(np.float32).mean(axis=(0, 1))
    own = matrix[:, :dimension].mean(axis=0) - shared
    length = float(np.linalg.norm(labels[:, :dimension], axis=1).mean())
    query = np.zeros(matrix.shape[1], np.float32)
    query[:dimension] = own * (length / max(float(np.linalg.norm(own)), 1e-9))
    query[dimension] = 1.0
    return query


def example_of(collection: Collection, path: str) -> Example:
    """A picture file as an example, read anew; one that is no longer there is taken from the index.

    Raises:
        InputError: it cannot be used, or is neither on the disk nor in the index.
    """
    whole = os.path.abspath(path)  # noqa: PTH100 (a text that the index compares by)
    if Path(whole).exists():
        ((_, outcome, _),) = collection.tagger.matrices([whole])
        if isinstance(outcome, PictureError):
            raise InputError(outcome.message, where=path, remedy="Give another picture.") from outcome
        return Example(outcome, whole)
    for picture in collection.index.pictures():
        if picture.path == whole:
            return Example(collection.index.matrices([picture.id])[0], whole)
    remedy = "Name a picture that is there, or one that was indexed."
    raise InputError("is neither a file nor a picture of the index.", where=path, remedy=remedy)
