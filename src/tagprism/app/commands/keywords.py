"""`tagprism keywords`: write what a model finds into XMP sidecars, and show whose keywords are whose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL, Quiet

app = typer.Typer(help="Keywords in XMP sidecars, where photo programs see them: write, show.", no_args_is_help=True)

Sidecar = Annotated[
    Literal["photo.jpg.xmp", "photo.xmp"],
    typer.Option("--sidecar", help="Name of a sidecar: darktable, digiKam, Immich; or Adobe."),
]


@app.command()
def write(
    photos: Annotated[list[Path] | None, typer.Argument(help="Pictures and folders.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help=f"As for `tag`; else {DEFAULT_MODEL}.")] = None,
    tags: Annotated[
        Path | None, typer.Option("--from", help="Take the tags from the JSONL of `tagprism tag`; - is stdin.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Words to choose from, one a line; else the vocabulary.")] = None,
    min_probability: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least probability; 0.5 unless another limit is given.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Least score, for a model without probabilities.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Keywords per picture at most.")] = None,
    sidecar: Sidecar = "photo.jpg.xmp",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Skip pictures with more pixels.")] = None,
    quiet: Quiet = False,
) -> int:
    """Write keywords into XMP sidecars beside the photos; yours stay as they are, `tagprism undo` takes ours back."""
    from tagprism.keywords.write import Limits, from_jsonl, from_model, write_keywords

    limits = Limits(min_probability, min_score, top_k)
    if tags is not None:
        if photos or model or labels:
            raise typer.BadParameter("--from names photos and tags: leave PHOTOS, --model and --labels away.")
        source = from_jsonl(tags, limits, console.progress(quiet))
    else:
        source = from_model(photos or [], model or DEFAULT_MODEL, labels, limits, max_pixels, console.progress(quiet))
    return write_keywords(source, sidecar, dry_run, quiet)


@app.command()
def show(
    photos: Annotated[list[Path], typer.Argument(help="Pictures and folders.")],
    sidecar: Sidecar = "photo.jpg.xmp",
    format: Annotated[Literal["table", "jsonl"], typer.Option(help="What to print.")] = "table",
) -> int:
    """Show the keywords in the sidecars: yours, tagprism's, and those of tagprism's that you took away."""
    from tagprism.app.commands.show_keywords import show_keywords

    return show_keywords(photos, sidecar, format)
