"""`tagprism compare`: several recipes and baselines on the same pictures, over one or many splits, paired."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tagprism.app import console
from tagprism.app.open_data import open_data
from tagprism.comparing.baselines import BASELINES
from tagprism.comparing.experiment import Experiment
from tagprism.comparing.verdict import verdict
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import Split, hold_out_validation, load_split, pseudo_unseen, split_names
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tagprism.evaluation.protocols import Evaluation
from tagprism.evaluation.published import Entry, comparable_groups, published_for
from tagprism.evaluation.table import compare as lay_out
from tagprism.evaluation.table import comparison_markdown, comparison_table
from tagprism.files import digest_json, write_json
from tagprism.network.open_clip_models import PREFIX, clip_label
from tagprism.provenance import made_with
from tagprism.training.networks import has_imagenet_classifier, imagenet_labels, open_backbone
from tagprism.training.recipe import Recipe, load_recipe

_NEIGHBOURS = "neighbours:"


@dataclass(frozen=True)
class Method:
    """One row: a recipe as it is, over like pictures, trained on unseen labels too, or a baseline on its features."""

    name: str
    recipe: Recipe
    kind: str = "recipe"  # recipe, supervised, neighbours:K or a baseline


def compare(
    recipe: Path,
    data: str,
    split: str | None,
    variants: Path | None,
    rivals: tuple[tuple[str, ...], bool],
    further: tuple[bool, int],
    pseudo: float | None,
    out: Path | None,
    shown: tuple[Literal["table", "json", "markdown"], str | None],
    sets: tuple[str, ...],
    quiet: bool,
) -> int:
    """Run every method on every split, keep each result, print the table with the published numbers beside it."""
    format, ratio_to = shown
    methods = _methods(recipe, variants, rivals, further, sets)
    names = [method.name for method in methods]
    if ratio_to is not None and ratio_to not in names:
        raise InputError(f"there is no row `{ratio_to}`.", where="--ratio-to", remedy=f"Rows: {', '.join(names)}.")
    table, splits = _splits(data, split)
    published = _published(table, splits)
    if pseudo is not None:
        splits, published = [drawn for one in splits for drawn in choosing_splits(one, pseudo)], ()
    ks = tuple(sorted({k for entry in published for k in entry.ks})) or (3,)
    results: dict[str, list[Evaluation]] = {method.name: [] for method in methods}
    skipped = {one.key: one.message for one in table.skipped}
    for one in splits:
        experiment = Experiment(table, one, ks=ks, progress=console.progress(quiet))
        for method in methods:
            console.say(f"{one.name}: {method.name}", quiet=quiet)
            results[method.name].append(run_method(experiment, method, out))
        skipped |= experiment.skipped
    verdicts = _against_clip(methods, results)
    if format == "json":
        found = {name: [evaluation.to_json() for evaluation in evaluations] for name, evaluations in results.items()}
        beside: dict[str, Any] = {"published": _published_json(published)} if published else {}
        beside |= {"verdicts": verdicts} if verdicts else {}
        json.dump({"methods": found, **beside, "provenance": _origin(table, splits)}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return console.report_skipped(sorted(skipped.items()))
    known = imagenet_labels(table.labels)
    comparison = lay_out(results, published, known=frozenset(known), ratio_to=ratio_to)
    comparison = replace(comparison, captions=(*comparison.captions, *verdicts))
    if format == "markdown":
        sys.stdout.write(comparison_markdown(comparison))
    else:
        title = f"{table.kind.partition(':')[0]}, {len(splits)} split(s)"
        console.data.print(comparison_table(comparison, title=title))
    return console.report_skipped(sorted(skipped.items()))


def _against_clip(methods: Sequence[Method], results: dict[str, list[Evaluation]]) -> list[str]:
    """Whether each recipe beats each plain CLIP: it must, or the table says so."""
    return [
        verdict(ours.name, results[ours.name], rival.name, results[rival.name])
        for rival in methods
        for ours in methods
        if rival.kind.startswith(PREFIX) and ours.kind == "recipe"
    ]


def choosing_splits(split: Split, share: float) -> list[Split]:
    """Five splits to choose settings by: validation pictures as test, some seen labels that play the unseen ones.

    Args:
        split: the true split; none of its unseen labels and test pictures is used.
        share: part of the seen labels that play the unseen ones.
    """
    held = split if split.val else hold_out_validation(split, 0.2, seed=0)
    return [pseudo_unseen(held, share, seed) for seed in range(5)]


def _splits(data: str, split: str | None) -> tuple[ImageTable, list[Split]]:
    if split is None:
        table, chosen = open_data(data, None)
        return table, [chosen]
    table = open_dataset(data)
    names = [split] if "#" in split else split_names(split)
    return table, [load_split(name, table) for name in names]


def _methods(
    recipe: Path,
    variants: Path | None,
    rivals: tuple[tuple[str, ...], bool],
    further: tuple[bool, int],
    sets: tuple[str, ...],
) -> list[Method]:
    base = load_recipe(recipe, sets)
    methods = [Method(base.name, base)]
    if variants is not None:
        methods += _read_variants(variants, recipe, sets)
    named, every = rivals
    methods += [_baseline(kind, base) for kind in dict.fromkeys((*(_available(base) if every else ()), *named))]
    supervised, neighbours = further
    if neighbours:
        methods.append(Method(f"{base.name}, {neighbours} neighbours", base, f"{_NEIGHBOURS}{neighbours}"))
    if supervised:
        methods.append(Method("supervised", base, "supervised"))
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise InputError("two rows have the same name.", where=str(variants), remedy="Rename one.")
    return methods


def _available(recipe: Recipe) -> list[str]:
    """All rivals that need nothing but the recipe; ConSE needs a classifier."""
    if has_imagenet_classifier(open_backbone(recipe.model)):
        return list(BASELINES)
    console.say("ConSE is left out: it needs a backbone with an ImageNet-1k classifier.")
    return [kind for kind in BASELINES if kind != "conse"]


def _baseline(kind: str, recipe: Recipe) -> Method:
    """A rival by its name on the command line, refused before anything is trained."""
    if kind.startswith(PREFIX):
        console.require_extra("clip", "open_clip")
        return Method(f"CLIP {clip_label(kind)}", recipe, kind)
    if kind not in BASELINES:
        known = f"{', '.join(BASELINES)}, {PREFIX}MODEL/WEIGHTS"
        raise InputError(f"there is no baseline `{kind}`.", where="--baseline", remedy=f"Choose from: {known}.")
    return Method(BASELINES[kind], recipe, kind)


def _published(table: ImageTable, splits: list[Split]) -> tuple[Entry, ...]:
    """Published numbers for this data set and number of labels; none where the splits differ in it."""
    counts = {(len(split.seen), len(split.unseen)) for split in splits}
    return published_for(table.kind.partition(":")[0], *counts.pop()) if len(counts) == 1 else ()


def _published_json(entries: tuple[Entry, ...]) -> dict[str, Any]:
    groups = [asdict(group) | {"positives_per_image": group.middle} for group in comparable_groups(entries)]
    return {"entries": [entry.model_dump(exclude_none=True) for entry in entries], "comparable_groups": groups}


def _read_variants(path: Path, recipe: Path, sets: tuple[str, ...]) -> list[Method]:
    """A row is the recipe with changes, or another recipe beside the file, which `--set` leaves alone."""
    form = 'Write [[variant]] tables with `name = "M=1"` and `set = ["model.vectors=1"]` or `recipe = "other.toml"`.'
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["variant"]
        named = [
            (str(row["name"]), path.parent / row["recipe"], ())
            if "recipe" in row
            else (str(row["name"]), recipe, (*sets, *map(str, row["set"])))
            for row in rows
        ]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError(f"is not a file of variants ({error}).", where=str(path), remedy=form) from error
    return [Method(name, load_recipe(file, overrides)) for name, file, overrides in named]


def run_method(experiment: Experiment, method: Method, kept_in: Path | None) -> Evaluation:
    """Measure a method, or read what an earlier call measured with the same code, recipe, data and split.

    Args:
        experiment: data and split.
        method: what to measure.
        kept_in: folder of results, one JSON file each; None keeps nothing.
    """
    identity = {
        "kind": method.kind,
        "recipe": method.recipe.model_dump(mode="json") | {"name": ""},
        "data": experiment.table.digest,
        "split": experiment.split.digest,
        "pictures": experiment.pictures_digest,
        "ks": experiment.ks,
        "version": made_with()["versions"]["tagprism"],
        "commit": made_with()["commit"],
    }
    file = kept_in / f"{digest_json(identity)[:24]}.json" if kept_in is not None else None
    if file is not None and file.is_file():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            experiment.skipped.update(stored["skipped"])
            return Evaluation.from_json(stored)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "Delete it: it is measured again."
            raise InputError(
                f"is not a result that can be read ({error!r}).", where=str(file), remedy=remedy
            ) from error
    if method.kind.startswith(_NEIGHBOURS):
        evaluation = experiment.train(method.recipe, neighbours=int(method.kind.removeprefix(_NEIGHBOURS)))
    elif method.kind in ("recipe", "supervised"):
        evaluation = experiment.train(method.recipe, supervised=method.kind == "supervised")
    else:
        evaluation = experiment.baseline(method.kind, method.recipe)
    if file is not None:
        more = {"method": method.name, "skipped": experiment.skipped, "provenance": identity | made_with()}
        write_json(file, evaluation.to_json() | more)
    return evaluation


def _origin(table: ImageTable, splits: list[Split]) -> dict[str, Any]:
    return made_with() | {"data": table.digest, "splits": {split.name: split.digest for split in splits}}
