"""Probabilities of phrases that a vocabulary lacks: how those of the names in it that they are made of bound them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float32, Float64, Integer

from tagprism.bundle.record import Records, score_records
from tagprism.labels.phrases import names_within, normalise_phrase
from tagprism.labels.vocabulary import Vocabulary
from tagprism.tagging.calibration import Calibration, LabelCalibration, other_rows


@dataclass(frozen=True)
class PhraseParts:
    """Phrases among labels, and the names that they are made of.

    Args:
        columns: (k,) of the phrases.
        parts: (k, n) for each the names in it, as columns of their calibration; what stands behind the last is certain.
        queries: (W, Q) scoring vectors of these names.
        names: their calibration.
    """

    columns: Integer[np.ndarray, " k"]
    parts: Integer[np.ndarray, "k n"]
    queries: Float32[np.ndarray, "W Q"]
    names: LabelCalibration

    def bound(self, found: Float64[np.ndarray, "B L"], records: Records, best_rows: int) -> None:
        """Bound the phrases' probabilities among those of all labels.

        A phrase is at least as probable as its names are together, taken for independent, and at most as the root of
        the least probability, as words like `red` are shy as tags.
        """
        scores, _ = score_records(records, self.queries, best_rows=best_rows)
        of_names = np.pad(self.names.probabilities(records, scores), ((0, 0), (0, 1)), constant_values=1.0)
        together, least = np.ones((2, len(found), len(self.columns)))
        for part in self.parts.T:
            together *= of_names[:, part]
            np.minimum(least, of_names[:, part], out=least)
        single = (self.parts < of_names.shape[1] - 1).sum(axis=1) == 1  # `a dog` is a dog
        found[:, self.columns] = np.clip(found[:, self.columns], together, np.where(single, least, np.sqrt(least)))


def phrase_parts(
    calibration: Calibration, labels: Sequence[str], rows: Integer[np.ndarray, " L"], vocabulary: Vocabulary
) -> PhraseParts | None:
    """Of labels those that the vocabulary lacks and that are made of names in it; None where there are none.

    Args:
        calibration: of the model.
        labels: words and phrases.
        rows: of each in the vocabulary, -1 for what is not in it.
        vocabulary: of the model.
    """

    @cache
    def row_of(text: str) -> int | None:
        own = vocabulary.find_alike(text)
        return next(iter(other_rows(text, vocabulary)), None) if own is None else own

    within = dict[int, tuple[str, ...]]()
    for position in np.flatnonzero(rows < 0).tolist():
        spaced = normalise_phrase(labels[position])
        for phrase in dict.fromkeys((spaced, spaced.replace("-", " "))):
            names = names_within(phrase, lambda text: row_of(text) is not None)
            if names and names != (phrase,) and position not in within:  # another name of a thing has its own rule
                within[position] = names
    if not within:
        return None
    its_rows = {name: row for names in within.values() for name in names if (row := row_of(name)) is not None}
    each = np.array(sorted(set(its_rows.values())))
    longest = max(map(len, within.values()))
    parts = np.full((len(within), longest), len(each))  # behind the names stands a 1
    for at, names in enumerate(within.values()):
        parts[at, : len(names)] = np.searchsorted(each, [its_rows[name] for name in names])
    of_names = calibration.of_labels([vocabulary.names[row] for row in each], vocabulary.vectors[each], vocabulary)
    return PhraseParts(
        np.array([*within]), parts, calibration.queries_of(each, vocabulary), replace(of_names, words=None)
    )
