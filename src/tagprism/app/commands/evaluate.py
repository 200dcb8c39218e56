"""`tagprism evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tagprism.app import console
from tagprism.app.open_data import open_data
from tagprism.bundle.find import find_bundle
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tagprism.evaluation.evaluate_model import Measured, evaluate_model
from tagprism.evaluation.report import Report, write_report
from tagprism.evaluation.showcase import showcase
from tagprism.evaluation.table import compare, comparison_table, reliability_table
from tagprism.provenance import made_with
from tagprism.tagging.tagger import Tagger, load


def evaluate(
    model: str,
    data: str,
    split: str | None,
    format: Literal["table", "json"],
    report: Path | None,
    ks: tuple[int, ...],
    unknown: Literal["ignore", "negative"],
    engine: Literal["onnx", "torch"],
    allow_leak: bool,
    limit: int | None,
    neighbours: int,
    quiet: bool,
) -> int:
    """Measure, print and report; the exit code is 4 when pictures were skipped."""
    tagger = load(model)
    if engine == "torch":
        _use_torch(tagger, model)
    table, chosen = open_data(data, split)
    if chosen.protocol is not None:
        console.say(chosen.protocol.summary(), quiet=quiet)
    measured = evaluate_model(
        tagger,
        table,
        chosen,
        ks=ks,
        unknown=unknown,
        allow_leak=allow_leak,
        limit=limit,
        neighbours=neighbours,
        progress=console.progress(quiet),
    )
    origin = provenance(tagger, table, chosen, engine)
    if report is not None:
        write_report(report, make_report(tagger, measured, origin))
        console.say(f"report: {report}", quiet=quiet)
    if format == "json":
        result = measured.evaluation.to_json() | {"provenance": origin}
        if measured.calibration:
            result["calibration"] = {name: its.to_json() for name, its in measured.calibration.items()}
        json.dump(result, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        console.data.print(comparison_table(compare({tagger.bundle.config.name: [measured.evaluation]})))
        if measured.calibration:
            console.data.print(reliability_table(measured.calibration))
    skipped = [(key, error.message) for key, error in measured.skipped]
    return console.report_skipped(skipped + [(one.key, one.message) for one in table.skipped])


def provenance(tagger: Tagger, table: ImageTable, split: Split, engine: str) -> dict[str, Any]:
    """Where a result comes from: the model's own origin and what it was measured with."""
    return {
        "model": tagger.bundle.config.provenance,
        "bundle": tagger.bundle.digest,
        "evaluated_with": made_with(),
        "engine": engine,
        "data": table.digest,
        "split": split.name,
        "split_digest": split.digest,
        "protocol": split.protocol.to_json() if split.protocol else None,
        "vocabulary": tagger.vocabulary.digest,
    }


def make_report(tagger: Tagger, measured: Measured, origin: dict[str, Any]) -> Report:
    """The HTML report of one result."""
    config = tagger.bundle.config
    return Report(
        title=f"{config.name} on {origin['split']}",
        lead="Zero-shot multi-label ranking: how well words that were never trained on are ranked.",
        facts=facts(origin),
        methods={config.name: [measured.evaluation]},
        reliability=measured.calibration,
        showcase=showcase(measured.evaluation, measured.matrices, measured.queries, measured.targets, measured.files),
    )


def facts(origin: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The provenance that a report shows."""
    model, with_ = origin["model"], origin["evaluated_with"]
    versions = ", ".join(f"{name} {version}" for name, version in with_["versions"].items())
    return (
        ("recipe", f"{model['recipe']['name']}, seed {model['seed']}"),
        ("commit", with_["commit"] or "installed package"),
        ("split", f"{origin['split']} ({origin['split_digest'][:16]})"),
        *_protocol_facts(origin["protocol"]),
        ("data digest", origin["data"][:16]),
        ("vocabulary digest", origin["vocabulary"][:16]),
        ("engine", origin["engine"]),
        ("versions", versions),
    )


def _protocol_facts(protocol: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Which pictures of a published test were there, and what the protocol allows."""
    if protocol is None:
        return
    parts = protocol["pictures"].items()
    yield "pictures", "; ".join(f"{part}: {its['there']:,} of {its['official']:,} there" for part, its in parts)
    if protocol["same_label_allowed"]:
        pairs = ", ".join(f"{unseen} / {seen}" for unseen, seen in protocol["same_label_allowed"])
        yield "labels on both sides, by protocol (unseen / seen)", pairs


def _use_torch(tagger: Tagger, model: str) -> None:
    """Let the torch network of a RUN compute the matrices instead of the bundle's ONNX."""
    console.require_extra("train", "torch")
    from tagprism.training.torch_engine import torch_matrices

    run = find_bundle(model)
    if not (run / "weights.safetensors").is_file():
        raise InputError("holds no torch weights.", where=model, remedy="--engine torch needs a RUN, not a bundle.")
    tagger.network = torch_matrices(run, tagger.vocabulary)
