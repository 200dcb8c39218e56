"""What was found as rows: JSON, CSV, paths. Knows neither terminal nor files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from tagprism.search.results import Found
from tagprism.tagging.csv_cells import csv_lines, csv_name

_FACTS = ("taken", "taken_from", "camera", "rating", "type", "gps")
_COLUMNS = ("path", "score", "likely", "labels", *_FACTS, "width", "height", "own", "tags")
OWN = {
    "jsonl": rb'\A\{"path": "(?:[^"\\\n]|\\.)*", "score": [^,\n]*, "likely": ',
    "csv": rb"\Apath,score,likely,labels,",
    "html": b'<meta name="generator" content="tagprism search">',
    "album": rb'\A\{\s*"tagprism_album": ',
    "parquet": rb"\APAR1(?=.*likely)(?=.*made_by..tagprism)",
}
"""Marks of what a search writes and `tag` does not (`exchange.refuse_foreign`); paths, COCO, FiftyOne and Label Studio
have none."""


def found_row(found: Found) -> dict[str, Any]:
    """A found picture as a line of JSONL has it."""
    picture = found.picture
    return {
        "path": picture.path,
        "score": found.score,
        "likely": found.likely,
        "labels": [
            {"label": tag.label, "match": match, "score": tag.score, "probability": tag.probability}
            for tag, match in zip(found.tags, found.label_matches, strict=True)
        ],
        "taken": picture.taken,
        "taken_from": picture.taken_from or None,
        "camera": picture.camera or None,
        "rating": picture.rating,
        "type": picture.kind or None,
        "gps": picture.location,
        "width": picture.width,
        "height": picture.height,
        "own": list(found.own),
        "tags": [{"label": label, "probability": probability} for label, probability in picture.tags],
    }


def found_csv(rows: Iterable[dict[str, Any]], *, spreadsheet: bool) -> str:
    """Rows as CSV with a header, a line a picture; several labels of a cell are apart by `; `."""
    lines: list[Sequence[str]] = []
    columns: tuple[str, ...] = _COLUMNS
    for row in rows:
        columns = (*_COLUMNS, *(name for name in ("group", "placed") if name in row))
        lines.append([_cell(name, row[name]) for name in columns])
    return csv_lines([columns, *lines], spreadsheet=spreadsheet)


def _cell(name: str, value: object) -> str:
    if name == "labels" and isinstance(value, list):
        return "; ".join(f"{tag['label']} {tag['match']:.4f}" for tag in value)
    if isinstance(value, tuple):  # degrees of latitude and longitude
        return ", ".join(f"{number:.6f}" for number in value)
    if isinstance(value, list):
        return "; ".join(tag if isinstance(tag, str) else str(tag["label"]) for tag in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else csv_name(value) if isinstance(value, str) else str(value)


def found_paths(found: Iterable[Found], *, null: bool) -> bytes:
    """Paths with their very bytes, each with a line's end or a zero byte after it."""
    return b"".join(os.fsencode(one.picture.path) + (b"\0" if null else b"\n") for one in found)
