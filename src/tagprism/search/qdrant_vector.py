"""The vector by which a Qdrant collection finds candidates: how it is made of a record, and asked. Knows no server.

It is what the rows come to (`row_summary`), and the shared numbers. A server keeps it in 8 bits, in one range for all
of its numbers, and cuts what is asked for to the same range (docs/scale.md). So each number is kept times a weight, and
what is asked of it is divided by that: either then lies in about the same range. Weights are powers of two, which round
nothing.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from tagprism.bundle.record import Shape
from tagprism.errors import InputError
from tagprism.search.row_summary import RowSummary, is_nearer

_RARE = 8  # times less than the most that is asked of a number is the least that counts: some are asked by few words
_MOST = 60  # exponent of a weight; no model's is near it, and float32 has twice as many


@dataclass(frozen=True)
class WholeVector:
    """How the vector is made and asked, as it is kept with a collection: every reader and writer uses the same.

    Args:
        weights: (D + S,) of its numbers.
        summary: what rows come to; None for their mean.
    """

    weights: Float32[np.ndarray, " W"]
    summary: RowSummary | None = None

    @classmethod
    def for_asked(cls, shape: Shape, scoring_vectors: Float32[np.ndarray, "q W"]) -> WholeVector:
        """What is good for scoring vectors that are usually asked for; for none of them the plain mean."""
        D, weights = shape.dimension, np.ones(shape.width, np.float32)
        for part in (slice(0, D), slice(D, None)) if len(scoring_vectors) else ():
            squares = np.square(scoring_vectors[:, part], dtype=np.float64)
            # As few vectors say little, the mean of all numbers counts as one more.
            usual = (squares.sum(axis=0) + squares.mean()) / (len(squares) + 1)
            usual = np.sqrt(np.maximum(usual, squares.max(axis=0) / _RARE**2))
            # Products are of about 1 / sqrt(D) where 1 is asked: from the middle between, both are of D^(-1/4).
            weights[part] = np.exp2(np.round(np.log2(np.maximum(usual * D**0.25, 1e-9))))
        label_vectors = scoring_vectors[:, :D]
        if not is_nearer(label_vectors, shape.vectors):
            return cls(weights)
        whole = np.rint(127 * label_vectors / max(float(np.abs(label_vectors).max()), 1e-30))
        return cls(weights, RowSummary(whole.astype(np.float32), by_length=False))

    @classmethod
    def read(cls, where: str, shape: Shape, kept: Any) -> WholeVector:
        """What `kept` has said; the plain mean for None, which is of an older version.

        Raises:
            InputError: it is damaged.
        """
        if kept is None:
            return cls(np.ones(shape.width, np.float32))
        try:
            exponents = np.array(kept["exponents"], np.float64).reshape(shape.width)
            if not (np.abs(exponents) <= _MOST).all():
                raise ValueError("a weight is out of range")
            whole = np.frombuffer(base64.b64decode(kept["words"]), np.int8).reshape(-1, shape.dimension)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            remedy = "Index anew with --rebuild."
            raise InputError("its metadata is damaged.", where=where, remedy=remedy) from error
        summary = RowSummary(whole.astype(np.float32), by_length=False) if len(whole) else None
        return cls(np.exp2(exponents).astype(np.float32), summary)

    def kept(self) -> dict[str, Any]:
        """It as JSON values."""
        whole = b"" if self.summary is None else self.summary.label_vectors.astype(np.int8).tobytes()
        return {"exponents": np.log2(self.weights).astype(int).tolist(), "words": base64.b64encode(whole).decode()}

    def of(self, rows: Float32[np.ndarray, "n M D"], shared: Float32[np.ndarray, "n S"]) -> Float32[np.ndarray, "n W"]:
        """The vectors of pictures."""
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers that no network makes
            mean = rows.mean(axis=1) if self.summary is None else self.summary.of(rows)[0]
            vectors: Float32[np.ndarray, "n W"] = np.nan_to_num(np.concatenate([mean, shared], axis=1) * self.weights)
        return vectors

    def asked(self, scoring_vectors: Float32[np.ndarray, "q W"]) -> Float32[np.ndarray, "q W"]:
        """What is asked of vectors."""
        found: Float32[np.ndarray, "q W"] = scoring_vectors / self.weights
        return found

    def shared(self, vectors: Float32[np.ndarray, "n W"], dimension: int) -> Float32[np.ndarray, "n S"]:
        """The shared numbers in vectors."""
        found: Float32[np.ndarray, "n S"] = vectors[:, dimension:] / self.weights[dimension:]
        return found
