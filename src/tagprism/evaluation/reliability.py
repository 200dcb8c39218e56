"""How well probabilities hold: what was said against what was so. Knows only arrays.

Every (picture, label) pair counts once, known ones only. Rare labels make small errors easy: the share of pictures that
have the label, said of every pair, has no calibration error at all and finds nothing. So skill stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from tagprism.errors import InputError
from tagprism.evaluation.metrics import UnknownPolicy, as_array, checked_targets
from tagprism.evaluation.ranking import micro_scores

BINS = 10
RELIABILITY_COLUMNS = ("base rate", "ECE", "Brier skill", "P at 0.5", "R at 0.5", "given per picture")
RELIABILITY_NOTE = "All test pictures, known pairs. To say the base rate always has ECE 0 and skill 0."


@dataclass(frozen=True)
class Bin:
    """Pairs whose probability lies between two bounds.

    Args:
        low: least probability of the bin.
        high: its end, which belongs to the next one (1 to the last).
        pairs: how many.
        said: mean probability, percent.
        true: share of the pairs whose picture has the label, percent.
    """

    low: float
    high: float
    pairs: int
    said: float
    true: float


@dataclass(frozen=True)
class Reliability:
    """How well probabilities hold, percent but for counts.

    Args:
        pairs: known (picture, label) pairs.
        base_rate: share of them in which the picture has the label.
        ece: expected calibration error: mean over the pairs of their bin's |said - true|.
        skill: Brier skill: 100 is perfect, 0 is to say the base rate always.
        cut: the probability from which on a label is given.
        given: pairs at or above the cut.
        per_picture: their mean number per picture.
        precision: share of those that are right; NaN when there are none.
        recall: share of the positives they hold; NaN when there are none.
        bins: the reliability table: the bins that hold a pair.
    """

    pairs: int
    base_rate: float
    ece: float
    skill: float
    cut: float
    given: int
    per_picture: float
    precision: float
    recall: float
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON object with the keys of the result format; unrounded, null where there is no value."""
        named = {"ece": "ECE", "skill": "brier_skill", "precision": f"P@p{self.cut:g}", "recall": f"R@p{self.cut:g}"}
        return {named.get(key, key): None if value != value else value for key, value in asdict(self).items()}


def reliability(
    probabilities: Any, targets: Any, *, cut: float = 0.5, unknown: UnknownPolicy = "ignore", bins: int = BINS
) -> Reliability:
    """Compare probabilities with what was so.

    Args:
        probabilities: (N, L) in 0..1.
        targets: (N, L) of 1, 0 and -1.
        cut: a label is given from this probability on, 0..1.
        unknown: pairs of -1 are left out (`ignore`) or count as negatives.
        bins: how many, of equal width.

    Raises:
        InputError: shapes differ, a probability is outside 0..1, no pair is known.

    Source: expected calibration error as in Guo et al., arXiv 1706.04599, equation 3, for the positive class.
    """
    marks, said = checked_targets(targets, unknown), as_array(probabilities).astype(np.float64)
    if said.shape != marks.shape:
        raise InputError(f"probabilities {said.shape} and targets {marks.shape} must have the same shape.")
    if not ((said >= 0) & (said <= 1)).all():
        raise InputError("a probability is outside 0..1.")
    known = marks >= 0
    said, true = said[known], (marks[known] == 1).astype(np.float64)
    if not len(said):
        raise InputError("no pair of a picture and a label is known.")
    position = np.minimum((said * bins).astype(np.int64), bins - 1)
    count, sum_said, sum_true = (np.bincount(position, weights, minlength=bins) for weights in (None, said, true))
    base, given = true.mean(), said >= cut
    spread = base * (1 - base)
    precision, recall, _ = micro_scores(int(true[given].sum()), int(given.sum()), int(true.sum()))
    return Reliability(
        pairs=len(said),
        base_rate=float(100 * base),
        ece=float(100 * np.abs(sum_said - sum_true).sum() / len(said)),
        skill=float(100 * (1 - ((said - true) ** 2).mean() / spread)) if spread else float("nan"),
        cut=cut,
        given=int(given.sum()),
        per_picture=float(given.sum() / len(marks)),
        precision=precision,
        recall=recall,
        bins=tuple(
            Bin(
                low=b / bins,
                high=(b + 1) / bins,
                pairs=int(count[b]),
                said=float(100 * sum_said[b] / count[b]),
                true=float(100 * sum_true[b] / count[b]),
            )
            for b in np.flatnonzero(count).tolist()
        ),
    )


def reliability_table(reliability: Mapping[str, Reliability]) -> Table:
    """Table for the terminal of how well probabilities hold.

    Args:
        reliability: by `unseen` and `seen`.
    """
    table = Table(title="probabilities", caption=RELIABILITY_NOTE, caption_justify="left")
    table.add_column("percent")
    for column in RELIABILITY_COLUMNS:
        table.add_column(column, justify="right")
    for name, its in reliability.items():
        table.add_row(f"{name} labels", *reliability_cells(its))
    return table


def reliability_cells(its: Reliability) -> tuple[str, ...]:
    """The cells below `RELIABILITY_COLUMNS`; empty where there is no value."""
    numbers = (its.base_rate, its.ece, its.skill, its.precision, its.recall)
    return (*("" if math.isnan(value) else f"{value:.2f}" for value in numbers), f"{its.per_picture:.2f}")
