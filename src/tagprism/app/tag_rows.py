"""The rows of `tagprism tag`, and where they go: a terminal's table, stdout, or a file that a second run continues."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL
from tagprism.counted import counted
from tagprism.errors import InputError, PictureError

if TYPE_CHECKING:
    from tagprism.bulk.listing import Listing
    from tagprism.images.picture_list import PictureList
    from tagprism.tagging.documents import Document
    from tagprism.tagging.tag_file import RowFormat
    from tagprism.tagging.tagger import Tagger
    from tagprism.tagging.tags import ImageTags, Tag


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


def print_rows(job: TagJob, format: str) -> int:
    """Rows on stdout, and what was skipped on stderr, but for a table on a terminal, which has just said it.

    Returns:
        How many pictures were skipped.
    """
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


def _print_document(job: TagJob, format: Document) -> int:
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


def write_file(job: TagJob, out: Path, format: str) -> int:
    """Rows into a file, whole or to be continued; how many pictures were skipped."""
    from tagprism.tagging.documents import DOCUMENTS

    return _write_document(job, out, format) if format in DOCUMENTS else _write_rows(job, out, format, format)


def _write_document(job: TagJob, out: Path, format: Document) -> int:
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


def _write_rows(job: TagJob, out: Path, format: str, asked: str) -> int:
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
            kept = f"{file.part} holds {file.kept:,} of {counted(job.pictures.count, 'picture')}"
            raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
        file.finish()
        console.say(f"{counted(file.rows, 'picture')}: {out}", quiet=job.quiet or asked != format)
        return file.skipped


def _say_skipped(row: ImageTags, error: PictureError) -> None:
    console.say_skipped(os.fspath(row.path), error.message)


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
