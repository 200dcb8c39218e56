"""`tagprism tag`: its options, what is said of a model without probabilities, and its rows on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from rich.cells import cell_len
from rich.text import Text

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
from tagprism.counted import counted
from tagprism.errors import InputError

if TYPE_CHECKING:
    from tagprism.bulk.listing import Listing
    from tagprism.images.picture_list import PictureList
    from tagprism.tagging.tag_file import RowFormat
    from tagprism.tagging.tagger import Tagger
    from tagprism.tagging.tags import ImageTags, Tag

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
    from tagprism.bundle.bundle import open_model
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
        from tagprism.tagging.explain import places_of

        _ = places_of(bundle)  # which says why there are none, before more is loaded
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
    with ExitStack() as held:
        if ray is not None:
            from tagprism.bulk.cluster import cluster
            from tagprism.bundle.names import with_views

            job = job._replace(processors=held.enter_context(cluster(ray)), model=with_views(model, views))
        if out is None:
            skipped = _print_rows(job, rows)
        else:
            from tagprism.app.tag_to_file import write_file

            skipped = write_file(job, out, rows)
    console.say_not_read(pictures.report.not_read, quiet=quiet)
    console.say_device(quiet)
    if skipped:
        console.talk.print(f"{counted(skipped, 'picture')} skipped.")
    return console.SKIPPED if skipped else console.OK


def _format_for(out: Path | None) -> Format:
    if out is None:
        return "table"
    endings: dict[str, Format] = {".csv": "csv", ".parquet": "parquet"}
    endings |= dict.fromkeys(("", ".jsonl", ".ndjson", ".json"), "jsonl")
    return by_ending(out, endings)


class TagJob(NamedTuple):
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
            from tagprism.app.tag_on_cluster import rows_of_cluster

            return rows_of_cluster(self, self.pictures, done)
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


def _print_rows(job: TagJob, format: str) -> int:
    """Rows on stdout, and what was skipped on stderr, but for a table on a terminal, which has just said it.

    Returns:
        How many pictures were skipped.
    """
    from tagprism.tagging.documents import DOCUMENTS

    if format in DOCUMENTS:
        from tagprism.app.tag_to_file import print_document

        return print_document(job, format)
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
                    console.say_skipped(os.fspath(row.path), row.error.message)
            elif row.remark:
                console.say_remark(os.fspath(row.path), row.remark, quiet=job.quiet)
    except KeyboardInterrupt as stop:
        raise console.Interrupted("interrupted; with --out FILE a second run would continue.") from stop
    return skipped


class TagTable:
    """Pictures below their folder, each with its tags, as text for this terminal.

    Args:
        calibrated: whether tags carry probabilities, which are shown in place of the scores.
        at_least: the cut, named where a picture has no tag.
    """

    def __init__(self, *, calibrated: bool, at_least: float | None) -> None:
        self._calibrated, self._at_least = calibrated, at_least
        self._folder = ""
        self._left = max(20, console.data.width * 3 // 8)
        self._right = max(20, console.data.width - self._left - 2)

    @property
    def header(self) -> str:
        """Names of the columns."""
        number = "probability" if self._calibrated else "score"
        names = self._beside([Text("picture", "bold")], [Text(f"tags, each with its {number}", "bold")])
        return console.shown([*names, *self._beside([Text("─" * self._left, "dim")], [Text("─" * self._right, "dim")])])

    def row(self, row: ImageTags) -> str:
        """Lines of one picture, after its folder where that is another one."""
        if row.error is not None:
            right = self._wrapped(Text(f"{row.error.code}: {console.printable(row.error.message)}", "yellow"))
        elif row.tags:
            right = list(self._filled(row.tags))
        else:
            right = [Text(f"no tag above {self._at_least:g}" if self._at_least is not None else "no tag", "dim")]
        folder, name = os.path.split(os.fsdecode(row.path))
        shown = Text("  " + console.printable(name))
        if cell_len(shown.plain) > self._left:  # a name stays whole, to be copied: its tags begin on the next line
            lines = [shown, *self._beside([], right)]
        else:
            lines = self._beside([shown], right)
        if folder != self._folder:
            self._folder = folder
            lines.insert(0, Text(console.printable(folder) + "/", "bold blue"))
        return console.shown(lines)

    def _wrapped(self, text: Text) -> list[Text]:
        return list(text.wrap(console.data, self._right))

    def _filled(self, tags: Iterable[Tag]) -> Iterator[Text]:
        """Lines of tags that keep each number with its label."""
        line = Text()
        for tag in tags:
            number = tag.probability if tag.probability is not None else tag.score
            one = Text.assemble(console.printable(tag.label), (f" {number:.2f}", "cyan"))
            if line and cell_len(line.plain) + 2 + cell_len(one.plain) > self._right:
                yield from self._wrapped(line)
                line = Text()
            line.append("  " if line else "")
            line.append(one)
        yield from self._wrapped(line)

    def _beside(self, left: list[Text], right: list[Text]) -> list[Text]:
        lines = []
        for one, other in zip_longest(left, right):
            line = one.copy() if one else Text()
            if other:
                line.append(" " * (self._left + 2 - cell_len(line.plain)))
                line.append(other)
            line.rstrip()
            lines.append(line)
        return lines
