"""The rows of `tagprism tag` as a whole document, and in a file that a second run of the same command continues."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tagprism.app import console
from tagprism.counted import counted
from tagprism.errors import InputError

if TYPE_CHECKING:
    from tagprism.app.commands.tag import TagJob
    from tagprism.tagging.documents import Document


def print_document(job: TagJob, format: Document) -> int:
    """Rows as one document on stdout; how many pictures were skipped."""
    from tagprism.tagging.documents import write_document
    from tagprism.tagging.tag_file import tag_row

    if format == "parquet" and console.on_terminal():
        raise InputError("Parquet is no text for a terminal.", remedy="Add --out FILE.parquet.")
    rows = []
    for row in job.rows():
        rows.append(tag_row(row))
        if row.error is not None:
            console.say_skipped(os.fspath(row.path), row.error.message)
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
                    console.say_skipped(os.fspath(row.path), row.error.message)
                elif row.remark:
                    console.say_remark(os.fspath(row.path), row.remark, quiet=job.quiet)
        except KeyboardInterrupt as stop:
            kept = f"{file.part} holds {file.kept:,} of {counted(job.pictures.count, 'picture')}"
            raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
        file.finish()
        console.say(f"{counted(file.rows, 'picture')}: {out}", quiet=job.quiet or asked != format)
        return file.skipped
