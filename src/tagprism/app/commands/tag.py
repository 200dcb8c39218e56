"""`tagprism tag`: tag pictures and print the rows, or write them into a file that a second run continues."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

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
    say_device,
)
from tagprism.app.tag_table import TagTable
from tagprism.counted import counted
from tagprism.errors import InputError, PictureError

if TYPE_CHECKING:
    from tagprism.bulk.listing import Listing
    from tagprism.images.picture_list import PictureList
    from tagprism.tagging.documents import Document
    from tagprism.tagging.tag_file import RowFormat
    from tagprism.tagging.tagger import Tagger
    from tagprism.tagging.tags import ImageTags

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
    job = _Job(tagger, words, *limits, pictures, explain, quiet)
    rows = "csv for spreadsheets" if format == "csv" and spreadsheet else format
    with _cluster(ray) as processors:
        job = job._replace(processors=processors, model=with_views(model, views))
        skipped = _print(job, rows) if out is None else _write_file(job, out, rows)
    console.say_not_read(pictures.report.not_read, quiet=quiet)
    say_device(quiet)
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


class _Job(NamedTuple):
    """What is tagged, with which words, and how."""

    tagger: Tagger
    words: Mapping[str, tuple[str, ...]] | None
    top_k: int | None
    min_probability: float | None
    min_score: float | None
    all_names: bool
    max_pixels: int
    pictures: PictureList | Listing
    explain: Path | None
    quiet: bool
    processors: int = 0
    model: str = DEFAULT_MODEL

    def rows(self, done: int = 0) -> Iterator[ImageTags]:
        """The rows of the pictures after the first `done`; words that cannot be used are an error at once."""
        from tagprism.images.picture_list import PictureList

        if not isinstance(self.pictures, PictureList):
            return self._rows_of_cluster(self.pictures, done)
        rows = self.tagger.tag_each(
            islice(self.pictures, done, None),
            self.words,
            self.top_k,
            self.min_probability,
            min_score=self.min_score,
            all_names=self.all_names,
            total=self.pictures.count - done,
            max_pixels=self.max_pixels,
            progress=console.progress(self.quiet),
        )
        if self.explain is None:
            return rows
        from tagprism.tagging.explain_output import explained

        given = self.pictures.named()
        return explained(rows, self.explain, self.tagger, self.words, given, max_pixels=self.max_pixels)

    def _rows_of_cluster(self, pictures: Listing, done: int) -> Iterator[ImageTags]:
        from tagprism.bulk.tags import Tagging, tag_on_cluster
        from tagprism.bundle.open_model import lasting_name

        limits = self.top_k, self.min_probability
        self.tagger.tag_each((), self.words, *limits)  # which says what cannot be done before a cluster tries
        bundle = self.tagger.bundle
        name = lasting_name(self.model, bundle.path)
        return tag_on_cluster(
            Tagging(name, bundle.digest, self.words, *limits, self.min_score, self.max_pixels),
            islice(pictures.items(), done, None),
            self.processors,
            total=pictures.count - done,
            progress=console.progress(self.quiet),
        )


def _print(job: _Job, format: str) -> int:
    """Rows on stdout, and what was skipped on stderr, but for a table on a terminal, which has just said it."""
    from tagprism.tagging.documents import DOCUMENTS

    if format in DOCUMENTS:
        return _print_document(job, format)
    says_itself = format == "table" and console.on_terminal()
    started = job.rows()  # its errors come before the first line of output
    text: TagTable | RowFormat
    if format == "table":
        calibrated = job.tagger.calibrated
        text = TagTable(calibrated=calibrated, at_least=job.min_probability if calibrated else job.min_score)
    else:
        from tagprism.tagging.tag_file import FORMATS

        text = FORMATS[format]
    console.write(text.header)
    skipped = 0
    try:
        for row in started:
            console.write(text.row(row))
            console.flush()  # whoever reads them through a pipe need not wait
            if row.error is not None:
                skipped += 1
                if not says_itself:
                    _say_skipped(row, row.error)
            elif row.remark:
                console.say_remark(os.fspath(row.path), row.remark, quiet=job.quiet)
    except KeyboardInterrupt as stop:
        raise console.Interrupted("interrupted; with --out FILE a second run would continue.") from stop
    return skipped


def _print_document(job: _Job, format: Document) -> int:
    from tagprism.tagging.documents import write_document
    from tagprism.tagging.tag_file import tag_row

    if format == "parquet" and console.on_terminal():
        raise InputError("Parquet is no text for a terminal.", remedy="Add --out FILE.parquet.")
    rows = []
    for row in job.rows():
        rows.append(tag_row(row))
        if row.error is not None:
            _say_skipped(row, row.error)
    document = io.BytesIO()
    write_document(format, rows, document, job.tagger.bundle.path.name)
    console.write_bytes(document.getvalue())
    return sum("error" in row for row in rows)


def _write_file(job: _Job, out: Path, format: str) -> int:
    from tagprism.tagging.documents import DOCUMENTS

    return _write_document(job, out, format) if format in DOCUMENTS else _write_rows(job, out, format, format)


def _write_document(job: _Job, out: Path, format: Document) -> int:
    """A document by way of rows beside it, which a second run continues and which show that it is ours."""
    from tagprism.files import replaced_whole
    from tagprism.tagging.documents import write_document

    rows = out.with_name(f".{out.name}.rows.jsonl")
    was_ours = rows.exists()
    if out.exists() and not was_ours:
        raise InputError("is there already, and not by this command.", where=str(out), remedy="Name another file.")
    skipped = _write_rows(job, rows, "jsonl", format)
    if out.exists():
        console.say(f"{out} is complete", quiet=job.quiet)
        return skipped
    with rows.open("rb") as lines, replaced_whole(out) as beside, beside.open("xb") as file:
        write_document(format, (json.loads(line) for line in lines), file, job.tagger.bundle.path.name)
    console.say(f"{out} is written; {rows.name} beside it lets the same command go on", quiet=job.quiet)
    return skipped


def _write_rows(job: _Job, out: Path, format: str, asked: str) -> int:
    from tagprism.files import digest_json
    from tagprism.tagging.tag_file import FORMATS, TagFile

    command = {
        "model": job.tagger.digest,
        "words": "vocabulary" if job.words is None else digest_json(list(job.words.items())),
        "top-k": job.top_k,
        "min-probability": job.min_probability,
        "all-names": job.all_names,
        "max-pixels": job.max_pixels,
        "format": asked,
    }
    with TagFile(out, FORMATS[format], command, job.pictures) as file:
        if file.complete:
            console.say(f"{out} is complete: {counted(file.rows, 'picture')}", quiet=job.quiet or asked != format)
            return file.skipped
        if file.rows:
            console.say(f"continuing after {file.rows:,} of {counted(job.pictures.count, 'picture')}", quiet=job.quiet)
        if file.skipped:
            console.say(f"{file.skipped:,} of them had been skipped; their rows say why", quiet=job.quiet)
        try:
            for row in job.rows(file.rows) if file.rows < job.pictures.count else ():
                file.write(row)
                if row.error is not None:
                    _say_skipped(row, row.error)
                elif row.remark:
                    console.say_remark(os.fspath(row.path), row.remark, quiet=job.quiet)
        except KeyboardInterrupt as stop:
            kept = f"{file.part} holds {file.saved:,} of {counted(job.pictures.count, 'picture')}"
            raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
        file.finish()
        console.say(f"{counted(file.rows, 'picture')}: {out}", quiet=job.quiet or asked != format)
        return file.skipped


def _say_skipped(row: ImageTags, error: PictureError) -> None:
    console.say_skipped(os.fspath(row.path), error.message)
