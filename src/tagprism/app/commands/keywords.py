"""`tagprism keywords`: write what a model finds into XMP sidecars or photos, and show whose keywords are whose."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import (
    DEFAULT_MODEL,
    Device,
    Exclude,
    Quiet,
    Views,
    from_command_line,
    named_path,
    read_words,
)
from tagprism.counted import counted
from tagprism.errors import InputError, NothingToDoError, PictureError

if TYPE_CHECKING:
    from tagprism.keywords.sidecar import SidecarChange

app = typer.Typer(help="Keywords where photo programs see them: write, show.", no_args_is_help=True)

Sidecar = Annotated[
    Literal["photo.jpg.xmp", "photo.xmp"],
    typer.Option("--sidecar", help="Name of a sidecar: darktable, digiKam, Immich; or Adobe."),
]
SidecarThere = Annotated[
    Literal["photo.jpg.xmp", "photo.xmp"] | None,
    typer.Option("--sidecar", help="As for darktable, digiKam, Immich; or for Adobe; else as the photo has it."),
]


@app.command()
def write(
    context: typer.Context,
    photos: Annotated[list[str] | None, typer.Argument(help="Pictures and folders.")] = None,
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
    sidecar: SidecarThere = None,
    embed: Annotated[bool, typer.Option("--embed", help="Into the JPEGs themselves, with exiftool.")] = False,
    hierarchy: Annotated[
        Path | None, typer.Option(help="Your own tree of keywords: lines such as animals|cat, or kitty = animals|cat.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
    exclude: Exclude = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Skip pictures with more pixels.")] = None,
    views: Views = None,
    device: Device = None,
    quiet: Quiet = False,
) -> int:
    """Write keywords into XMP sidecars, or into JPEGs; yours stay as they are, `tagprism undo` takes ours back."""
    from tagprism.images.decode import MAX_PIXELS
    from tagprism.images.walk import WalkReport
    from tagprism.keywords.hierarchy import read_hierarchy
    from tagprism.keywords.write import Limits, from_model, from_rows, write_keywords
    from tagprism.tagging.tagger import load

    if embed and sidecar:
        raise typer.BadParameter("--embed writes no sidecar: leave --sidecar away.")
    path_of = read_hierarchy(hierarchy) if hierarchy is not None else None
    limits, progress = Limits(min_probability, min_score, top_k), console.progress(quiet)
    if tags is not None:
        if photos or from_command_line(context, "model", "labels", "exclude", "views"):
            raise typer.BadParameter(
                "--from names photos and tags: leave PHOTOS, --model, --views, --labels and --exclude away."
            )
        source = from_rows(sys.stdin.buffer.read() if str(tags) == "-" else tags, limits, progress=progress)
    elif not photos:
        raise InputError("photos are needed.", remedy="Give PHOTOS, or --from tags.jsonl.")
    elif "" in photos:
        raise typer.BadParameter("a path is empty; write . for the current folder.")
    else:
        tagger = load(model or DEFAULT_MODEL, views=views, progress=progress)
        words = read_words(labels, tagger) if labels is not None else None
        cap = max_pixels or MAX_PIXELS
        report = WalkReport()
        source = from_model(
            tagger, photos, limits, words, max_pixels=cap, progress=progress, exclude=exclude or (), report=report
        )
        if left_out := str(report):
            console.say(f"left out: {left_out}", quiet=quiet)
    show = _print_difference if dry_run else None
    done = write_keywords(source, sidecar, inside=embed, hierarchy=path_of, dry_run=dry_run, changed=show)
    what = "photo" if embed else "sidecar"
    if done.beside_another:
        other = "photo.jpg.xmp" if sidecar == "photo.xmp" else "photo.xmp"
        hint = f"{counted(done.beside_another, 'new sidecar')} beside a {other} of the same photo, begun as its copy;"
        console.say(f"{hint} some programs read the one, some the other.", quiet=quiet)
    if done.linked:
        hint = f"{done.linked} of them had other names (hard links)"
        console.say(f"{hint}: what is under these keeps the bytes it had.", quiet=quiet)
    console.say_not_read(source.not_read, quiet=quiet)
    console.say_device(quiet)
    would = "would be " if dry_run else ""
    console.say(f"{counted(done.written, what)} {would}written, {done.same} as they were.", quiet=quiet)
    if done.run is not None:
        console.say(f"`tagprism undo {done.run}` takes it back.", quiet=quiet)
    code = console.report_skipped(done.skipped)
    return console.REFUSED if done.refused else code


def _print_difference(change: SidecarChange) -> None:
    """The flat keywords as a unified difference; file names and keywords on one line each, whatever is in them."""
    old, new = change.old.flat, change.new.flat
    name = console.printable(os.fsdecode(change.path))
    lines = [f"--- {name if change.before is not None else '/dev/null'}", f"+++ {name}"]
    lines += [("  " if word in new else "- ") + repr(word)[1:-1] for word in old]
    lines += ["+ " + repr(word)[1:-1] for word in new if word not in old]
    console.write("\n".join(lines) + "\n")


def _shown(photo: str, lists: dict[str, tuple[str, ...]]) -> str:
    """A photo on a line of its own, so that its name stays whole, and its keywords below."""
    from rich.text import Text

    lines = [Text(console.printable(photo), "bold")]
    for title, (kind, words) in zip(("yours", "tagprism's", "taken away"), lists.items(), strict=True):
        if words:
            lines.append(
                Text(f"  {title:<10}  {console.printable(', '.join(words))}", "dim" if kind == "taken_away" else "")
            )
    return console.shown(lines)


@app.command()
def show(
    photos: Annotated[list[Path], typer.Argument(parser=named_path, help="Pictures and folders.")],
    sidecar: SidecarThere = None,
    embed: Annotated[bool, typer.Option("--embed", help="Those inside the JPEGs instead.")] = False,
    format: Annotated[Literal["table", "jsonl"], typer.Option(help="What to print.")] = "table",
) -> int:
    """Show the keywords in sidecars, or inside JPEGs: yours, tagprism's, and those of ours that you took away."""
    from tagprism.images.picture_list import refuse_absent
    from tagprism.images.walk import find_pictures
    from tagprism.keywords.embed import read_inside
    from tagprism.keywords.sidecar import read_keywords, refuse_missing

    refuse_absent(photos)
    files = find_pictures(photos)
    if not files:
        raise NothingToDoError("there are no pictures.", where=", ".join(map(str, photos)))
    skipped, without = [], 0
    for photo in files:
        name = os.fsdecode(photo)
        try:
            refuse_missing(photo)
            keywords = read_inside(photo) if embed else read_keywords(photo, sidecar)
        except PictureError as error:
            skipped.append((name, error.message))
            continue
        lists = {"yours": keywords.yours, "ours": keywords.still_ours, "taken_away": keywords.taken_away}
        if format == "jsonl":
            console.write(json.dumps({"path": name, **lists}) + "\n")
        elif any(lists.values()):
            console.write(_shown(name, lists))
        else:
            without += 1
    if without:
        where = "inside" if embed else "beside them; --embed shows those inside"
        console.say(f"{without:,} of {counted(len(files), 'file')} without keywords {where}.")
    return console.report_skipped(skipped)
