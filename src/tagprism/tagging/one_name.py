"""One thing, one name: which of a picture's tags name the same thing, and which name is shown. Knows only arrays.

Two labels name one thing when their vectors are near, or rather near and the same classes of the backbone's classifier
speak for them (`cat`, `domestic cat`, `kitten`; not `sun` and `sunset`). The thresholds were chosen by eye on eight
photos, so that man and woman, sky and clouds, mare and foal stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Integer

_NEAR = 0.7  # cosine of label vectors from which they name one thing
_RATHER_NEAR, _SAME_EVIDENCE = 0.5, 0.85  # or of label vectors and of their class affinities, both
_RARE = 0.15  # by which the logit of a further word falls with the logarithm of its row: common words come first


@dataclass(frozen=True, eq=False)
class SameThing:
    """The labels of a large vocabulary, as far as names are concerned.

    Args:
        scoring_vectors: (L, Q) of the labels; a label vector of zeros is a name of its own.
        dimension: D, of the label vectors among them.
        classes: R, class affinities that follow the label vector and the 1; 0 where there are none.
        trained: (L,) whether a label was trained on: people call photos so.
    """

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
            Groups of places in `labels`, in the order of their likeliest; in each the name to show is first: the one
            that is likely and common.
        """
        same = self._same(labels)
        groups: list[list[int]] = []
        for place in range(len(labels)):
            its = next((group for group in groups if same[place, group].any()), None)
            if its is None:
                groups.append([place])
            else:
                its.append(place)
        likely = np.clip(chances, 1e-9, 1 - 1e-9)
        worth = np.log(likely / (1 - likely)) - _RARE * np.where(self.trained[labels], 0.0, np.log1p(labels))
        return [_first(group, max(group, key=lambda place: float(worth[place]))) for group in groups]

    def _same(self, labels: Integer[np.ndarray, " n"]) -> Bool[np.ndarray, "n n"]:
        rows, D = self.scoring_vectors[labels], self.dimension
        near = _cosines(rows[:, :D])
        same: Bool[np.ndarray, "n n"] = near >= _NEAR
        if self.classes:
            evidence = _cosines(rows[:, D + 1 : D + 1 + self.classes])
            same |= (near >= _RATHER_NEAR) & (evidence >= _SAME_EVIDENCE)
        return same


def _cosines(rows: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n n"]:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    cosines: Float[np.ndarray, "n n"] = unit @ unit.T
    return cosines


def _first(group: Sequence[int], shown: int) -> list[int]:
    return [shown, *(place for place in group if place != shown)]
