"""`tagprism tag`."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from tagprism.app import console
from tagprism.errors import NothingToDoError
from tagprism.images.decode import MAX_PIXELS
from tagprism.images.walk import find_pictures
from tagprism.labels.phrase_list import read_phrases
from tagprism.tagging.tagger import ImageTags, load


def tag(
    paths: list[Path],
    model: str,
    labels: Path | None,
    top_k: int | None,
    min_probability: float | None,
    format: Literal["table", "jsonl", "csv"],
    max_pixels: int | None,
    quiet: bool,
) -> int:
    """Tag and print; the exit code is 4 when pictures were skipped."""
    tagger = load(model)
    words = read_phrases(labels) if labels is not None else None
    files = find_pictures(paths)
    if not files:
        raise NothingToDoError("there are no pictures.", where=", ".join(map(str, paths)))
    rows = tagger.tag_each(
        files,
        words,
        top_k,
        min_probability,
        max_pixels=max_pixels or MAX_PIXELS,
        progress=console.progress(quiet),
    )
    errors: list[tuple[str, str]] = []
    _WRITERS[format](_noting_errors(rows, errors))
    return console.report_skipped(errors)


def _noting_errors(rows: Iterable[ImageTags], errors: list[tuple[str, str]]) -> Iterable[ImageTags]:
    for row in rows:
        if row.error is not None:
            errors.append((os.fspath(row.path), row.error.message))
        yield row


def _write_jsonl(rows: Iterable[ImageTags]) -> None:
    for row in rows:
        sys.stdout.write(json.dumps(_json(row)) + "\n")  # ASCII: any bytes in a name survive


def _json(row: ImageTags) -> dict[str, Any]:
    path = os.fsdecode(row.path)
    if row.error is not None:
        return {"path": path, "error": {"code": row.error.code, "message": row.error.message}}
    tags = [{"label": t.label, "score": t.score, "probability": t.probability, "vector": t.vector} for t in row.tags]
    return {"path": path, "tags": tags}


def _write_csv(rows: Iterable[ImageTags]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "label", "score", "probability", "vector", "error"])
    for row in rows:
        path = os.fsencode(row.path).decode("utf-8", "backslashreplace")
        if row.error is not None:
            writer.writerow([path, "", "", "", "", row.error.code])
        for t in row.tags:
            probability = "" if t.probability is None else f"{t.probability:.4f}"
            writer.writerow([path, t.label, f"{t.score:.4f}", probability, t.vector, ""])


def _write_table(rows: Iterable[ImageTags]) -> None:
    table = Table()
    table.add_column("picture", overflow="fold")
    table.add_column("tags (score)")
    for row in rows:
        path = os.fsencode(row.path).decode("utf-8", "backslashreplace")
        shown = row.error.message if row.error else ", ".join(f"{t.label} ({t.score:.2f})" for t in row.tags)
        table.add_row(escape(path), escape(shown))
    console.data.print(table)


_WRITERS = {"jsonl": _write_jsonl, "csv": _write_csv, "table": _write_table}
