"""Several methods side by side, with the lines that give their numbers a meaning, and published numbers beside them.

Knows only finished evaluations.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from tagprism.errors import InputError
from tagprism.evaluation.protocols import TASKS, AtK, Evaluation, Task
from tagprism.evaluation.published import Entry, comparable_groups
from tagprism.evaluation.reliability import Reliability

Methods = Mapping[str, Sequence[Evaluation]]
_OF_AT_K: dict[str, Callable[[AtK], float]] = {
    "P": lambda at: at.precision,
    "R": lambda at: at.recall,
    "F1": lambda at: at.f1,
}
_WITHOUT = "mAP, other names"
RELIABILITY_COLUMNS = ("base rate", "ECE", "Brier skill", "P at 0.5", "R at 0.5", "given per picture")
RELIABILITY_NOTE = "All test pictures, known pairs. To say the base rate always has ECE 0 and skill 0."


@dataclass(frozen=True)
class Row:
    """One line of a comparison: `kind` is `method`, `yardstick` or `published`; an empty cell does not apply."""

    name: str
    kind: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A comparison ready to print: column titles, rows, and sentences about the test set and the published rows."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    captions: tuple[str, ...]


def compare(
    methods: Methods,
    published: Sequence[Entry] = (),
    *,
    known: Collection[str] = (),
    ratio_to: str | None = None,
) -> Comparison:
    """Lay out methods against chance, constant and ceiling, on labelled images.

    With several splits a cell is mean ± standard deviation, and from the second method on, in brackets, the paired
    difference to the first method ± its standard error.

    Args:
        methods: by name, the evaluations of a method, one per split in the same order for every method.
        published: other people's numbers for the same data set and protocol.
        known: labels that the backbone knows by name from its own training; mAP is given without them too.
        ratio_to: the method that the others' mAP is divided by, in a sentence below.

    Raises:
        InputError: no evaluation, or methods measured on different test sets.
    """
    _check_same_tests(methods)
    first = next(iter(methods.values()))
    readers = _columns(first[0], published)
    own = {row.label for row in first[0].per_label}
    without = [(task, _WITHOUT) for task in TASKS] if not own.isdisjoint(known) else []
    rows = [
        Row(name, "method", tuple(_cell(its, *reader, "at_k", known, first) for reader in (*readers, *without)))
        for name, its in methods.items()
    ]
    rows += [
        Row(name, "yardstick", tuple(_cell(first, *reader, name, known) for reader in (*readers, *without)))
        for name in ("chance", "constant", "ceiling")
    ]
    for method in dict.fromkeys(entry.method for entry in published):
        cells = tuple(_published_cell(published, method, *reader) for reader in (*readers, *without))
        rows.append(Row(f"{method} (published)", "published", cells))
    captions = [_caption(first, task) for task in TASKS] + [_published_caption(published, task) for task in TASKS]
    captions += [_comparability(first, published, task) for task in TASKS]
    captions += [_known_caption(first, known)] if without else []
    captions += [_ratios(methods, ratio_to)] if ratio_to is not None else []
    titles = tuple(f"{task.upper()} {metric}" for task, metric in (*readers, *without))
    return Comparison(titles, tuple(rows), tuple(filter(None, captions)))


def _columns(evaluation: Evaluation, published: Sequence[Entry]) -> list[tuple[Task, str]]:
    """Task and metric of each column: mAP and F1@K; P@K and R@K where published numbers stand beside."""
    metrics = ("P", "R", "F1") if published else ("F1",)
    return [
        (task, metric)
        for task in TASKS
        for metric in (
            "mAP",
            *(f"{metric}@{k}" for k in evaluation.task(task).labelled.at_k for metric in metrics),
        )
    ]


def _value(evaluation: Evaluation, task: Task, metric: str, line: str, known: Collection[str]) -> float | None:
    """One number of a line: `at_k` (the model itself), `chance`, `constant` or `ceiling`."""
    if metric == _WITHOUT:
        precision, chance = evaluation.mean_ap_without(task, known)
        return {"at_k": precision, "chance": chance, "ceiling": 100.0}.get(line)
    figures = evaluation.task(task).labelled
    name, _, k = metric.partition("@")
    if not k:
        return {"at_k": figures.mean_ap, "chance": figures.chance_ap, "ceiling": 100.0}.get(line)
    if line == "chance":
        return None
    found: Mapping[int, AtK] = getattr(figures, line)
    return _OF_AT_K[name](found[int(k)])


def comparison_table(comparison: Comparison, *, title: str | None = None) -> Table:
    """Table for the terminal, `title` above."""
    table = Table(title=title, caption="\n".join(comparison.captions), caption_justify="left")
    table.add_column("percent")
    for column in comparison.columns:
        table.add_column(column, justify="right")
    before = "method"
    for row in comparison.rows:
        if row.kind != before:
            table.add_section()
            before = row.kind
        table.add_row(row.name, *row.cells, style=None if row.kind == "method" else "dim")
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


def comparison_markdown(comparison: Comparison) -> str:
    """Table as Markdown, with its captions below."""
    lines = [("percent", *comparison.columns), ("---", *("---:" for _ in comparison.columns))]
    lines += [(row.name, *row.cells) for row in comparison.rows]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return table + "".join(f"\n{caption}\n" for caption in comparison.captions)


def _published_cell(published: Sequence[Entry], method: str, task: Task, metric: str) -> str:
    for entry in published:
        if (entry.method, entry.task) == (method, task) and metric in entry.values:
            return f"{entry.values[metric]:.1f}{' unverified' if entry.unverified else ''}"
    return ""


def _published_caption(published: Sequence[Entry], task: Task) -> str:
    """On what each published row of a task stands, as far as it is known."""
    rows = []
    for method in dict.fromkeys(entry.method for entry in published if entry.task == task):
        own = [entry for entry in published if (entry.method, entry.task) == (method, task)]
        image_set = next((entry.image_set for entry in own if entry.image_set), None)
        vectors = next((entry.label_vectors for entry in own if entry.label_vectors), None)
        ks = sorted({k for entry in own for k in entry.ks})
        stands = [
            f"images: {image_set or 'not known'}",
            *([f"K {', '.join(map(str, ks))}"] if ks else []),
            f"label vectors: {vectors or 'not known'}",
            *dict.fromkeys(entry.source or "unverified" for entry in own),
            *(entry.note for entry in own if entry.note),
        ]
        rows.append(f"{method} ({'; '.join(stands)})")
    return f"Published {task.upper()}: {', '.join(rows)}." if rows else ""


def _comparability(evaluations: Sequence[Evaluation], published: Sequence[Entry], task: Task) -> str:
    """Which published rows stand on other images or labels, told by the positives per image that P and R imply."""
    groups = [group for group in comparable_groups(published) if group.task == task]
    if not groups:
        return ""
    result = evaluations[0].task(task)
    ours = {"labelled": result.labelled.positives_per_image, "all": result.all_images.positives_per_image}
    words = []
    for group in groups:
        same = [name for name, value in ours.items() if group.least - 0.005 <= value <= group.most + 0.005]
        words.append(
            f"{group.middle:.2f} in {', '.join(group.methods)} "
            f"({'as here, image set ' + ' and '.join(same) if same else 'NOT COMPARABLE with this test'})"
        )
    here = ", ".join(f"{value:.2f} ({name})" for name, value in ours.items())
    text = f"{task.upper()}: positives per image by K*P/R: {'; '.join(words)}. This test: {here}."
    if len(groups) > 1:
        text += f" The {len(groups)} groups are not comparable with each other: other images or labels."
    return text


def _cell(
    evaluations: Sequence[Evaluation],
    task: Task,
    metric: str,
    line: str,
    known: Collection[str],
    reference: Sequence[Evaluation] | None = None,
) -> str:
    """Mean of one number over the splits; with several, its spread and how far it is from the reference's, paired."""

    def numbers(of: Sequence[Evaluation]) -> list[float]:
        values = [_value(evaluation, task, metric, line, known) for evaluation in of]
        return [value for value in values if value is not None]

    own = numbers(evaluations)
    if not own:
        return ""
    text = f"{statistics.fmean(own):.1f}"
    if len(own) == 1:
        return text
    text += f" ± {statistics.stdev(own):.1f}"
    if reference is None or reference is evaluations:
        return text
    differences = [ours - theirs for ours, theirs in zip(own, numbers(reference), strict=True)]
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
    words += [f"scores averaged over {evaluation.neighbours} neighbours"] if evaluation.neighbours else []
    words += [f"first of {len(figures)} splits"] if len(figures) > 1 else []
    words += ["MEASURED ON WHAT WAS TRAINED ON"] if any(item.leak for item in evaluations) else []
    return ", ".join(words)


def _known_caption(evaluations: Sequence[Evaluation], known: Collection[str]) -> str:
    counts = [sum(row.unseen and row.label in known for row in evaluation.per_label) for evaluation in evaluations]
    return (
        f"{_WITHOUT}: without labels that are ImageNet class names, {min(counts)} to {max(counts)} of the unseen ones."
    )


def _ratios(methods: Methods, to: str) -> str:
    """By how much each method's mean mAP exceeds that of one of them."""

    def means(name: str) -> list[float]:
        return [statistics.fmean(its.task(task).labelled.mean_ap for its in methods[name]) for task in TASKS]

    ratios = [
        f"{name} {' / '.join(f'{ours / theirs:.2f}' for ours, theirs in zip(means(name), means(to), strict=True))}"
        for name in methods
        if name != to
    ]
    return f"ZSL / GZSL mAP as a multiple of `{to}`: {'; '.join(ratios)}."


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
