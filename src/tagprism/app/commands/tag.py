"""`tagprism tag`: tag pictures and print the rows, or write them into a file that a second run continues."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from rich.cells import cell_len
from rich.text import Text

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL, Model, Quiet
from tagprism.errors import InputError, PictureError

if TYPE_CHECKING:
    from tagprism.images.walk import PictureList
    from tagprism.tagging.tag_file import RowFormat
    from tagprism.tagging.tagger import Tagger
    from tagprism.tagging.tags import ImageTags, Tag

_TOP_K, _AT_LEAST = 10, 0.5
_NO_PROBABILITIES = (
    "This model is not calibrated, so it gives no probabilities. A score says how many standard deviations a word is "
    "above the mean of 1,000 common words in the same picture."
)


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
    format: Annotated[
        Literal["table", "jsonl", "csv"] | None,
        typer.Option(help="What to print. \\[default: table; with --out by its ending, else jsonl]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write the rows into; run again to continue an interrupted one.")
    ] = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="The list on stdin has zero bytes between paths.")] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1, help="Skip pictures with more pixels; a JPEG may have twice as many. \\[default: 178956970]"
        ),
    ] = None,
    explain: Annotated[
        Path | None, typer.Option(help="Folder for pictures that show where each tag comes from.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Tag pictures with your own words or the model's vocabulary."""
    from tagprism.images.decode import MAX_PIXELS
    from tagprism.images.walk import PictureList
    from tagprism.labels.phrase_list import read_phrases
    from tagprism.tagging.tagger import load

    format = format or _format_for(out)
    if out is not None and format == "table":
        raise InputError("a table is for the terminal.", where="--out", remedy="Use --format jsonl or csv.")
    tagger = load(model, progress=console.progress(quiet))
    words = read_phrases(labels) if labels is not None else None
    min_score = None
    if top_k is None and min_probability is None:  # what is likely, where that is known and a person reads it
        top_k, min_probability = (None, _AT_LEAST) if format == "table" and tagger.calibrated else (_TOP_K, None)
        min_score = tagger.cut if format == "table" else None
    if tagger.cut is not None:
        console.say(_NO_PROBABILITIES, quiet=quiet)
    if min_score is not None:
        console.say(f"Shown are at most {top_k} tags a picture, with a score of {min_score:g} or more.", quiet=quiet)
    pictures = PictureList(paths, sys.stdin.buffer.read() if "-" in paths else b"", null=null)
    job = _Job(tagger, words, top_k, min_probability, min_score, max_pixels or MAX_PIXELS, pictures, explain, quiet)
    skipped = _print(job, format) if out is None else _write_file(job, out, format)
    if skipped:
        console.talk.print(f"{skipped:,} picture(s) skipped.")
    return console.SKIPPED if skipped else console.OK


def _format_for(out: Path | None) -> Literal["table", "jsonl", "csv"]:
    if out is None:
        return "table"
    return "csv" if out.suffix.lower() == ".csv" else "jsonl"


class _Job(NamedTuple):
    """What is tagged, with which words, and how."""

    tagger: Tagger
    words: Mapping[str, tuple[str, ...]] | None
    top_k: int | None
    min_probability: float | None
    min_score: float | None
    max_pixels: int
    pictures: PictureList
    explain: Path | None
    quiet: bool

    def rows(self, done: int = 0) -> Iterator[ImageTags]:
        """The rows of the pictures after the first `done`; words that cannot be used are an error at once."""
        rows = self.tagger.tag_each(
            islice(self.pictures, done, None),
            self.words,
            self.top_k,
            self.min_probability,
            min_score=self.min_score,
            total=self.pictures.count - done,
            max_pixels=self.max_pixels,
            progress=console.progress(self.quiet),
        )
        if self.explain is None:
            return rows
        from tagprism.tagging.explain_output import explained

        given = self.pictures.named()
        return explained(rows, self.explain, self.tagger, self.words, given, max_pixels=self.max_pixels)


def _print(job: _Job, format: Literal["table", "jsonl", "csv"]) -> int:
    """Rows on stdout, and what was skipped on stderr, but for a table on a terminal, which has just said it."""
    says_itself = format == "table" and sys.stdout.isatty()
    started = job.rows()  # its errors come before the first line of output
    text: _Table | RowFormat
    if format == "table":
        calibrated = job.tagger.calibrated
        text = _Table(calibrated=calibrated, at_least=job.min_probability if calibrated else job.min_score)
    else:
        from tagprism.tagging.tag_file import FORMATS

        text = FORMATS[format]
    sys.stdout.write(text.header)
    skipped = 0
    try:
        for row in started:
            sys.stdout.write(text.row(row))
            sys.stdout.flush()  # whoever reads them through a pipe need not wait
            if row.error is not None:
                skipped += 1
                if not says_itself:
                    _say_skipped(row, row.error)
    except KeyboardInterrupt as stop:
        raise console.Interrupted("interrupted; with --out FILE a second run would continue.") from stop
    return skipped


def _write_file(job: _Job, out: Path, format: str) -> int:
    from tagprism.files import digest_json
    from tagprism.tagging.tag_file import FORMATS, TagFile

    command = {
        "model": job.tagger.bundle.digest,
        "words": "vocabulary" if job.words is None else digest_json(list(job.words.items())),
        "top-k": job.top_k,
        "min-probability": job.min_probability,
        "max-pixels": job.max_pixels,
        "format": format,
    }
    with TagFile(out, FORMATS[format], command, job.pictures) as file:
        if file.complete:
            console.say(f"{out} is complete: {file.rows:,} pictures", quiet=job.quiet)
            return file.skipped
        if file.rows:
            console.say(f"continuing after {file.rows:,} of {job.pictures.count:,} pictures", quiet=job.quiet)
        if file.skipped:
            console.say(f"{file.skipped:,} of them had been skipped; their rows say why", quiet=job.quiet)
        try:
            for row in job.rows(file.rows) if file.rows < job.pictures.count else ():
                file.write(row)
                if row.error is not None:
                    _say_skipped(row, row.error)
        except KeyboardInterrupt as stop:
            kept = f"{file.saved:,} of {job.pictures.count:,} pictures are in {file.part}"
            raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
        file.finish()
        console.say(f"{file.rows:,} pictures: {out}", quiet=job.quiet)
        return file.skipped


def _say_skipped(row: ImageTags, error: PictureError) -> None:
    console.say_skipped(os.fspath(row.path), error.message)


class _Table:
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
        return _styled([*names, *self._beside([Text("─" * self._left, "dim")], [Text("─" * self._right, "dim")])])

    def row(self, row: ImageTags) -> str:
        """Lines of one picture, after its folder where that is another one."""
        if row.error is not None:
            right = self._wrapped(Text(f"{row.error.code}: {console.printable(row.error.message)}", "yellow"))
        elif row.tags:
            right = list(self._filled(row.tags))
        else:
            right = [Text(f"no tag above {self._at_least:g}" if self._at_least is not None else "no tag", "dim")]
        folder, name = os.path.split(os.fsdecode(row.path))
        shown = Text(console.printable(name)).wrap(console.data, self._left - 2)
        lines = self._beside([Text("  ").append(line) for line in shown], right)
        if folder != self._folder:
            self._folder = folder
            lines.insert(0, Text(console.printable(folder) + "/", "bold blue"))
        return _styled(lines)

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


def _styled(lines: Iterable[Text]) -> str:
    with console.data.capture() as captured:
        for line in lines:
            console.data.print(line, soft_wrap=True)
    return captured.get()
