"""A picture as a query: what it shows, and its own direction. Knows no query language."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64

from tagprism.bundle.record import Records, score_records
from tagprism.errors import InputError, PictureError
from tagprism.search.match import LabelLogits, log_probability
from tagprism.tagging.tagger import Tagger

if TYPE_CHECKING:
    from tagprism.search.collection import Collection

_LABELS = 5  # labels that speak for a picture
_ALMOST, _MOST = 0.05, 0.01  # logarithms of a likeness: what is nearer than the first is squeezed, up to the second


@dataclass(frozen=True)
class Example:
    """A picture to find others like.

    Args:
        record: of this one picture.
        path: of its file, absolute; that file is never among what is found.
        digest: SHA-256 of its file's bytes; pictures of the same bytes match it fully.
    """

    record: Records
    path: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Likeness:
    """What ranks pictures by their likeness: the weighted sum of log probabilities, set against the example's own.

    Args:
        scoring_vectors: (q, Q) of the example's best trained labels, and its own direction as the last.
        weights: (q,) the labels' sum to 1, the direction has 1.
        own: that sum for the example itself.
    """

    scoring_vectors: Float32[np.ndarray, "q Q"]
    weights: Float64[np.ndarray, " q"]
    own: float

    def log_match(self, logits: Float64[np.ndarray, "n q"]) -> Float64[np.ndarray, " n"]:
        """Logarithm of the match of n pictures, below log 0.99: 1 is for the example's own bytes alone.

        It rises with the sum throughout, also where a picture has more of what the example shows than that itself.
        """
        above = log_probability(logits) @ self.weights - self.own + _ALMOST
        room = _ALMOST - _MOST
        squeezed: Float64[np.ndarray, " n"]
        squeezed = np.where(above < 0, above, -room * np.expm1(-np.maximum(above, 0) / room)) - _ALMOST
        return squeezed


def likeness(example: Example, tagger: Tagger, label_logits: LabelLogits) -> Likeness:
    """What ranks pictures by their likeness to an example.

    Its five likeliest trained labels, each weighted by its probability, and the mean of its principal vectors less the
    mean of the background's, as if that were a label. The labels alone find more pictures that share labels; the
    direction brings near-duplicates to the front (`docs/queries.md`).
    """
    seen = tagger.scoring_vectors(tagger.vocabulary.seen)
    scores, _ = score_records(example.record, seen, best_rows=tagger.best_rows)
    probabilities = np.exp(log_probability(label_logits.logits(seen, scores)))[0]
    best = np.argsort(-probabilities, kind="stable")[:_LABELS]
    own = _direction(example.record, label_logits.background, seen)
    weights = np.append(probabilities[best] / probabilities[best].sum(), 1.0)
    vectors = np.concatenate([seen[best], own[None]]).astype(np.float32)
    its, _ = score_records(example.record, vectors, best_rows=tagger.best_rows)
    return Likeness(vectors, weights, float(log_probability(label_logits.logits(vectors, its))[0] @ weights))


def _direction(record: Records, background: Records, labels: Float32[np.ndarray, "L Q"]) -> Float32[np.ndarray, " Q"]:
    """The scoring vector that a picture is: what sets it apart, as long as labels are, and 1 for the mean.

    What all pictures share is most of a principal vector's length, and would make all pictures alike.
    """
    D = record.shape.dimension
    common = background.rows.mean(axis=(0, 1), dtype=np.float32)
    own = record.rows[0].mean(axis=0) - common
    length = float(np.linalg.norm(labels[:, :D], axis=1).mean())
    vector = np.zeros(record.shape.width, np.float32)
    vector[:D] = own * (length / max(float(np.linalg.norm(own)), 1e-9))
    vector[D] = 1.0
    return vector


def example_of(collection: Collection, path: str) -> Example:
    """A picture file as an example, read anew; one that is no longer there is taken from the index.

    Raises:
        InputError: it cannot be used, or is neither on the disk nor in the index.
    """
    whole = os.path.abspath(path)  # noqa: PTH100 (a text that the index compares by)
    if Path(whole).exists():
        ((_, outcome, digest),) = collection.tagger.records([whole])
        if isinstance(outcome, PictureError):
            raise InputError(outcome.message, where=path, remedy="Give another picture.") from outcome
        return Example(outcome, whole, digest)
    for picture in collection.index.pictures():
        if picture.path == whole:
            return Example(collection.index.records([picture.id]), whole, picture.digest)
    remedy = "Name a picture that is there, or one that was indexed."
    raise InputError("is neither a file nor a picture of the index.", where=path, remedy=remedy)
