"""The picture record: all that is kept of a picture, and the score of any label on it. Knows no pictures.

The rows are `A_m / sd`, one for each principal vector. The shared numbers c belong to the picture as a whole and stand
there once: `-mu / sd`, and where a bundle has class columns also the evidence for the backbone's own classes.

The score of a label is `max_m <A_m / sd, w> + <c, v>`. Its scoring vector is `(w, v)`: the label vector, and what it
makes of the shared numbers. The class columns among these (`network.class_columns`) count less for labels that were
trained on. A bundle may have a soft maximum, the mean of the k largest products (`best_rows`), in place of the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Float32, Integer, Shaped
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tagprism.errors import InputError

SHARPNESS = 5.0
"""The sharpness of bundles that do not state their own."""

_CHUNK = 1024  # labels whose affinities to all classes are held at once


class Shape(NamedTuple):
    """The size of a picture's record.

    Args:
        vectors: M, rows.
        dimension: D, numbers of a row.
        shared: S, numbers of the picture as a whole.
    """

    vectors: int
    dimension: int
    shared: int

    def __str__(self) -> str:
        return f"{self.vectors} x {self.dimension} and {self.shared} numbers"

    @property
    def width(self) -> int:
        """D + S, the length of a scoring vector."""
        return self.dimension + self.shared


@dataclass(frozen=True, eq=False)
class Records:
    """Records of n pictures. Indexing with a slice or an array chooses pictures; iteration gives them one by one.

    Args:
        rows: (n, M, D) `A_m / sd`.
        shared: (n, S) the shared numbers c, S at least 1.

    Example:
        >>> import numpy as np
        >>> records = Records(np.zeros((5, 7, 256), np.float32), np.zeros((5, 194), np.float32))
        >>> len(records), len(records[1:3]), records.shape.width
        (5, 2, 450)
    """

    rows: Float[np.ndarray, "n M D"]
    shared: Float[np.ndarray, "n S"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | np.ndarray) -> Records:
        return Records(self.rows[which], self.shared[which])

    def __iter__(self) -> Iterator[Records]:
        return (self[at : at + 1] for at in range(len(self)))

    @property
    def shape(self) -> Shape:
        """M, D and S."""
        return Shape(*self.rows.shape[1:], *self.shared.shape[1:])

    def astype(self, dtype: npt.DTypeLike) -> Records:
        """The same numbers as another float type; no copy where they have it already."""
        return Records(self.rows.astype(dtype, copy=False), self.shared.astype(dtype, copy=False))

    @staticmethod
    def joined(parts: Iterable[Records]) -> Records:
        """The pictures of one or more parts, in order."""
        rows, shared = zip(*((part.rows, part.shared) for part in parts), strict=True)
        return Records(np.concatenate(rows), np.concatenate(shared))

    @staticmethod
    def from_copies(matrices: Float[np.ndarray, "n M Q"], dimension: int) -> Records:
        """Records of the form of older bundles and indexes, whose rows end in a copy of the shared numbers each."""
        return Records(matrices[:, :, :dimension], matrices[:, 0, dimension:])


def check_scoring_vectors(scoring_vectors: Float[np.ndarray, "q Q"], width: int) -> None:
    """Refuse scoring vectors that are not of this length.

    Raises:
        InputError: another length, or numbers that are not finite.
    """
    if scoring_vectors.ndim != 2 or scoring_vectors.shape[1] != width or not np.isfinite(scoring_vectors).all():
        raise InputError(
            f"scoring vectors of shape {scoring_vectors.shape}; the index wants finite rows of {width} numbers.",
            remedy="Query with the model that this index was made with.",
        )


@dataclass(frozen=True, eq=False)
class ClassAffinity:
    """How near each label, also one never trained on, is to the classes of the backbone's classifier.

    The affinity of class k to label l is `exp(sharpness * cos(v_k, w_l))`, standardised over the classes. The table of
    all affinities has a low rank, so a label's K numbers are kept in R directions.

    Args:
        basis: (K, R), the directions.
        vectors: (K, D) vectors of the classes.
        trained: weight of the class columns for labels trained on, of their weight for other labels; 0..1.
        sharpness: how fast the affinity of a class to a label falls with their angle.
    """

    basis: Float[np.ndarray, "K R"]
    vectors: Float[np.ndarray, "K D"]
    trained: float = 0.0
    sharpness: float = SHARPNESS

    @classmethod
    def load(cls, path: Path, dimension: int, columns: int) -> ClassAffinity:
        """Read the affinities of a bundle with label vectors of size D and so many class columns.

        Raises:
            InputError: the file is absent, damaged, of another size, or of the linear form that was given up.
        """
        try:
            found = load_file(path)
            if "vectors" not in found:
                raise InputError(
                    "is of the linear ConSE that tagprism no longer has.",
                    where=str(path),
                    remedy="Train it again with `tagprism train RECIPE`: the class columns of today are more accurate.",
                )
            trained = float(found["trained"].item())
            sharpness = float(found["sharpness"].item()) if "sharpness" in found else SHARPNESS
            affinity = cls(found["basis"], found["vectors"], trained, sharpness)
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise InputError(f"cannot be read ({error}).", where=str(path), remedy="Copy the bundle again.") from error
        shapes = (len(affinity.vectors), columns - 1), (len(affinity.basis), dimension)
        if (affinity.basis.shape, affinity.vectors.shape) != shapes:
            raise InputError("does not fit the bundle's config.", where=str(path), remedy="Copy the bundle again.")
        return affinity

    @property
    def columns(self) -> int:
        """R + 1, the number of class columns among the shared numbers of a picture."""
        rank: int = self.basis.shape[1]
        return rank + 1

    @cached_property
    def _wide(self) -> tuple[Float32[np.ndarray, "K R"], Float32[np.ndarray, "K D"]]:
        """Basis and vectors as float32: a search of one label would widen them for longer than it computes."""
        return self.basis.astype(np.float32), self.vectors.astype(np.float32)

    def of(self, vectors: Float32[np.ndarray, "L D"]) -> Float32[np.ndarray, "L R"]:
        """Affinities of labels in the R directions."""
        basis, classes = self._wide
        found = np.empty((len(vectors), basis.shape[1]), np.float32)
        for start in range(0, len(vectors), _CHUNK):
            rows = slice(start, start + _CHUNK)
            found[rows] = class_label_affinity(vectors[rows], classes, self.sharpness) @ basis
        return found


def class_label_affinity(
    vectors: Float32[np.ndarray, "L D"], classes: Float32[np.ndarray, "K D"], sharpness: float
) -> Float32[np.ndarray, "L K"]:
    """Affinity of each class to each label, with mean 0 and deviation 1 over the classes; all vectors of length 1."""
    affinity: Float32[np.ndarray, "L K"] = np.exp(sharpness * (vectors @ classes.T))
    affinity -= affinity.mean(axis=1, keepdims=True)
    affinity /= np.maximum(affinity.std(axis=1, keepdims=True), 1e-6)
    return affinity


def scoring_vectors(
    vectors: Float32[np.ndarray, "L D"],
    classes: ClassAffinity | None = None,
    trained: Bool[np.ndarray, " L"] | None = None,
) -> Float32[np.ndarray, "L Q"]:
    """Scoring vectors of labels: `[w, 1]`, or `[w, 1, t * u, t]` where pictures have class columns.

    Args:
        vectors: (L, D) label vectors w.
        classes: gives u, a label's affinities to the classes; None where there are no class columns.
        trained: (L,) true for labels trained on, whose t is `classes.trained` in place of 1; none of them when None.

    Returns:
        (L, Q), Q = D + S: `(w, v)` of `score_records`.
    """
    one = np.ones((len(vectors), 1), np.float32)
    if classes is None:
        return np.concatenate([vectors, one], axis=1)
    weight = one if trained is None else np.where(trained[:, None], np.float32(classes.trained), one)
    affinities = classes.of(vectors)
    affinities *= weight  # in place: of a list of 100,000 words another copy has 160 MB
    return np.concatenate([vectors, one, affinities, weight], axis=1, dtype=np.float32)


def max_similarity_numpy(
    matrices: Float[np.ndarray, "B M D"],
    label_vectors: Float[np.ndarray, "V D"],
    groups: Integer[np.ndarray, "L K"] | None = None,
    *,
    best_rows: int = 1,
) -> tuple[Float32[np.ndarray, "B L"], Integer[np.ndarray, "B L"]]:
    """Score every label against every image's embedding matrix in numpy, as `network.embedding_matrix` does in torch.

    Args:
        matrices: (B, M, D) embedding matrices, or the rows of records; float16 is widened.
        label_vectors: (V, D) label vectors.
        groups: (L, K) the vectors of each label, by number, the first one again where it has fewer than K; None where
            each label has one, V = L.
        best_rows: k: the mean of a vector's k largest products (M where there are fewer) in place of the largest.

    Returns:
        scores (B, L) float32; winners (B, L): the m that won, of the first vector that did and the lowest one on a tie.

    Source: arXiv 2105.05926, section 3.1.
    """
    products, scores = _products(matrices, label_vectors)
    M = products.shape[1]
    winners = np.zeros(scores.shape, np.uint8 if M <= 256 else np.int64)
    for m in reversed(range(M)):  # the lowest one has the last word
        np.copyto(winners, m, where=products[:, m] == scores)
    if best_rows > 1:
        others = max(M - best_rows, 0)
        scores = np.partition(products, others, axis=1)[:, others:].mean(axis=1)
    return best_of_groups(scores, winners, groups)


def best_of_groups(
    scores: Float32[np.ndarray, "B V"],
    winners: Integer[np.ndarray, "B V"],
    groups: Integer[np.ndarray, "L K"] | None,
) -> tuple[Float32[np.ndarray, "B L"], Integer[np.ndarray, "B L"]]:
    """Of scores and winners of vectors, those of each label's best vector, the first one on a tie."""
    if groups is None:
        return scores, winners
    best = scores[:, groups].argmax(axis=2)[..., None]  # (B, L, 1)
    found = (np.take_along_axis(array[:, groups], best, axis=2)[..., 0] for array in (scores, winners))
    return next(found), next(found)


def _products(
    matrices: Shaped[np.ndarray, "B M D"], label_vectors: Float[np.ndarray, "L D"]
) -> tuple[Float32[np.ndarray, "B M L"], Float32[np.ndarray, "B L"]]:
    """The products of every label with every vector of every image, and the largest over the vectors."""
    B, M, D = matrices.shape
    rows = matrices.reshape(B * M, D).astype(np.float32, copy=False)
    with np.errstate(invalid="ignore"):  # OpenBLAS now and then leaves this flag behind, of numbers that are all finite
        products = (rows @ label_vectors.astype(np.float32, copy=False).T).reshape(B, M, len(label_vectors))
    scores = products[:, 0].copy()
    for m in range(1, M):  # M passes over whole arrays: several times faster than max over a middle axis
        np.maximum(scores, products[:, m], out=scores)
    return products, scores


def largest_similarity(
    matrices: Shaped[np.ndarray, "B M D"], label_vectors: Float[np.ndarray, "L D"]
) -> Float32[np.ndarray, "B L"]:
    """The largest products alone, in less time; numbers of any kind are widened to float32.

    They are the scores of `max_similarity_numpy`, and never below those of a soft maximum.
    """
    return _products(matrices, label_vectors)[1]


def score_records(
    records: Records,
    scoring_vectors: Float[np.ndarray, "V Q"],
    groups: Integer[np.ndarray, "L K"] | None = None,
    *,
    best_rows: int = 1,
) -> tuple[Float32[np.ndarray, "B L"], Integer[np.ndarray, "B L"]]:
    """Score every label on every picture's record.

    Args:
        records: of B pictures; float16 is widened.
        scoring_vectors: (V, D + S) of the labels.
        groups, best_rows: as for `max_similarity_numpy`.

    Returns:
        scores (B, L) float32, comparable between pictures; winners (B, L): the m that won, the lowest one on a tie.
    """
    D = records.rows.shape[2]
    scores, winners = max_similarity_numpy(records.rows, scoring_vectors[:, :D], best_rows=best_rows)
    shared = records.shared.astype(np.float32, copy=False)
    scores += shared @ scoring_vectors[:, D:].astype(np.float32, copy=False).T
    return best_of_groups(scores, winners, groups)
