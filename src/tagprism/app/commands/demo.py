"""`tagprism demo`: the whole job once on real pictures: train, measure beside rivals, tag, find, report."""

from __future__ import annotations

import contextlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tagprism.app import console
from tagprism.app.commands.compare import Method, run_method
from tagprism.app.commands.evaluate import facts, provenance
from tagprism.app.open_data import open_data
from tagprism.comparing.baselines import BASELINES
from tagprism.comparing.experiment import Experiment
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import NothingToDoError
from tagprism.evaluation.evaluate_model import Measured, evaluate_model
from tagprism.evaluation.protocols import Evaluation
from tagprism.evaluation.report import Report, Tag, TaggedPicture, write_report
from tagprism.evaluation.scores import score_matrices
from tagprism.evaluation.showcase import RankedPicture, Ranking, showcase
from tagprism.evaluation.table import compare, comparison_table
from tagprism.files import write_json
from tagprism.progress import Progress
from tagprism.tagging.tagger import Tagger, load
from tagprism.training.recipe import Recipe, load_recipe
from tagprism.training.train import train

_OWN_WORDS = (
    "birthday cake",
    "farm animal",
    "medieval castle",
    "musical instrument",
    "outer space",
    "sea creature",
    "sports equipment",
    "stormy weather",
    "wild west",
    "winter clothes",
)
"""Phrases that no drawing carries as a keyword: nothing was ever trained or measured on them."""

_TAGGED, _FOUND, _PER_QUERY = 10, 6, 8
_KS = (3,)


def demo(data: str, split: str | None, out: Path, quiet: bool) -> int:
    """Run it; everything that was computed is kept in `out` and in the cache, so a second time is quick."""
    progress = console.progress(quiet)
    console.say("opening the pictures", quiet=quiet)
    table, chosen = open_data(data, split)
    with resources.as_file(resources.files("tagprism.app") / "demo.toml") as path:
        recipe = load_recipe(path)
    tagger = _trained(recipe, table, chosen, out / "run", progress)
    measured = evaluate_model(tagger, table, chosen, ks=_KS, progress=progress)
    experiment = Experiment(table, chosen, ks=_KS, progress=progress)
    methods = {f"SDL, M={recipe.model.vectors}": [measured.evaluation]}
    methods |= _rivals(recipe, experiment, out / "results", quiet)
    origin = provenance(tagger, table, chosen, "onnx")
    report = Report(
        title=f"tagprism demo: {table.kind.partition(':')[0]}",
        lead=f"A model trained on {len(chosen.seen)} keywords ranks {len(chosen.unseen)} others it has never been "
        "trained on, tags pictures with words of your own, and finds pictures by them. Beside it: the single vector, "
        "ConSE, ridge regression, and `supervised`, the same model trained on the unseen keywords too.",
        facts=facts(origin),
        methods=methods,
        showcase=showcase(measured.evaluation, measured.matrices, measured.queries, measured.targets, measured.files),
        tagged=_tagged(tagger, measured),
        found=_found(tagger, measured),
    )
    write_report(out / "report.html", report)
    write_json(out / "result.json", _result(methods, origin))
    console.data.print(comparison_table(compare(methods), title=f"{data}: {chosen.name}"))
    console.data.print(f"report: {out / 'report.html'}", soft_wrap=True)
    skipped = experiment.skipped | {key: error.message for key, error in measured.skipped}
    skipped |= {one.key: one.message for one in table.skipped}
    return console.report_skipped(skipped.items())


def _trained(recipe: Recipe, table: ImageTable, split: Split, run: Path, progress: Progress) -> Tagger:
    with contextlib.suppress(NothingToDoError):  # trained by an earlier demo
        train(recipe, table, split, run, progress=progress)
    return load(run)


def _rivals(recipe: Recipe, experiment: Experiment, kept: Path, quiet: bool) -> dict[str, list[Evaluation]]:
    """The single vector, ConSE, ridge and the supervised model on the same pictures."""
    methods = [Method(BASELINES[kind], recipe, kind) for kind in ("single", "conse", "ridge")]
    methods.append(Method("supervised", recipe, "supervised"))
    found = {}
    for method in methods:
        console.say(f"comparing with: {method.name}", quiet=quiet)
        found[method.name] = [run_method(experiment, method, kept)]
    return found


def _tagged(tagger: Tagger, measured: Measured) -> tuple[TaggedPicture, ...]:
    """Some test pictures that have an unseen label, drawn by lot, tagged with all labels and the words of our own."""
    trained = set(tagger.bundle.config.seen)
    words = (*measured.names, *(word for word in _OWN_WORDS if word not in measured.names))
    with_unseen = np.flatnonzero((measured.targets[:, measured.unseen] == 1).any(axis=1))
    rows = np.random.default_rng(0).permutation(with_unseen)[:_TAGGED]
    pictures = []
    for row, tags in zip(rows, tagger.tag([measured.files[row] for row in rows], words, top_k=6), strict=True):
        own = ", ".join(name for name, target in zip(measured.names, measured.targets[row], strict=True) if target == 1)
        shown = tuple(Tag(tag.label, f"{tag.score:.1f}", tag.label not in trained) for tag in tags.tags)
        pictures.append(TaggedPicture(measured.files[row], shown, f"its own keywords: {own}"))
    return tuple(pictures)


def _found(tagger: Tagger, measured: Measured) -> tuple[Ranking, ...]:
    """The first pictures of the test set for some unseen labels, drawn by lot, and for phrases of our own."""
    columns = np.flatnonzero(measured.unseen)
    drawn = np.random.default_rng(0).permutation(columns)[:_FOUND]
    queries = [measured.names[column] for column in drawn] + list(_OWN_WORDS[:3])
    scores = score_matrices(measured.matrices, tagger.scoring_vectors(queries))
    rankings = []
    for place, query in enumerate(queries):
        best = np.argsort(-scores[:, place], kind="stable")[:_PER_QUERY]
        marks = measured.targets[:, drawn[place]] if place < len(drawn) else None
        pictures = tuple(
            RankedPicture(
                measured.files[row], float(scores[row, place]), None if marks is None else bool(marks[row] == 1)
            )
            for row in best
        )
        note = "a phrase of our own" if marks is None else f"{int((marks == 1).sum())} of {len(marks)} pictures have it"
        rankings.append(Ranking(query, note, pictures))
    return tuple(rankings)


def _result(methods: dict[str, list[Evaluation]], origin: dict[str, Any]) -> dict[str, Any]:
    return {
        "methods": {name: evaluations[0].to_json() for name, evaluations in methods.items()},
        "provenance": origin,
    }
