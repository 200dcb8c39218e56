"""Charts of a report: what a run's log, label space, records and label counts show, as points ready to be drawn.

Knows no HTML; positions are in units of the drawing, from its top left corner.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int8, Int64

from tagprism.bundle.record import Records, score_records
from tagprism.evaluation.protocols import Evaluation

WIDTH, HEIGHT = 460.0, 240.0
_AT_ONCE = 256  # pictures whose winners are found together
_NAMED = 40  # labels at most whose names are written into a map
_LETTER, _LINE = 4.6, 9.0  # width and height of a letter in a map
_POINTS = 400  # of a curve: a log may have a million steps


@dataclass(frozen=True)
class Axis:
    """An axis: its name, and (position, text) of its marks."""

    name: str
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Dot:
    """A point; `kind` is `seen` or `unseen`, `name` is written beside it where `named`."""

    x: float
    y: float
    kind: str
    name: str
    named: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a bar chart: left edge, width, height; `kind` as of a dot."""

    x: float
    width: float
    height: float
    kind: str
    name: str


@dataclass(frozen=True)
class Chart:
    """One drawing.

    Args:
        title, note: heading, and the sentences below it.
        x, y: axes.
        dots, columns: what is drawn.
        line: an SVG path, '' for none.
        kinds: what is told apart by colour: (kind, what it is).
    """

    title: str
    note: str
    x: Axis
    y: Axis
    dots: tuple[Dot, ...] = ()
    columns: tuple[Column, ...] = ()
    line: str = ""
    kinds: tuple[tuple[str, str], ...] = field(default=(("seen", "seen labels"), ("unseen", "unseen labels")))


def learning_curves(run: Path) -> tuple[Chart, ...]:
    """Loss and validation mAP over the steps of a RUN; nothing for what has no log.

    Args:
        run: folder of a RUN; where it was continued, a step that was done twice counts as it was done last.
    """
    parts = sorted(run.glob("checkpoints/log/from_batch_*/metrics.csv"), key=lambda path: _number(path.parent.name))
    shown = (
        ("loss", "Loss", "Of single batches, over all processes.", 0.0),
        ("validation_mAP", "Validation mAP", "Over the seen labels, on pictures kept from the training.", 100.0),
    )
    charts = []
    for column, title, note, least in shown:
        found: dict[int, float] = {}
        for part in parts:
            with part.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row.get(column)]
            begin = int(rows[0]["step"]) if rows else 0
            found = {step: value for step, value in found.items() if step < begin} if rows else found
            found |= {int(row["step"]): float(row[column]) for row in rows}
        steps, values = np.asarray(list(found), float), np.asarray(list(found.values()), float)
        usable = np.isfinite(values)
        if usable.sum() > 1:
            charts.append(_curve(title, note, steps[usable], values[usable], least))
    return tuple(charts)


def _number(name: str) -> int:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else 0


def _curve(
    title: str, note: str, steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"], least: float
) -> Chart:
    """A curve whose axis begins at its least value, or at `least` where that is lower."""
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _POINTS)).astype(int))
    x, y = _Scale(steps.min(), steps.max(), WIDTH), _Scale(min(values.min(), least), values.max(), -HEIGHT)
    positions = [f"{x(steps[at]):.1f},{y(values[at]):.1f}" for at in chosen]
    line = "M" + "L".join(positions)
    return Chart(title, note, Axis("step", x.ticks()), Axis("", y.ticks()), line=line, kinds=())


def precision_by_frequency(evaluation: Evaluation, counts: Int64[np.ndarray, " L"]) -> Chart | None:
    """Average precision of every label (GZSL) over how many training pictures have it; None without any.

    Args:
        evaluation: of L labels.
        counts: (L,) training pictures that have each label; those of unseen labels were not told to the model.
    """
    rows = [(row, int(count)) for row, count in zip(evaluation.per_label, counts, strict=True) if row.positives]
    if not rows or not any(count for _, count in rows):
        return None
    x = _Scale(0.0, math.log10(1 + max(count for _, count in rows)), WIDTH)
    y = _Scale(0.0, 100.0, -HEIGHT)
    dots = tuple(
        Dot(
            x(math.log10(1 + count)),
            y(row.average_precision["gzsl"]),
            "unseen" if row.unseen else "seen",
            f"{row.label}: AP {row.average_precision['gzsl']:.1f}, {count} training pictures",
        )
        for row, count in rows
    )
    powers = [0, *(10**power for power in range(int(x.high) + 1))]
    ticks = tuple((x(math.log10(1 + count)), f"{count:,}") for count in powers if math.log10(1 + count) <= x.high)
    note = (
        "Labels of all kinds ranked together (GZSL). Training pictures that have an unseen label count here too, "
        "though the model was not told so."
    )
    axes = Axis("training pictures that have the label", ticks), Axis("AP", y.ticks())
    return Chart("Average precision and training frequency", note, *axes, dots=dots)


def label_map(names: Sequence[str], unseen: Bool[np.ndarray, " L"], vectors: Float[np.ndarray, "L D"]) -> Chart | None:
    """The label space on a plane: the two directions in which the unit label vectors differ most; None for few labels.

    Args:
        names: L labels.
        unseen: (L,) true for unseen ones.
        vectors: (L, D) label vectors.
    """
    if len(names) < 3:
        return None
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    centred = (units - units.mean(0)).astype(np.float64)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    if lengths[0] < 1e-9:
        return None
    positions = centred @ directions[:2].T
    signs = np.where(np.abs(positions).max(0) == positions.max(0), 1.0, -1.0)  # the same drawing on every machine
    positions = positions * signs
    share = float((lengths[:2] ** 2).sum() / (lengths**2).sum())
    scales = (
        _Scale(positions[:, 0].min(), positions[:, 0].max(), WIDTH),
        _Scale(positions[:, 1].min(), positions[:, 1].max(), -HEIGHT),
    )
    drawn = [(scales[0](x), scales[1](y)) for x, y in positions.tolist()]
    named = _with_room(names, drawn)
    dots = tuple(
        Dot(x, y, "unseen" if is_unseen else "seen", name, at in named)
        for at, (name, is_unseen, (x, y)) in enumerate(zip(names, unseen.tolist(), drawn, strict=True))
    )
    note = (
        "Where the labels lie to each other: the two directions of the label space in which they differ most, which "
        f"hold {100 * share:.0f} % of their variance."
    )
    return Chart("Label space", note, Axis("first direction"), Axis("second direction"), dots=dots)


def _with_room(names: Sequence[str], positions: Sequence[tuple[float, float]]) -> set[int]:
    """Labels whose names, written beside their dots, cover no other dot or name; tried in an order drawn once."""
    order = np.random.default_rng(0).permutation(len(names)).tolist()
    x, y = np.asarray(positions).T
    taken = np.zeros((0, 2, 2))  # boxes of names: left and top, right and bottom
    chosen: set[int] = set()
    for at in order:
        width = 4 + _LETTER * len(names[at])
        left = x[at] - 4 - width if on_the_left(float(x[at])) else x[at] + 4
        box = np.array([[left, y[at] - _LINE / 2], [left + width, y[at] + _LINE / 2]])
        covered = (x > box[0, 0]) & (x < box[1, 0]) & (y > box[0, 1]) & (y < box[1, 1])
        meets = ((taken[:, 0] < box[1]) & (taken[:, 1] > box[0])).all(axis=1)
        if not covered.any() and not meets.any():
            taken = np.concatenate([taken, box[None]])
            chosen.add(at)
        if len(chosen) == _NAMED:
            break
    return chosen


def on_the_left(x: float) -> bool:
    """Whether the name of a dot stands on its left side: it would leave the drawing on the right."""
    return x > 0.8 * WIDTH


def row_usage(
    records: Records,
    queries: Float[np.ndarray, "L Q"],
    targets: Int8[np.ndarray, "N L"],
    unseen: Bool[np.ndarray, " L"],
) -> Chart | None:
    """How often each of the M rows wins for the labels that pictures have; None where M is 1 or there is no such label.

    Args:
        records: of N pictures.
        queries: (L, Q) scoring vectors.
        targets: (N, L) of 1, 0 and -1.
        unseen: (L,) true for unseen labels.
    """
    M = records.shape.vectors
    wins = {kind: np.zeros(M) for kind in ("seen", "unseen")}
    for begin in range(0, len(records), _AT_ONCE):
        piece = slice(begin, begin + _AT_ONCE)
        _, winners = score_records(records[piece], queries)
        for kind, side in (("seen", ~unseen), ("unseen", unseen)):
            has = (targets[piece] == 1) & side
            wins[kind] += np.bincount(winners[has], minlength=M)
    shares = {kind: 100 * won / won.sum() for kind, won in wins.items() if won.sum()}
    if M == 1 or not shares:
        return None
    y = _Scale(0.0, max(float(share.max()) for share in shares.values()), -HEIGHT)
    step = WIDTH / M
    width = 0.8 * step / len(shares)
    columns = tuple(
        Column(
            (m + 0.1) * step + position * width,
            width * 0.94,
            HEIGHT - y(float(share[m])),
            kind,
            f"row {m}: {share[m]:.1f} % of the pairs with {kind} labels",
        )
        for position, (kind, share) in enumerate(shares.items())
        for m in range(M)
    )
    every = max(1, M // 16)
    ticks = tuple(((m + 0.5) * step, str(m)) for m in range(0, M, every))
    note = (
        "Of the pairs of a picture and a label that it has, the share in which this row scores best. Rows that never "
        "win are not used; where one wins always, a single vector would do."
    )
    return Chart("Use of the rows", note, Axis("row", ticks), Axis("% of pairs", y.ticks()), columns=columns)


class _Scale:
    """From values low..high to positions 0..length; a negative length counts from below, as the y of a drawing does."""

    def __init__(self, low: float, high: float, length: float) -> None:
        self.low, self.high = float(low), float(high) if high > low else float(low) + 1.0
        self._length = length

    def __call__(self, value: float) -> float:
        share = (float(value) - self.low) / (self.high - self.low)
        return share * self._length if self._length > 0 else (share - 1) * self._length

    def ticks(self, count: int = 5) -> tuple[tuple[float, str], ...]:
        """Round numbers on the axis, about so many."""
        return tuple((self(value), f"{value:,.10g}") for value in self._round_numbers(count))

    def _round_numbers(self, count: int) -> Iterator[float]:
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            yield round(number * step, 12)
