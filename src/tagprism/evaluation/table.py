"""Several methods side by side, with the lines that give their numbers a meaning, and published numbers beside them.

Knows only finished evaluations.
"""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rich.console import Console
from rich.table import Table

from tagprism.errors import InputError
from tagprism.evaluation.differences import DRAWS, over_labels, over_splits
from tagprism.evaluation.metrics import ImageSet
from tagprism.evaluation.protocols import TASKS, AtK, Evaluation, Task
from tagprism.evaluation.published import Entry, comparability_caption, published_caption, published_cell

Methods = Mapping[str, Sequence[Evaluation]]
_OF_AT_K: dict[str, Callable[[AtK], float]] = {
    "P": lambda at: at.precision,
    "R": lambda at: at.recall,
    "F1": lambda at: at.f1,
}
_WITHOUT = "mAP, other names"


@dataclass(frozen=True)
class Row:
    """One line of a comparison: `kind` is `method`, `yardstick` or `published`; an empty cell does not apply."""

    name: str
    kind: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """A comparison ready to print: column titles, rows, and sentences about the test set and the published rows."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    captions: tuple[str, ...]


def lay_out(
    methods: Methods,
    published: Sequence[Entry] = (),
    *,
    known: Collection[str] = (),
    ratio_to: str | None = None,
    image_set: ImageSet = "labelled",
) -> Layout:
    """Lay out methods against chance, constant and ceiling.

    With several splits a cell is mean ± standard deviation over them, and from the second method on, in brackets, the
    paired difference to the first method ± its standard error. With one split the deviation is that over the seeds of
    the training, where there are several, and the standard error of a difference in mAP is a bootstrap over labels.

    Args:
        methods: by name, the evaluations of a method, one per split in the same order for every method
            (`protocols.mean_over_seeds`, where a split was trained on with several seeds).
        published: other people's numbers for the same data set and protocol.
        known: labels that the backbone knows by name from its own training; mAP is given without them too.
        ratio_to: the method that the others' mAP is divided by, in a sentence below.
        image_set: which images the numbers are of.

    Raises:
        InputError: no evaluation, or methods measured on different test sets.
    """
    _check_same_tests(methods)
    name, first = next(iter(methods.items()))
    own = {row.label for row in first[0].per_label}
    known = frozenset(known) & own if image_set == "labelled" else frozenset()
    read = _Reader(image_set, known)
    columns = _columns(first[0], published) + ([(task, _WITHOUT) for task in TASKS] if known else [])
    rows = [
        Row(method, "method", tuple(read.cell(its, *column, first) for column in columns))
        for method, its in methods.items()
    ]
    rows += [
        Row(line, "yardstick", tuple(read.yardstick(first, *column, line) for column in columns))
        for line in ("chance", "constant", "ceiling")
    ]
    for method in dict.fromkeys(entry.method for entry in published):
        cells = tuple(published_cell(published, method, *column) for column in columns)
        rows.append(Row(f"{method} (published)", "published", cells))
    captions = [_caption(first, task, image_set) for task in TASKS]
    captions += first[0].warnings(image_set)
    captions += [_uncertainty_caption(first, name if len(methods) > 1 else None), _seeds_caption(methods)]
    captions += [published_caption(published, task) for task in TASKS]
    captions += [comparability_caption(first, published, task) for task in TASKS]
    captions += [_known_caption(first, known)] if known else []
    captions += [_ratios(methods, ratio_to)] if ratio_to is not None else []
    titles = tuple(f"{task.upper()} {metric}" for task, metric in columns)
    return Layout(titles, tuple(rows), tuple(filter(None, captions)))


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


@dataclass(frozen=True)
class _Reader:
    """Numbers and cells of evaluations on one image set; `known` as for `lay_out`."""

    image_set: ImageSet
    known: Collection[str]

    def value(self, evaluation: Evaluation, task: Task, metric: str, line: str = "at_k") -> float | None:
        """One number of a line: `at_k` (the model itself), `chance`, `constant` or `ceiling`."""
        if metric == _WITHOUT:
            precision, chance = evaluation.mean_ap_without(task, self.known)
            return {"at_k": precision, "chance": chance, "ceiling": 100.0}.get(line)
        figures = evaluation.figures(task, self.image_set)
        name, _, k = metric.partition("@")
        if not k:
            return {"at_k": figures.mean_ap, "chance": figures.chance_ap, "ceiling": 100.0}.get(line)
        if line == "chance":
            return None
        found: Mapping[int, AtK] = getattr(figures, line)
        return _OF_AT_K[name](found[int(k)])

    def values(self, evaluations: Sequence[Evaluation], task: Task, metric: str, line: str = "at_k") -> list[float]:
        """The number in every evaluation that has it."""
        found = [self.value(evaluation, task, metric, line) for evaluation in evaluations]
        return [value for value in found if value is not None]

    def yardstick(self, evaluations: Sequence[Evaluation], task: Task, metric: str, line: str) -> str:
        """Mean ± deviation over the splits."""
        found = self.values(evaluations, task, metric, line)
        return f"{statistics.fmean(found):.1f}{_deviation(found)}" if found else ""

    def cell(self, evaluations: Sequence[Evaluation], task: Task, metric: str, first: Sequence[Evaluation]) -> str:
        """Mean ± deviation over the splits (or the seeds of the only one), and the difference to the first method."""
        own = self.values(evaluations, task, metric)
        if len(own) == 1:
            text = f"{own[0]:.1f}{_deviation(self.values(evaluations[0].seeds, task, metric))}"
        else:
            text = f"{statistics.fmean(own):.1f}{_deviation(own)}"
        if first is evaluations:
            return text
        if len(own) > 1:
            mean, error = over_splits(own, self.values(first, task, metric))
        elif "@" not in metric and self.image_set == "labelled":
            mean, error = over_labels(evaluations, first, task, without=self.known if metric == _WITHOUT else ())
        else:
            return text  # a micro-averaged number is no mean over labels
        return text if math.isnan(error) else f"{text} ({mean:+.1f} ± {error:.1f})"


def _deviation(values: Sequence[float]) -> str:
    return f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""


def comparison_table(comparison: Layout, *, title: str | None = None) -> Table:
    """Table for the terminal, `title` above."""
    table = Table(title=title, caption="\n".join(comparison.captions), caption_justify="left")
    table.add_column("percent", overflow="fold")
    for column in comparison.columns:
        table.add_column(column, justify="right", overflow="fold")
    before = "method"
    for row in comparison.rows:
        if row.kind != before:
            table.add_section()
            before = row.kind
        table.add_row(row.name, *row.cells, style=None if row.kind == "method" else "dim")
    return table


def as_text(table: Table) -> str:
    """A table as people read it in a terminal."""
    console = Console(file=io.StringIO(), width=120, highlight=False, emoji=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def comparison_markdown(comparison: Layout) -> str:
    """Table as Markdown, with its captions below."""
    lines = [("percent", *comparison.columns), ("---", *("---:" for _ in comparison.columns))]
    lines += [(row.name, *row.cells) for row in comparison.rows]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return table + "".join(f"\n{caption}\n" for caption in comparison.captions)


def _caption(evaluations: Sequence[Evaluation], task: Task, image_set: ImageSet) -> str:
    """What the numbers of one task stand on."""
    evaluation = evaluations[0]
    first = evaluation.figures(task, image_set)
    words = [
        f"{task.upper()}: {first.images:,} {'labelled ' if image_set == 'labelled' else ''}images",
        f"{first.labels:,} labels ({first.labels_without_positive} without a positive left out of mAP)",
        f"{first.positives_per_image:.2f} positives per image",
        f"unknown labels: {evaluation.unknown}",
    ]
    words += [f"label encoder {evaluation.label_encoder}"] if evaluation.label_encoder else []
    words += [f"scores averaged over {evaluation.neighbours} neighbours"] if evaluation.neighbours else []
    words += [f"first of {len(evaluations)} splits"] if len(evaluations) > 1 else []
    words += ["MEASURED ON WHAT WAS TRAINED ON"] if any(item.leak for item in evaluations) else []
    return ", ".join(words)


def _uncertainty_caption(evaluations: Sequence[Evaluation], compared_to: str | None) -> str:
    """How many splits and seeds there are, and what stands behind each ±."""
    splits, seeds = len(evaluations), max(1, len(evaluations[0].seeds))
    if splits == seeds == 1 and compared_to is None:
        return ""
    text = f"{splits} split{'s' * (splits > 1)}, {seeds} seed{'s' * (seeds > 1)} each."
    if splits > 1:
        text += (
            f" ± after a number: standard deviation over the splits{', each the mean over its seeds' * (seeds > 1)}."
        )
    elif seeds > 1:
        text += " ± after a number: standard deviation over the seeds."
    if compared_to is not None and splits > 1:
        text += f" In brackets: paired difference to `{compared_to}` ± its standard error over the splits."
    elif compared_to is not None:
        text += (
            f" In brackets: difference in mAP to `{compared_to}` ± its standard error, "
            f"by a bootstrap over the labels ({DRAWS:,} draws)."
        )
    if splits > 1:
        text += " Splits that share photos are not independent, so these standard errors are too small."
    return text


def _seeds_caption(methods: Methods) -> str:
    """How far seeds differ within a split, where the cells show how far the splits do."""
    spreads = []
    for name, evaluations in methods.items():
        if len(evaluations) < 2 or not evaluations[0].seeds:
            return ""
        means = [
            statistics.fmean(
                statistics.stdev(one.task(task).labelled.mean_ap for one in its.seeds) for its in evaluations
            )
            for task in TASKS
        ]
        spreads.append(f"{name} {' / '.join(f'{mean:.1f}' for mean in means)}")
    return f"Standard deviation over the seeds of a split, ZSL / GZSL mAP: {'; '.join(spreads)}."


def _known_caption(evaluations: Sequence[Evaluation], known: Collection[str]) -> str:
    counts = [sum(row.unseen and row.label in known for row in evaluation.per_label) for evaluation in evaluations]
    few, many = min(counts), max(counts)
    count = f"{many}" if few == many else f"{few} to {many}"
    return f"{_WITHOUT}: without labels that are ImageNet class names, {count} of the unseen ones."


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


def as_html(layout: Layout) -> str:
    """The table and the sentences below it as HTML, as notebooks show what ends a cell; every word is escaped."""
    titles = "".join(f"<th>{escape(column)}</th>" for column in layout.columns)
    rows = "".join(
        f"<tr><th>{escape(row.name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row.cells)}</tr>"
        for row in layout.rows
    )
    captions = "".join(f"<p><small>{escape(caption)}</small></p>" for caption in layout.captions)
    return f"<table><thead><tr><th>percent</th>{titles}</tr></thead><tbody>{rows}</tbody></table>{captions}"
