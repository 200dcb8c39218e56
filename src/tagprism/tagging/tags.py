"""Tags of pictures, and which of them name one thing: synonyms, and other spellings of a label. Knows no models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Integer

from tagprism.bundle.record import ClassAffinity
from tagprism.errors import PictureError
from tagprism.labels.phrases import names_of_tags
from tagprism.labels.vocabulary import Vocabulary

Labels: TypeAlias = str | Sequence[str] | Mapping[str, str | Sequence[str]] | None
"""What pictures are tagged with: one label, several, or labels with their other spellings; the vocabulary when None."""


_NEAR = 0.7  # cosine of label vectors from which they name one thing
_RATHER_NEAR, _SAME_EVIDENCE = 0.5, 0.85  # or of label vectors and of their class affinities, both
_RARE = 0.15  # by which the logit of a further word falls with the logarithm of its row: common words come first


@dataclass(frozen=True)
class Tag:
    """One label of one picture.

    Args:
        label: the word or phrase.
        score: comparable between pictures where the bundle is standardised.
        probability: calibrated, 0..1, or None where the bundle has no calibration; 0 where the label holds a word that
            the model does not know.
        vector: which principal vector won, 0..M-1.
        also: other names of the same thing that are likely too, where one name a thing is asked for.
    """

    label: str
    score: float
    probability: float | None
    vector: int
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageTags:
    """The tags of one picture, best first; or why it has none.

    Args:
        path: as it was given; a text where it is a URL.
        tags: best first; empty with an error.
        error: why the picture could not be used, or None.
        remark: what is wrong with its file though it could be used; mostly ''.
    """

    path: Path | str
    tags: tuple[Tag, ...]
    error: PictureError | None = None
    remark: str = ""


@dataclass(frozen=True, eq=False)
class SameThing:
    """Which of a picture's tags name the same thing, and which of the names is shown.

    Two labels name one thing when their vectors are near, or rather near and the same classes of the backbone's
    classifier speak for them (`cat`, `domestic cat`, `kitten`; not `sun` and `sunset`). The thresholds were chosen by
    eye on eight photos, so that man and woman, sky and clouds, mare and foal stay apart. Synonyms name one thing, too,
    and of these the same one is shown of every photo.

    Args:
        scoring_vectors: (L, Q) of the labels; a label vector of zeros is a name of its own.
        dimension: D, of the label vectors among them.
        classes: R, class affinities that follow the label vector and the 1; 0 where there are none.
        trained: (L,) whether a label was trained on: people call photos so.
        common: (L,) row of the synonym that is shown in place of a label; mostly its own.
    """

    scoring_vectors: Float32[np.ndarray, "L Q"]
    dimension: int
    classes: int
    trained: Bool[np.ndarray, " L"]
    common: Int64[np.ndarray, " L"]

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, scoring_vectors: Float32[np.ndarray, "L Q"], classes: ClassAffinity | None
    ) -> SameThing:
        """The same for the labels of a vocabulary and further ones, which count as trained on, behind them."""
        known = len(vocabulary.names)
        own = len(scoring_vectors) - known
        trained = np.append(np.array(vocabulary.roles) == "seen", np.ones(own, bool))
        rank = 0 if classes is None else classes.columns - 1
        common = np.append(common_names(vocabulary), np.arange(own) + known)
        return cls(scoring_vectors, vocabulary.dimension, rank, trained, common)

    def with_synonyms(self, ranked: Float[np.ndarray, " L"]) -> Float[np.ndarray, " L"]:
        """Probabilities (L,) of a picture's labels, each at least that of the synonyms that it is shown for."""
        found = ranked.copy()
        np.maximum.at(found, self.common, ranked)
        return found

    def groups(self, labels: Integer[np.ndarray, " n"], chances: Float64[np.ndarray, " n"]) -> list[list[int]]:
        """Labels that name one thing.

        Args:
            labels: rows of a picture's likeliest labels, best first.
            chances: their probabilities, 0..1.

        Returns:
            Groups of positions in `labels`, in the order of their likeliest; in each the name to show is first: the one
            that is likely and common.
        """
        same, common = self._same(labels), self.common[labels].tolist()
        groups: list[list[int]] = []
        group_of: dict[int, list[int]] = {}  # by the common name
        for position in range(len(labels)):
            its = group_of.get(common[position]) or next((one for one in groups if same[position, one].any()), None)
            if its is None:
                groups.append(its := [])
            its.append(position)
            group_of[common[position]] = its
        likely = np.clip(chances, 1e-9, 1 - 1e-9)
        worth = np.log(likely / (1 - likely)) - _RARE * np.where(self.trained[labels], 0.0, np.log1p(labels))
        shown = [max(group, key=lambda position: float(worth[position])) for group in groups]
        position_of = {row: position for position, row in enumerate(labels.tolist())}
        return [
            _first(group, position_of.get(common[position], position))
            for group, position in zip(groups, shown, strict=True)
        ]

    def _same(self, labels: Integer[np.ndarray, " n"]) -> Bool[np.ndarray, "n n"]:
        rows, D = self.scoring_vectors[labels], self.dimension
        near = _cosines(rows[:, :D])
        same: Bool[np.ndarray, "n n"] = near >= _NEAR
        if self.classes:
            evidence = _cosines(rows[:, D + 1 : D + 1 + self.classes])
            same |= (near >= _RATHER_NEAR) & (evidence >= _SAME_EVIDENCE)
        return same


def common_names(vocabulary: Vocabulary) -> Int64[np.ndarray, " L"]:
    """Row of the name that each label of a vocabulary is shown under: of synonyms the commonest that was trained on."""
    shown = np.arange(len(vocabulary.names))
    for names in names_of_tags():
        rows = [row for name in names if (row := vocabulary.find_alike(name)) is not None]
        if rows:
            shown[rows] = next((row for row in rows if vocabulary.roles[row] == "seen"), rows[0])
    return shown


def _cosines(rows: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n n"]:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    cosines: Float[np.ndarray, "n n"] = unit @ unit.T
    return cosines


def _first(group: Sequence[int], shown: int) -> list[int]:
    return [shown, *(position for position in group if position != shown)]


def best_spellings(
    scores: Float32[np.ndarray, " S"], winners: Integer[np.ndarray, " S"], starts: Integer[np.ndarray, " L"]
) -> tuple[Float32[np.ndarray, " L"], Integer[np.ndarray, " L"]]:
    """Score and winning vector of each label's best spelling; on a tie of the first of them.

    Args:
        scores: of all S spellings, a label's next to each other.
        winners: their winning vectors.
        starts: position of each label's first spelling, rising from 0.
    """
    best = np.maximum.reduceat(scores, starts)
    sizes = np.diff(starts, append=len(scores))
    is_best = np.flatnonzero(scores == np.repeat(best, sizes))  # at least one a label
    group = np.repeat(np.arange(len(starts)), sizes)[is_best]
    _, first = np.unique(group, return_index=True)
    return best, winners[is_best[first]]
