"""`tagprism demo`: the whole job once on real pictures: train, measure beside rivals, tag, find, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagprism.app import console
from tagprism.app.options import Quiet, Split

if TYPE_CHECKING:
    from collections.abc import Callable

    from tagprism.evaluation.evaluate import Result
    from tagprism.evaluation.report import PhotoTour, TaggedPicture
    from tagprism.evaluation.showcase import Ranking
    from tagprism.progress import Progress
    from tagprism.tagging.tagger import Tagger

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


def demo(
    data: Annotated[str, typer.Option(help="openclipart, or tagged:DIR with --split.")] = "openclipart",
    split: Split = None,
    out: Annotated[Path, typer.Option(help="Folder for runs and report.")] = Path("demo"),
    quiet: Quiet = False,
) -> int:
    """Do the whole job once on real pictures and write demo/report.html."""
    console.require_extra("train", "torch")
    import contextlib
    from dataclasses import replace
    from functools import partial
    from importlib import resources

    from tagprism.comparing.compare import compare
    from tagprism.comparing.methods import Method, baseline
    from tagprism.datasets.registry import open_data
    from tagprism.errors import NothingToDoError
    from tagprism.evaluation.evaluate import evaluate
    from tagprism.evaluation.protocols import EvaluationProtocol
    from tagprism.evaluation.report import Report, provenance_rows, showcase_of, write_report
    from tagprism.exchange import OWN_PAGE, refuse_foreign
    from tagprism.files import write_json
    from tagprism.tagging.tagger import load
    from tagprism.training.recipe import load_recipe
    from tagprism.training.train import train

    progress, say = console.progress(quiet), partial(console.say, quiet=quiet)
    refuse_foreign(out / "report.html", OWN_PAGE)
    refuse_foreign(out / "result.json", rb'\A\{\s*"methods": ')
    tour = _tour(out, progress, say)
    say("opening the pictures")
    table, chosen = open_data(data, split)
    with resources.as_file(resources.files("tagprism.app") / "demo.toml") as path:
        recipe = load_recipe(path)
    with contextlib.suppress(NothingToDoError):  # trained by an earlier demo
        train(recipe, table, chosen, out / "run", progress=progress)
    tagger = load(out / "run")
    result = evaluate(tagger, table, chosen, protocol=EvaluationProtocol(ks=(3,)), progress=progress)
    rivals = [baseline(kind, recipe) for kind in ("single", "conse", "ridge")]
    rivals.append(Method("supervised", recipe, "supervised"))
    compared = compare(rivals, table, chosen, out=out / "results", ks=(3,), progress=progress, begins=say)
    methods = {f"SDL, M={recipe.model.vectors}": (result.evaluation,), **compared.results}
    comparison = replace(compared, results=methods)
    report = Report(
        title=f"tagprism demo: {comparison.kind}",
        lead=f"A model trained on {len(chosen.seen)} keywords ranks {len(chosen.unseen)} others it has never been "
        "trained on, tags pictures with words of your own, and finds pictures by them. Beside it: the single vector, "
        "ConSE, ridge regression, and `supervised`, the same model trained on the unseen keywords too.",
        provenance=provenance_rows(result.provenance),
        methods=methods,
        showcase=showcase_of(result),
        tagged=_tagged(tagger, result),
        found=_found(tagger, result),
        photos=tour,
    )
    write_report(out / "report.html", report)
    found = {name: evaluations[0].to_json() for name, evaluations in methods.items()}
    write_json(out / "result.json", {"methods": found, "provenance": dict(result.provenance)})
    console.show(comparison.table(title=f"{data}: {chosen.name}"))
    console.data.print(f"report: {out / 'report.html'}", soft_wrap=True)
    skipped = {**comparison.skipped, **{key: error.message for key, error in result.skipped}}
    return console.report_skipped(skipped.items())


def _tour(out: Path, progress: Progress, say: Callable[[str], None]) -> PhotoTour | None:
    """The packaged model on real photographs; those that cannot be had are said, and the demo goes on without."""
    from tagprism.app.options import DEFAULT_MODEL
    from tagprism.app.photo_tour import photo_tour
    from tagprism.datasets.sample_photos import fetch_sample_photos, sample_photos
    from tagprism.errors import MachineError

    say("the model in the box on real photographs")
    try:
        fetch_sample_photos()
    except MachineError as error:
        say(str(error))
    photos = sample_photos()
    return photo_tour(photos, DEFAULT_MODEL, out / "photos.index", progress) if photos else None


def _tagged(tagger: Tagger, result: Result) -> tuple[TaggedPicture, ...]:
    """Some test pictures that have an unseen label, drawn by lot, tagged with all labels and the words of our own."""
    import numpy as np

    from tagprism.evaluation.report import Tag, TaggedPicture

    trained = set(tagger.bundle.config.seen)
    words = (*result.names, *(word for word in _OWN_WORDS if word not in result.names))
    with_unseen = np.flatnonzero((result.targets[:, result.unseen] == 1).any(axis=1))
    rows = np.random.default_rng(0).permutation(with_unseen)[:_TAGGED]
    pictures = []
    for row, tags in zip(rows, tagger.tag([result.files[row] for row in rows], words, top_k=6), strict=True):
        own = ", ".join(name for name, target in zip(result.names, result.targets[row], strict=True) if target == 1)
        shown = tuple(Tag(tag.label, f"{tag.score:.1f}", tag.label not in trained) for tag in tags.tags)
        pictures.append(TaggedPicture(result.files[row], shown, f"its own keywords: {own}"))
    return tuple(pictures)


def _found(tagger: Tagger, result: Result) -> tuple[Ranking, ...]:
    """The first pictures of the test set for some unseen labels, drawn by lot, best ranked first, and our phrases."""
    import numpy as np

    from tagprism.evaluation.scores import streamed_scores
    from tagprism.evaluation.showcase import RankedPicture, Ranking

    assert result.records is not None, "a model has records"
    columns = np.flatnonzero(result.unseen)
    drawn = np.random.default_rng(0).permutation(columns)[:_FOUND]
    precision = {row.label: row.average_precision["zsl"] for row in result.evaluation.per_label if row.unseen}
    drawn = np.array(sorted(drawn, key=lambda column: -precision[result.names[column]]))
    queries = [result.names[column] for column in drawn] + list(_OWN_WORDS[:3])
    scores = streamed_scores(result.records, tagger.scoring_vectors(queries), best_rows=tagger.best_rows)
    rankings = []
    for column, query in enumerate(queries):
        best = np.argsort(-scores[:, column], kind="stable")[:_PER_QUERY]
        marks = result.targets[:, drawn[column]] if column < len(drawn) else None
        pictures = tuple(
            RankedPicture(
                result.files[row], float(scores[row, column]), None if marks is None else bool(marks[row] == 1)
            )
            for row in best
        )
        note = "a phrase of our own" if marks is None else f"{int((marks == 1).sum())} of {len(marks)} pictures have it"
        rankings.append(Ranking(query, note, pictures))
    return tuple(rankings)
