"""`tagprism tag`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from tagprism.app import console
from tagprism.app.continued_file import ContinuedFile, finished
from tagprism.app.path_arguments import Inputs
from tagprism.app.tag_output import FORMATS, TagTable
from tagprism.errors import InputError, PictureError
from tagprism.files import digest_json
from tagprism.images.decode import MAX_PIXELS
from tagprism.images.stream import BATCH
from tagprism.labels.phrase_list import read_phrases
from tagprism.tagging.explain_output import explained
from tagprism.tagging.tagger import Tagger, load
from tagprism.tagging.tags import ImageTags

_TOP_K, _AT_LEAST = 10, 0.5


class Cut(NamedTuple):
    """How many tags a picture gets; None where nobody said.

    Args:
        top_k: at most so many.
        min_probability: none of a lower probability.
    """

    top_k: int | None
    min_probability: float | None

    def filled_in(self, *, table: bool, calibrated: bool) -> Cut:
        """Where nothing is said: what is likely, in a table of a calibrated bundle, else the ten best."""
        if self != (None, None):
            return self
        return Cut(None, _AT_LEAST) if table and calibrated else Cut(_TOP_K, None)


def tag(
    paths: list[str],
    model: str,
    labels: Path | None,
    cut: Cut,
    format: Literal["table", "jsonl", "csv"] | None,
    out: Path | None,
    null: bool,
    max_pixels: int | None,
    explain: Path | None,
    quiet: bool,
) -> int:
    """Tag and print; the exit code is 4 when pictures were skipped."""
    format = format or _format_for(out)
    if out is not None and format == "table":
        raise InputError("a table is for the terminal.", where="--out", remedy="Use --format jsonl or csv.")
    tagger = load(model)
    words = read_phrases(labels) if labels is not None else None
    cut = cut.filled_in(table=format == "table", calibrated=tagger.calibrated)
    job = _Job(tagger, words, cut, max_pixels or MAX_PIXELS, Inputs(paths, null=null), explain, quiet)
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
    cut: Cut
    max_pixels: int
    inputs: Inputs
    explain: Path | None
    quiet: bool

    def rows(self, done: int = 0) -> Iterator[ImageTags]:
        """The rows of the pictures after the first `done`; words that cannot be used are an error at once."""
        rows = self.tagger.tag_each(
            islice(self.inputs, done, None),
            self.words,
            self.cut.top_k,
            self.cut.min_probability,
            total=self.inputs.count - done,
            max_pixels=self.max_pixels,
            progress=console.progress(self.quiet),
        )
        if self.explain is None:
            return rows
        given = self.inputs.named()
        return explained(rows, self.explain, self.tagger, self.words, given, max_pixels=self.max_pixels)

    def command(self, format: str) -> dict[str, object]:
        """All that the rows depend on but the pictures."""
        return {
            "model": self.tagger.bundle.digest,
            "words": "vocabulary" if self.words is None else digest_json(list(self.words.items())),
            "top-k": self.cut.top_k,
            "min-probability": self.cut.min_probability,
            "max-pixels": self.max_pixels,
            "format": format,
        }


def _print(job: _Job, format: Literal["table", "jsonl", "csv"]) -> int:
    """Rows on stdout, and what was skipped on stderr, but for a table on a terminal, which has just said it."""
    says_itself = format == "table" and sys.stdout.isatty()
    rows = _without_file(job)
    shown = TagTable(calibrated=job.tagger.calibrated, at_least=job.cut.min_probability)
    text = shown if format == "table" else FORMATS[format]
    sys.stdout.write(text.header)
    skipped = 0
    for row in rows:
        sys.stdout.write(text.row(row))
        sys.stdout.flush()  # whoever reads them through a pipe need not wait
        if row.error is not None:
            skipped += 1
            if not says_itself:
                _say_skipped(row, row.error)
    return skipped


def _without_file(job: _Job) -> Iterable[ImageTags]:
    started = job.rows()  # not in the generator: its errors come before the first line of output

    def rows() -> Iterator[ImageTags]:
        try:
            yield from started
        except KeyboardInterrupt as stop:
            raise console.Interrupted("interrupted; with --out FILE a second run would continue.") from stop

    return rows()


def _write_file(job: _Job, out: Path, kind: str) -> int:
    format, command = FORMATS[kind], job.command(kind)
    if whole := finished(out, command, job.inputs):
        console.say(f"{out} is complete: {whole.rows:,} pictures", quiet=job.quiet)
        return whole.skipped
    with ContinuedFile(out, command, format.header.encode(), step=BATCH) as file:
        done = file.resume(job.inputs)
        if done:
            console.say(f"continuing after {done:,} of {job.inputs.count:,} pictures", quiet=job.quiet)
        if file.skipped:
            console.say(f"{file.skipped:,} of them had been skipped; their rows say why", quiet=job.quiet)
        try:
            for row in job.rows(done) if done < job.inputs.count else ():
                file.write(row.path, format.row(row).encode(), skipped=row.error is not None)
                if row.error is not None:
                    _say_skipped(row, row.error)
        except KeyboardInterrupt as stop:
            kept = f"{file.saved:,} of {job.inputs.count:,} pictures are in {file.part}"
            raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
        file.finish()
        console.say(f"{file.rows:,} pictures: {out}", quiet=job.quiet)
        return file.skipped


def _say_skipped(row: ImageTags, error: PictureError) -> None:
    console.say_skipped(os.fspath(row.path), error.message)
