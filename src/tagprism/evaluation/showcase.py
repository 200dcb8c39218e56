"""Choose what a report shows: the labels ranked best and worst, their curves and their pictures. Knows no HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int8

from tagprism.bundle.record import Records
from tagprism.counted import counted
from tagprism.evaluation.metrics import labelled_images, precision_recall_curve
from tagprism.evaluation.protocols import Evaluation, LabelResult, of_rankings
from tagprism.evaluation.scores import streamed_scores
from tagprism.images.picture_file import PictureFile


@dataclass(frozen=True)
class Curve:
    """Precision over recall of one label, percent, at each of its positives.

    Args:
        label: its name.
        recall: (P,) rising to 100.
        precision: (P,).
        average_precision: mean of `precision`.
        chance: average precision of a random ranking.
    """

    label: str
    recall: Float64[np.ndarray, " P"]
    precision: Float64[np.ndarray, " P"]
    average_precision: float
    chance: float


@dataclass(frozen=True)
class RankedPicture:
    """A picture in a ranking: where it is, its score, and whether it has the label (None: unknown)."""

    path: PictureFile
    score: float
    has_label: bool | None = None


@dataclass(frozen=True)
class Ranking:
    """The first pictures of a ranking by a label or a query, with one line saying how good it is."""

    title: str
    note: str
    pictures: tuple[RankedPicture, ...]


@dataclass(frozen=True)
class Showcase:
    """Curves and rankings of the unseen labels that were ranked best and worst."""

    curves: tuple[Curve, ...]
    best: tuple[Ranking, ...]
    worst: tuple[Ranking, ...]


def showcase(
    evaluation: Evaluation,
    records: Records,
    vectors: Float[np.ndarray, "L _"],
    targets: Int8[np.ndarray, "N L"],
    pictures: Sequence[PictureFile],
    best_rows: int = 1,
    *,
    labels: int = 4,
    pictures_per_label: int = 8,
    least_positives: int = 5,
) -> Showcase:
    """Show the unseen labels with the highest and the lowest average precision (ZSL, labelled images).

    Args:
        evaluation: of these very records and labels, in this order.
        records: of N pictures.
        vectors: (L, Q) scoring vectors, or (L, D) label vectors.
        targets: (N, L) int8 of 1, 0 and -1.
        pictures: N paths.
        best_rows: as `score_records` takes it.
        labels: how many of the best and of the worst; fewer where there are not that many.
        pictures_per_label: how many pictures of each ranking.
        least_positives: labels with fewer positives are not shown (their numbers say little) unless there are no
            others.
    """
    unseen = np.array([row.unseen for row in evaluation.per_label])
    shown = labelled_images(targets[:, unseen])
    order = _by_precision(evaluation.per_label, least_positives)
    count = min(labels, (len(order) + 1) // 2)
    best, worst = order[:count], order[max(count, len(order) - count) :][::-1]
    chosen = best + worst
    scores, marks = streamed_scores(records[shown], vectors[chosen], best_rows=best_rows), targets[shown][:, chosen]
    paths = [path for path, is_shown in zip(pictures, shown, strict=True) if is_shown]
    curves, rankings = [], []
    for column, label in enumerate(chosen):
        row = evaluation.per_label[label]
        curves.append(_curve(row, scores[:, column], marks[:, column], evaluation))
        rankings.append(_ranking(row, scores[:, column], marks[:, column], paths, pictures_per_label))
    return Showcase(tuple(curves), tuple(rankings[:count]), tuple(rankings[count:]))


def _by_precision(rows: Sequence[LabelResult], least_positives: int) -> list[int]:
    """Unseen labels with a positive, best first; only those with enough positives if there are any."""
    measured = [i for i, row in enumerate(rows) if row.unseen and row.positives > 0]
    enough = [i for i in measured if rows[i].positives >= least_positives]
    return sorted(enough or measured, key=lambda i: -rows[i].average_precision["zsl"])


def _curve(
    row: LabelResult, scores: Float32[np.ndarray, " S"], marks: Int8[np.ndarray, " S"], evaluation: Evaluation
) -> Curve:
    recall, precision = precision_recall_curve(scores, marks, unknown=of_rankings(evaluation.unknown))
    return Curve(row.label, recall, precision, row.average_precision["zsl"], row.chance["zsl"])


def _ranking(
    row: LabelResult,
    scores: Float32[np.ndarray, " S"],
    marks: Int8[np.ndarray, " S"],
    paths: Sequence[PictureFile],
    count: int,
) -> Ranking:
    first = np.argsort(-scores, kind="stable")[:count]
    has_label = {1: True, 0: False, -1: None}
    pictures = tuple(RankedPicture(paths[i], float(scores[i]), has_label[int(marks[i])]) for i in first)
    quality = f"AP {row.average_precision['zsl']:.1f} (chance {row.chance['zsl']:.1f})"
    note = f"{quality}, {counted(row.positives, 'picture')} with it"
    return Ranking(row.label, note, pictures)
