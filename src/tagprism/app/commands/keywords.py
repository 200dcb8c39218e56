"""`tagprism keywords`: write what a model finds into XMP sidecars, and show whose keywords are whose."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL, Quiet
from tagprism.errors import InputError, NothingToDoError, PictureError

if TYPE_CHECKING:
    from tagprism.keywords.sidecar import SidecarChange

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
    from tagprism.images.decode import MAX_PIXELS
    from tagprism.keywords.write import Limits, from_model, from_rows, write_keywords
    from tagprism.labels.phrase_list import read_phrases
    from tagprism.tagging.tagger import load

    limits, progress = Limits(min_probability, min_score, top_k), console.progress(quiet)
    if tags is not None:
        if photos or model or labels:
            raise typer.BadParameter("--from names photos and tags: leave PHOTOS, --model and --labels away.")
        source = from_rows(sys.stdin.buffer.read() if str(tags) == "-" else tags, limits, progress=progress)
    elif not photos:
        raise InputError("photos are needed.", remedy="Give PHOTOS, or --from tags.jsonl.")
    else:
        words = read_phrases(labels) if labels is not None else None
        cap = max_pixels or MAX_PIXELS
        source = from_model(
            load(model or DEFAULT_MODEL, progress=progress), photos, limits, words, max_pixels=cap, progress=progress
        )
    done = write_keywords(source, sidecar, dry_run=dry_run, changed=_print_difference if dry_run else None)
    if done.beside_another:
        other = "photo.xmp" if sidecar == "photo.jpg.xmp" else "photo.jpg.xmp"
        hint = f"{done.beside_another} new one(s) stand beside a {other} of the same photo, which some programs read"
        console.say(f"{hint} instead; --sidecar {other} adds to those.", quiet=quiet)
    would = "would be " if dry_run else ""
    console.say(f"{done.written} sidecar(s) {would}written, {done.same} as they were.", quiet=quiet)
    if done.run is not None:
        console.say(f"`tagprism undo {done.run}` takes it back.", quiet=quiet)
    code = console.report_skipped(done.skipped)
    return console.REFUSED if done.refused else code


def _print_difference(change: SidecarChange) -> None:
    """The flat keywords as a unified difference; file names and keywords on one line each, whatever is in them."""
    old, new = change.old.flat, change.new.flat
    name = repr(os.fsdecode(change.path))[1:-1]
    lines = [f"--- {name if change.before is not None else '/dev/null'}", f"+++ {name}"]
    lines += [("  " if word in new else "- ") + repr(word)[1:-1] for word in old]
    lines += ["+ " + repr(word)[1:-1] for word in new if word not in old]
    print("\n".join(lines))


@app.command()
def show(
    photos: Annotated[list[Path], typer.Argument(help="Pictures and folders.")],
    sidecar: Sidecar = "photo.jpg.xmp",
    format: Annotated[Literal["table", "jsonl"], typer.Option(help="What to print.")] = "table",
) -> int:
    """Show the keywords in the sidecars: yours, tagprism's, and those of tagprism's that you took away."""
    from rich.markup import escape
    from rich.table import Table

    from tagprism.images.walk import find_pictures
    from tagprism.keywords.sidecar import read_keywords

    files = find_pictures(photos)
    if not files:
        raise NothingToDoError("there are no pictures.", where=", ".join(map(str, photos)))
    table = Table("picture", "yours", "tagprism's", "taken away")
    skipped = []
    for photo in files:
        name = os.fsdecode(photo)
        try:
            keywords = read_keywords(photo, sidecar)
        except PictureError as error:
            skipped.append((name, error.message))
            continue
        lists = {"yours": keywords.yours, "ours": keywords.still_ours, "taken_away": keywords.taken_away}
        if format == "jsonl":
            sys.stdout.write(json.dumps({"path": name, **lists}) + "\n")
        else:
            table.add_row(*map(escape, (repr(name)[1:-1], *map(", ".join, lists.values()))))
    if format == "table":
        console.data.print(table)
    return console.report_skipped(skipped)
