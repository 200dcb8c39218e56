"""`tagprism tag`: its options, and what is said of a model without probabilities."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import (
    DEFAULT_MODEL,
    Device,
    Exclude,
    Model,
    Quiet,
    Ray,
    Views,
    by_ending,
    read_words,
)
from tagprism.app.tag_rows import TagJob, print_rows, write_file
from tagprism.counted import counted
from tagprism.errors import InputError

if TYPE_CHECKING:
    from tagprism.bulk.listing import Listing
    from tagprism.images.picture_list import PictureList

_TOP_K, _AT_LEAST = 10, 0.5
_NO_PROBABILITIES = (
    "This model is not calibrated, so it gives no probabilities. A score says how many standard deviations a word is "
    "above the mean of 1,000 common words in the same picture. `tagprism models calibrate` fits probabilities to "
    "photos with labels."
)
_ONLY_RANK = (
    "This model is not calibrated, so it gives no probabilities: its scores rank, and say nothing of how sure it is."
)
Format = Literal["table", "jsonl", "csv", "parquet", "coco", "fiftyone", "label-studio"]


def tag(
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders, patterns; - for a list of paths on stdin.")],
    model: Model = DEFAULT_MODEL,
    labels: Annotated[
        Path | None, typer.Option(help="Words to choose from, one a line, aliases after a tab; else the vocabulary.")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", min=1, help="Tags per picture at most. \\[default: 10, but see --min-probability]"),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least probability of a tag; needs a calibrated bundle. \\[default: 0.5 for a table without --top-k]",
        ),
    ] = None,
    all_names: Annotated[
        bool, typer.Option("--all-names", help="Every name of a thing, not only the one that is likely and common.")
    ] = False,
    format: Annotated[
        Format | None,
        typer.Option(help="What to print. \\[default: table; with --out by its ending, else jsonl]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write the rows into; run again to continue an interrupted one.")
    ] = None,
    spreadsheet: Annotated[
        bool, typer.Option(help="CSV for a spreadsheet: names and tags that would be formulas get an apostrophe.")
    ] = False,
    null: Annotated[bool, typer.Option("--null", "-0", help="The list on stdin has zero bytes between paths.")] = False,
    exclude: Exclude = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1, help="Skip pictures with more pixels; a JPEG may have twice as many. \\[default: 178956970]"
        ),
    ] = None,
    explain: Annotated[
        Path | None, typer.Option(help="Folder for pictures that show where each tag comes from.")
    ] = None,
    views: Views = None,
    device: Device = None,
    ray: Ray = None,
    quiet: Quiet = False,
) -> int:
    """Tag pictures with your own words or the model's vocabulary."""
    from tagprism.bundle.open_model import open_model, with_views
    from tagprism.images.decode import MAX_PIXELS
    from tagprism.images.picture_list import PictureList
    from tagprism.tagging.documents import DOCUMENTS, check_document
    from tagprism.tagging.tagger import Tagger

    format = format or _format_for(out)
    if out is not None and format == "table":
        raise InputError("a table is for the terminal.", where="--out", remedy="Use --format jsonl or csv.")
    if "" in paths:
        raise typer.BadParameter("a path is empty; write . for the current folder.")
    if format in DOCUMENTS:
        check_document(format)
    bundle = open_model(model, views=views, progress=console.progress(quiet))
    if explain is not None and bundle.views == 1:
        _ = bundle.places  # which says why there are none, before more is loaded
    tagger = Tagger(bundle)
    words = read_words(labels, tagger) if labels is not None else None
    min_score = None
    if top_k is None and min_probability is None:  # what is likely, where that is known and a person reads it
        top_k, min_probability = (None, _AT_LEAST) if format == "table" and tagger.calibrated else (_TOP_K, None)
        min_score = tagger.cut if format == "table" else None
    if tagger.own_calibration is not None:
        console.say(f"Probabilities are of your own calibration: {tagger.own_calibration}", quiet=quiet)
    if tagger.cut is not None:
        console.say(_NO_PROBABILITIES, quiet=quiet)
    elif not tagger.calibrated:
        console.say(_ONLY_RANK, quiet=quiet)
    if min_score is not None:
        console.say(f"Shown are at most {top_k} tags a picture, with a score of {min_score:g} or more.", quiet=quiet)
    if ray is not None and explain is not None:
        raise typer.BadParameter("--explain cannot be given with --ray.")
    listed = sys.stdin.buffer.read() if "-" in paths else b""
    pictures: PictureList | Listing
    if ray is None:
        pictures = PictureList(paths, listed, null=null, exclude=exclude or ())
    else:
        from tagprism.bulk.listing import Listing

        pictures = Listing(paths, listed, null=null, exclude=exclude or ())
    if left_out := str(pictures.report):
        console.say(f"left out: {left_out}", quiet=quiet)
    limits = top_k, min_probability, min_score, all_names, max_pixels or MAX_PIXELS
    job = TagJob(tagger, words, *limits, pictures, explain, quiet)
    rows = "csv for spreadsheets" if format == "csv" and spreadsheet else format
    with _cluster(ray) as processors:
        job = job._replace(processors=processors, model=with_views(model, views))
        skipped = print_rows(job, rows) if out is None else write_file(job, out, rows)
    console.say_not_read(pictures.report.not_read, quiet=quiet)
    console.say_device(quiet)
    if skipped:
        console.talk.print(f"{counted(skipped, 'picture')} skipped.")
    return console.SKIPPED if skipped else console.OK


def _cluster(ray: str | None) -> AbstractContextManager[int]:
    if ray is None:
        return nullcontext(0)
    from tagprism.bulk.cluster import cluster

    return cluster(ray)


def _format_for(out: Path | None) -> Format:
    if out is None:
        return "table"
    endings: dict[str, Format] = {".csv": "csv", ".parquet": "parquet"}
    endings |= dict.fromkeys(("", ".jsonl", ".ndjson", ".json"), "jsonl")
    return by_ending(out, endings)
