"""One thing, one name: which of a picture's tags name the same thing, and which name is shown. Knows no pictures.

Two labels name one thing when their vectors are near, or rather near and the same classes of the backbone's classifier
speak for them (`cat`, `domestic cat`, `kitten`; not `sun` and `sunset`), unless their words tell them apart
(`word_kinship`: a `train station` is no train). The thresholds were chosen by eye on photos, so that man and woman, sky
and clouds, mare and foal stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Integer

from tagprism.labels.word_kinship import told_apart

_NEAR = 0.7  # cosine of label vectors from which they name one thing
_RATHER_NEAR, _SAME_EVIDENCE = 0.6, 0.85  # or of label vectors and of their class affinities, both
_RARE = 0.15  # by which the logit of a further word falls with the logarithm of its row: common words come first


@dataclass(frozen=True, eq=False)
class SameThing:
    """The labels of a large vocabulary, as far as names are concerned.

    Args:
        names: of the L labels.
        scoring_vectors: (L, Q) of the labels; a label vector of zeros is a name of its own.
        dimension: D, of the label vectors among them.
        classes: R, class affinities that follow the label vector and the 1; 0 where there are none.
        trained: (L,) whether a label was trained on: people call photos so.
    """

    names: Sequence[str]
    scoring_vectors: Float32[np.ndarray, "L Q"]
    dimension: int
    classes: int
    trained: Bool[np.ndarray, " L"]

    def groups(self, labels: Integer[np.ndarray, " n"], chances: Float64[np.ndarray, " n"]) -> list[list[int]]:
        """Labels that name one thing.

        Args:
            labels: rows of a picture's likeliest labels, best first.
            chances: their probabilities, 0..1.

        Returns:
            Groups of places in `labels`, in their order; in each the name to show is first, the one that is likely
            and common. All others of the group name the same as it, and no two names to show name the same.
        """
        same = self._same(labels)
        likely = np.clip(chances, 1e-9, 1 - 1e-9)
        worth = np.log(likely / (1 - likely)) - _RARE * np.where(self.trained[labels], 0.0, np.log1p(labels))
        groups: list[list[int]] = []
        free = np.ones(len(labels), bool)
        for shown in np.argsort(-worth, kind="stable").tolist():  # no chains: a ball is no athlete by way of `player`
            if free[shown]:
                free[shown] = False
                its = np.flatnonzero(same[shown] & free)
                free[its] = False
                groups.append([shown, *its.tolist()])
        return sorted(groups)

    def _same(self, labels: Integer[np.ndarray, " n"]) -> Bool[np.ndarray, "n n"]:
        rows, D = self.scoring_vectors[labels], self.dimension
        near = _cosines(rows[:, :D])
        same: Bool[np.ndarray, "n n"] = near >= _NEAR
        if self.classes:
            evidence = _cosines(rows[:, D + 1 : D + 1 + self.classes])
            same |= (near >= _RATHER_NEAR) & (evidence >= _SAME_EVIDENCE)
        for one, other in np.argwhere(np.triu(same, 1)):
            if told_apart(self.names[labels[one]], self.names[labels[other]]):
                same[one, other] = same[other, one] = False
        return same


def _cosines(rows: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n n"]:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    cosines: Float[np.ndarray, "n n"] = unit @ unit.T
    return cosines
