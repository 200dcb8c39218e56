"""`tagprism compare`: several recipes and baselines on the same pictures, over one or many splits, paired."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from tagprism.app import console
from tagprism.app.open_data import open_data
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import Split, hold_out_validation, load_split, pseudo_unseen, split_names
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tagprism.files import digest_json, write_json
from tagprism.provenance import made_with
from tagprism.training.experiment import BASELINES, Experiment, mean_and_error, mean_and_spread
from tagprism.training.recipe import Recipe, load_recipe

_COLUMNS = (("zsl", "mAP"), ("zsl", "F1@3"), ("gzsl", "mAP"), ("gzsl", "F1@3"))
_YARDSTICKS = {"chance": "chance_{}", "constant": "constant_{}", "ceiling": "ceiling_{}"}


@dataclass(frozen=True)
class Method:
    """One row: a recipe as it is, trained on the unseen labels too, or a baseline on its features and vectors."""

    name: str
    recipe: Recipe
    kind: str = "recipe"  # recipe, supervised, ConSE or ridge


def compare(
    recipe: Path,
    data: str,
    split: str | None,
    variants: Path | None,
    baselines: bool,
    supervised: bool,
    pseudo: float | None,
    out: Path | None,
    format: Literal["table", "json", "markdown"],
    sets: tuple[str, ...],
    quiet: bool,
) -> int:
    """Run every method on every split, keep each result, print the table."""
    methods = _methods(recipe, variants, baselines, supervised, sets)
    table, splits = _splits(data, split)
    if pseudo is not None:
        splits = [choosing_split(one, pseudo) for one in splits]
    results: dict[str, list[dict[str, Any]]] = {method.name: [] for method in methods}
    for one in splits:
        experiment = Experiment(table, one, progress=console.progress(quiet))
        for method in methods:
            console.say(f"{one.name}: {method.name}", quiet=quiet)
            results[method.name].append(_result(experiment, method, out))
    summary = summarise(results)
    if format == "json":
        found = {"methods": summary, "results": results, "provenance": _origin(table, splits)}
        json.dump(found, sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif format == "markdown":
        sys.stdout.write(markdown(summary))
    else:
        console.data.print(_table(summary, f"{data}, {len(splits)} split(s)"))
    return console.report_skipped((one.key, one.message) for one in table.skipped)


def choosing_split(split: Split, share: float) -> Split:
    """The split to choose settings by: validation pictures, and seen labels that play the unseen ones."""
    held = split if split.val else hold_out_validation(split, 0.2, seed=0)
    return pseudo_unseen(held, share, seed=0)


def _splits(data: str, split: str | None) -> tuple[ImageTable, list[Split]]:
    if split is None:
        table, chosen = open_data(data, None)
        return table, [chosen]
    table = open_dataset(data)
    names = [split] if "#" in split else split_names(split)
    return table, [load_split(name, table) for name in names]


def _methods(
    recipe: Path, variants: Path | None, baselines: bool, supervised: bool, sets: tuple[str, ...]
) -> list[Method]:
    base = load_recipe(recipe, sets)
    methods = [Method(base.name, base)]
    if variants is not None:
        methods += [
            Method(name, load_recipe(recipe, (*sets, *overrides))) for name, overrides in _read_variants(variants)
        ]
    if baselines:
        methods += [Method(name, base, name) for name in BASELINES]
    if supervised:
        methods.append(Method("supervised", base, "supervised"))
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise InputError("two rows have the same name.", where=str(variants), remedy="Rename one.")
    return methods


def _read_variants(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    form = 'Write [[variant]] tables with `name = "M=1"` and `set = ["model.vectors=1"]`.'
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["variant"]
        return [(str(row["name"]), tuple(str(one) for one in row["set"])) for row in rows]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError(f"is not a file of variants ({error}).", where=str(path), remedy=form) from error


def _result(experiment: Experiment, method: Method, out: Path | None) -> dict[str, Any]:
    """Measure, or read what an earlier call measured with the same recipe, data and split."""
    identity = {
        "kind": method.kind,
        "recipe": method.recipe.model_dump(mode="json") | {"name": ""},
        "data": experiment.table.digest,
        "split": experiment.split.digest,
    }
    kept = out / f"{digest_json(identity)[:24]}.json" if out is not None else None
    if kept is not None and kept.is_file():
        stored: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return stored
    if method.kind in BASELINES:
        evaluation = experiment.baseline(method.kind, method.recipe)
    else:
        evaluation, _ = experiment.train(method.recipe, supervised=method.kind == "supervised")
    result = evaluation.to_json() | {"method": method.name, "provenance": identity | made_with()}
    if kept is not None:
        write_json(kept, result)
    return result


def summarise(results: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Per method and column: mean and spread over splits, and the paired difference to the first method.

    Args:
        results: per method its result JSON per split, in the same order of splits.
    """
    first = next(iter(results))
    rows = []
    for name, runs in results.items():
        row: dict[str, Any] = {"method": name}
        for task, column in _COLUMNS:
            values = [run[task][column] for run in runs]
            reference = [run[task][column] for run in results[first]]
            mean, spread = mean_and_spread(values)
            difference, error = mean_and_error([a - b for a, b in zip(values, reference, strict=True)])
            row[f"{task} {column}"] = {"mean": mean, "sd": spread, "difference": difference, "se": error}
        rows.append(row)
    for name, pattern in _YARDSTICKS.items():
        row = {"method": name}
        for task, column in _COLUMNS:
            values = [
                run[task][pattern.format(column)] for run in results[first] if pattern.format(column) in run[task]
            ]
            if values:
                mean, spread = mean_and_spread(values)
                row[f"{task} {column}"] = {"mean": mean, "sd": spread}
        rows.append(row)
    return rows


def _cells(row: dict[str, Any], several: bool) -> list[str]:
    cells = []
    for task, column in _COLUMNS:
        cell = row.get(f"{task} {column}")
        text = "" if cell is None else f"{cell['mean']:.1f}"
        if cell is not None and several:
            text += f" ± {cell['sd']:.1f}"
        if cell is not None and several and cell.get("se"):
            text += f" ({cell['difference']:+.1f} ± {cell['se']:.1f})"
        cells.append(text)
    return cells


def _several(summary: list[dict[str, Any]]) -> bool:
    return summary[0]["zsl mAP"]["sd"] is not None


def _table(summary: list[dict[str, Any]], title: str) -> Table:
    several = _several(summary)
    caption = "mean ± sd over splits (paired difference to the first row ± standard error)" if several else None
    table = Table(title=title, caption=caption)
    table.add_column("percent")
    for task, column in _COLUMNS:
        table.add_column(f"{task.upper()} {column}", justify="right")
    for row in summary:
        table.add_row(row["method"], *_cells(row, several), style="dim" if row["method"] in _YARDSTICKS else None)
    return table


def markdown(summary: list[dict[str, Any]]) -> str:
    """The table as Markdown."""
    head = ["percent", *(f"{task.upper()} {column}" for task, column in _COLUMNS)]
    lines = [head, ["---"] + ["---:"] * len(_COLUMNS)]
    lines += [[row["method"], *_cells(row, _several(summary))] for row in summary]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _origin(table: ImageTable, splits: list[Split]) -> dict[str, Any]:
    return made_with() | {"data": table.digest, "splits": {split.name: split.digest for split in splits}}
