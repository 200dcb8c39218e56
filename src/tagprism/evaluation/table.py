"""Several methods side by side, with the lines that give their numbers a meaning. Knows only finished evaluations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from tagprism.errors import InputError
from tagprism.evaluation.protocols import TASKS, AtK, Evaluation, Figures, Task
from tagprism.evaluation.reliability import Reliability

Methods = Mapping[str, Sequence[Evaluation]]
RELIABILITY_COLUMNS = ("base rate", "ECE", "Brier skill", "P at 0.5", "R at 0.5", "given per picture")
RELIABILITY_NOTE = "All test pictures, known pairs. To say the base rate always has ECE 0 and skill 0."


@dataclass(frozen=True)
class Row:
    """One line of a comparison: `kind` is `method` or `yardstick`; an empty cell does not apply."""

    name: str
    kind: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A comparison ready to print: column titles, rows and one sentence per task about the test set."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    captions: tuple[str, ...]


def compare(methods: Methods) -> Comparison:
    """Lay out methods against chance, constant and ceiling, on labelled images.

    With several splits a cell is mean ± standard deviation, and from the second method on, in brackets, the paired
    difference to the first method ± its standard error.

    Args:
        methods: by name, the evaluations of a method, one per split in the same order for every method.

    Raises:
        InputError: no evaluation, or methods measured on different test sets.
    """
    _check_same_tests(methods)
    first = next(iter(methods.values()))
    columns, readers = [], []
    for task in TASKS:
        columns.append(f"{task.upper()} mAP")
        readers.append((task, 0))
        for k in first[0].task(task).labelled.at_k:
            columns.append(f"{task.upper()} F1@{k}")
            readers.append((task, k))
    model = [
        Row(name, "method", tuple(_cell(evaluations, *reader, _of_model, first) for reader in readers))
        for name, evaluations in methods.items()
    ]
    yardsticks = [
        Row(name, "yardstick", tuple(_cell(first, *reader, read) for reader in readers))
        for name, read in (("chance", _of_chance), ("constant", _of_constant), ("ceiling", _of_ceiling))
    ]
    return Comparison(tuple(columns), (*model, *yardsticks), tuple(_caption(first, task) for task in TASKS))


def comparison_table(methods: Methods, *, title: str | None = None) -> Table:
    """Table of `compare` for the terminal.

    Args:
        methods: see `compare`.
        title: printed above.

    Raises:
        InputError: as `compare`.
    """
    comparison = compare(methods)
    table = Table(title=title, caption="\n".join(comparison.captions), caption_justify="left")
    table.add_column("percent")
    for column in comparison.columns:
        table.add_column(column, justify="right")
    for row in comparison.rows:
        if row.kind == "yardstick" and row.name == "chance":
            table.add_section()
        table.add_row(row.name, *row.cells, style="dim" if row.kind == "yardstick" else None)
    return table


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


def _of_model(figures: Figures, k: int) -> float | None:
    return figures.at_k[k].f1 if k else figures.mean_ap


def _of_chance(figures: Figures, k: int) -> float | None:
    return None if k else figures.chance_ap


def _of_constant(figures: Figures, k: int) -> float | None:
    return _f1(figures.constant, k)


def _of_ceiling(figures: Figures, k: int) -> float | None:
    return _f1(figures.ceiling, k) if k else 100.0


def _f1(line: Mapping[int, AtK], k: int) -> float | None:
    return line[k].f1 if k else None


def comparison_markdown(methods: Methods) -> str:
    """Table of `compare` as Markdown, with its captions below.

    Args:
        methods: see `compare`.

    Raises:
        InputError: as `compare`.
    """
    comparison = compare(methods)
    lines = [("percent", *comparison.columns), ("---", *("---:" for _ in comparison.columns))]
    lines += [(row.name, *row.cells) for row in comparison.rows]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return table + "".join(f"\n{caption}\n" for caption in comparison.captions)


def _cell(
    evaluations: Sequence[Evaluation],
    task: Task,
    k: int,
    read: Callable[[Figures, int], float | None],
    reference: Sequence[Evaluation] | None = None,
) -> str:
    """Mean of one number over the splits; with several, its spread and how far it is from the reference's, paired."""

    def numbers(of: Sequence[Evaluation]) -> list[float]:
        values = [read(evaluation.task(task).labelled, k) for evaluation in of]
        return [value for value in values if value is not None]

    known = numbers(evaluations)
    if not known:
        return ""
    text = f"{statistics.fmean(known):.1f}"
    if len(known) == 1:
        return text
    text += f" ± {statistics.stdev(known):.1f}"
    if reference is None or reference is evaluations:
        return text
    differences = [ours - theirs for ours, theirs in zip(known, numbers(reference), strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return f"{text} ({statistics.fmean(differences):+.1f} ± {error:.1f})"


def _caption(evaluations: Sequence[Evaluation], task: Task) -> str:
    """What the numbers of one task stand on."""
    figures = [evaluation.task(task).labelled for evaluation in evaluations]
    first, evaluation = figures[0], evaluations[0]
    words = [
        f"{task.upper()}: {first.images:,} labelled images",
        f"{first.labels:,} labels ({first.labels_without_positive} without a positive left out of mAP)",
        f"{first.positives_per_image:.2f} positives per image",
        f"unknown labels: {evaluation.unknown}",
    ]
    words += [f"label encoder {evaluation.label_encoder}"] if evaluation.label_encoder else []
    words += [f"first of {len(figures)} splits"] if len(figures) > 1 else []
    words += ["MEASURED ON WHAT WAS TRAINED ON"] if any(item.leak for item in evaluations) else []
    return ", ".join(words)


def _check_same_tests(methods: Methods) -> None:
    """Refuse to put numbers of different test sets side by side."""

    def tests(evaluations: Sequence[Evaluation]) -> list[tuple[object, ...]]:
        return [
            (figures.images, figures.labels, round(figures.chance_ap, 9), tuple(figures.at_k))
            for evaluation in evaluations
            for figures in (evaluation.zsl.labelled, evaluation.gzsl.labelled)
        ]

    if not methods or not all(methods.values()):
        raise InputError("there is no evaluation to compare.")
    (first, *rest) = methods.items()
    for name, evaluations in rest:
        if tests(evaluations) != tests(first[1]):
            raise InputError(
                f"{name!r} and {first[0]!r} were measured on different images or labels and cannot be compared.",
                remedy="Evaluate both on the same data, split and policy.",
            )
