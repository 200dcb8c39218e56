"""`tagprism evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import Data, Device, Format, Limit, Quiet, Split, Unknown, Views, by_ending, open_measured
from tagprism.errors import InputError

if TYPE_CHECKING:
    from tagprism.tagging.tagger import Tagger


def evaluate(
    model: Annotated[str, typer.Argument(help="RUN, BUNDLE, packaged bundle or hf-hub:owner/name\\[@revision].")],
    data: Data,
    split: Split = None,
    format: Format = "table",
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML report here.")] = None,
    k: Annotated[list[int] | None, typer.Option(help="Labels per image for P, R, F1; may be repeated.")] = None,
    unknown: Unknown = None,
    engine: Annotated[Literal["onnx", "torch"], typer.Option(help=r"torch needs a RUN and \[train].")] = "onnx",
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Measure on what was trained on, marked so.")
    ] = False,
    limit: Limit = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Average scores over so many like test pictures.")] = 0,
    views: Views = None,
    device: Device = None,
    quiet: Quiet = False,
) -> int:
    """Measure a model on the test pictures of a split: ZSL and GZSL, with chance, constant and ceiling lines."""
    from dataclasses import replace

    from tagprism.evaluation import evaluate as evaluation
    from tagprism.evaluation.protocols import EvaluationProtocol
    from tagprism.evaluation.reliability import reliability_table
    from tagprism.evaluation.report import report_of, write_report
    from tagprism.evaluation.table import comparison_table, lay_out
    from tagprism.exchange import OWN_PAGE, refuse_foreign
    from tagprism.tagging.tagger import load

    if report is not None:
        by_ending(report, dict.fromkeys(("", ".html", ".htm"), "html"), "--report")
        refuse_foreign(report, OWN_PAGE)
    tagger = load(model, views=views, progress=console.progress(quiet))
    if "trained_on" in tagger.bundle.config.provenance or tagger.bundle.config.foreign is not None:
        which = "this model" if tagger.bundle.config.foreign is None else "the public model in it"
        console.say(
            f"what {which} was trained on is unknown: it may have seen the labels that count as unseen.", quiet=quiet
        )
    if engine == "torch":
        _use_torch(tagger, model)
    table, chosen = open_measured(data, split, model, quiet=quiet)
    if chosen.protocol is not None:
        console.say(chosen.protocol.summary(), quiet=quiet)
    protocol = EvaluationProtocol(tuple(k or (3, 5)), unknown, allow_leak=allow_leak, neighbours=neighbours)
    measured = evaluation.evaluate(
        tagger, table, chosen, protocol=protocol, limit=limit, progress=console.progress(quiet)
    )
    result = replace(measured, provenance={**measured.provenance, "engine": engine})
    if report is not None:
        counts = table.label_counts(chosen.train, result.names)
        write_report(report, report_of(result, tagger.bundle.path.parent, counts))
        console.say(f"report: {report}", quiet=quiet)
    if format == "json":
        console.write_json(result.to_json())
    else:
        console.show(comparison_table(lay_out({result.name: [result.evaluation]})))
        if result.calibration:
            console.show(reliability_table(result.calibration))
    skipped = [(key, error.message) for key, error in result.skipped]
    return console.report_skipped(skipped + [(one.key, one.message) for one in table.skipped])


def _use_torch(tagger: Tagger, model: str) -> None:
    """Let the torch network of a RUN compute the records instead of the bundle's ONNX."""
    console.require_extra("train", "torch")
    from tagprism.bundle.bundle import find_bundle
    from tagprism.training.torch_engine import torch_records

    run = find_bundle(model)
    if tagger.bundle.views > 1:
        raise InputError("has no views.", where="--engine torch", remedy="Leave --views or --engine away.")
    if not (run / "weights.safetensors").is_file():
        raise InputError("holds no torch weights.", where=model, remedy="--engine torch needs a RUN, not a bundle.")
    tagger.network = torch_records(run, tagger.vocabulary)
