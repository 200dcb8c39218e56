"""`tagprism models`: public CLIP and SigLIP models that can be used, and those that are on this machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from tagprism.app import console
from tagprism.app.options import Quiet

app = typer.Typer(help="Public CLIP and SigLIP models: list, fetch, info, remove.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="hf-hub:owner/name[@revision][#form], or a folder.")]
Format = Annotated[Literal["table", "json"], typer.Option(help="What to print.")]


@app.command("list")
def list_models(format: Format = "table") -> int:
    """Name models that work, with size, licence, languages, time of a picture and published accuracy."""
    from tagprism.bundle.foreign.known import known_models

    models = known_models()
    if format == "json":
        console.write_json([one.model_dump(mode="json") for one in models])
        return console.OK
    for one in models:
        facts = [one.layout, one.licence, one.languages]
        if one.size_mb is not None:
            facts.append("{:,} MB for pictures and {:,} MB for words".format(*one.size_mb))
        if one.picture_ms is not None:
            facts.append(f"{one.picture_ms} ms a picture")
        if one.imagenet is not None:
            facts.append(f"ImageNet zero-shot {one.imagenet:g} %")
        console.data.print(one.name, style="bold", soft_wrap=True)
        console.data.print(f"    {'; '.join([*facts, one.note] if one.note else facts)}", soft_wrap=True)
    return console.OK


@app.command()
def fetch(name: Name, quiet: Quiet = False) -> int:
    """Fetch a model, or a newer version of it, and embed the common words, so that all else works without a network."""
    from tagprism.bundle.open_model import open_model

    model = open_model(name, renew=True, progress=console.progress(quiet))
    words = len(model.vocabulary.names)
    console.say(f"{model.path} (digest {model.digest[:12]}), {words:,} words are ready", quiet=quiet)
    return console.OK


@app.command()
def info(name: Name, format: Format = "table", quiet: Quiet = False) -> int:
    """Say what a model is: layout, files, preparation of pictures and phrases, and what its scores are."""
    from rich.table import Table

    from tagprism.bundle.open_model import open_model

    model = open_model(name, progress=console.progress(quiet))
    config = model.config
    found: dict[str, Any] = {
        "name": config.name,
        "digest": model.digest,
        "folder": str(model.path),
        "vectors": config.vectors,
        "dimension": config.dimension,
        "calibrated": config.calibration is not None,
        "preprocess": config.preprocess,
        **config.provenance,
        "files": config.digests,
    }
    if format == "json":
        console.write_json(found)
        return console.OK
    table = Table("", "", show_header=False)
    table.columns[1].overflow = "fold"  # digests are to be copied
    for key, value in found.items():
        lines = [f"{name}: {its}" for name, its in value.items()] if isinstance(value, dict) else [str(value)]
        table.add_row(key, "\n".join(map(console.printable, lines)))
    console.data.print(table)
    return console.OK


@app.command()
def remove(name: Annotated[str, typer.Argument(help="hf-hub:owner/name")], quiet: Quiet = False) -> int:
    """Delete a fetched model from the hub's cache on this machine."""
    from tagprism.bundle.hub import HubName, remove_model

    freed = remove_model(HubName.parse(name))
    console.say(f"{freed / 1e6:,.0f} MB are free again", quiet=quiet)
    return console.OK
