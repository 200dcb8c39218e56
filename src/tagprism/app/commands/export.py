"""`tagprism export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import Quiet


def export(
    model: Annotated[str, typer.Argument(help="RUN, BUNDLE, packaged bundle or hf-hub:owner/name\\[@revision].")],
    into: Annotated[Path, typer.Option(help="Folder of the BUNDLE to write.")],
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help=r"How weights are stored; fp16 and int8 need \[train].")
    ] = "fp32",
    text: Annotated[
        bool | None, typer.Option("--text/--no-text", help="With or without text encoders; else as the model has them.")
    ] = None,
    with_network: Annotated[
        bool, typer.Option("--with-network", help="Bring the public model that the bundle is on top of, and refers to.")
    ] = False,
    photos: Annotated[
        list[Path] | None, typer.Option(help="Pictures or folders to check with; else the run's own. May be repeated.")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(min=0, max=100, help=r"Least agreement of the top 5, in percent. \[default: 99; int8: 85]"),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Write a model as a bundle of its own, smaller if wanted, and check it on real pictures."""
    import importlib.util

    from tagprism.bundle.bundle import find_bundle
    from tagprism.bundle.config import VOCABULARY
    from tagprism.labels.vocabulary import Vocabulary
    from tagprism.network.bundle_export import Look, export_bundle

    run = find_bundle(model)
    network: Look | None = None
    if (run / "bundle" / VOCABULARY).is_file() and importlib.util.find_spec("torch") is not None:
        from tagprism.training.torch_engine import has_torch_network, torch_records

        if has_torch_network(run):
            network = torch_records(run, Vocabulary.load(run / "bundle" / VOCABULARY))
    done = export_bundle(
        run,
        into,
        precision,
        text=text,
        with_network=with_network,
        photos=photos or (),
        min_agreement=min_agreement,
        torch_network=network,
        progress=console.progress(quiet),
    )
    for name, form in done.encoders.items():
        console.say(f"text encoder {name}: {form}", quiet=quiet)
    console.say(f"compared with {done.compared_with}", quiet=quiet)
    console.say(f"{done.agreement}", quiet=quiet)
    size = sum(file.stat().st_size for file in into.rglob("*") if file.is_file()) / 1e6
    console.say(f"finished: {into} ({precision}, {size:.1f} MB)", quiet=quiet)
    return console.report_skipped(done.skipped)
