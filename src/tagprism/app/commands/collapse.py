"""`tagprism doctor --bundle`: whether a model's principal vectors do different things on a collection of pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.table import Table

from tagprism.app import console
from tagprism.datasets.registry import default_split, open_dataset
from tagprism.datasets.splits import load_split
from tagprism.errors import InputError, NothingToDoError, PictureError
from tagprism.images.walk import find_pictures
from tagprism.tagging.collapse import CLOSE_COSINE, COLLAPSED_GAIN, DEAD_SHARE, Collapse, CollapseMeter
from tagprism.tagging.tagger import load

_QUANTILES = (5, 50, 95)
_WORDS = {
    "single": "It has a single vector: there is nothing to collapse.",
    "collapsed": f"Collapsed: the vectors of a picture point the same way (mean cosine at least {CLOSE_COSINE}) and "
    f"give the same scores (mean gain below {COLLAPSED_GAIN}). It is a single vector in all but name.",
    "close": f"Close: the vectors of a picture point nearly the same way (mean cosine at least {CLOSE_COSINE}), but "
    f"what they differ in decides its tags (mean gain at least {COLLAPSED_GAIN}).",
    "diverse": f"Diverse: the vectors of a picture point in different directions (mean cosine below {CLOSE_COSINE}).",
}


def collapse(
    bundle: str,
    photos: list[Path],
    data: str | None,
    split: str | None,
    limit: int | None,
    format: Literal["table", "json"],
    quiet: bool,
) -> int:
    """Measure and print; the exit code is 4 when pictures were skipped."""
    tagger = load(bundle)
    files = _files(photos, data, split)[:limit]
    meter = CollapseMeter(tagger.vocabulary.vectors)
    skipped = []
    for place, outcome, _ in tagger.matrices(files, progress=console.progress(quiet)):
        if isinstance(outcome, PictureError):
            skipped.append((str(files[place]), outcome.message))
        else:
            meter.add(outcome[None])
    if len(skipped) == len(files):
        raise InputError(f"none of {len(files)} pictures can be used. The first: {skipped[0][0]}: {skipped[0][1]}")
    result = to_json(meter.result()) | {"bundle": tagger.bundle.digest, "labels": len(tagger.vocabulary.names)}
    if format == "json":
        json.dump(result, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        _print(result)
    return console.report_skipped(skipped)


def _files(photos: list[Path], data: str | None, split: str | None) -> list[Path]:
    """The pictures that were named: files and folders, or the test pictures of a data set (all, without a split)."""
    if bool(photos) == bool(data):
        raise InputError("the pictures to measure on are missing or given twice.", remedy="Name PHOTOS or --data.")
    if data is None:
        if not (files := find_pictures(photos)):
            raise NothingToDoError("there are no pictures.", where=", ".join(map(str, photos)))
        return files
    table = open_dataset(data)
    chosen = load_split(split, table) if split is not None else default_split(data, table)
    rows = range(len(table.files)) if chosen is None else table.rows_of(chosen.test)
    return [table.files[int(row)] for row in rows]


def to_json(found: Collapse) -> dict[str, Any]:
    """The measurement as in docs/explain.md."""
    single = len(found.wins) == 1
    return {
        "pictures": len(found.effective_rank),
        "vectors": len(found.wins),
        "effective_rank": _spread(found.effective_rank),
        "cosine": None if single else _spread(found.cosine),
        "gain": _spread(found.gain),
        "wins": found.wins.round(4).tolist(),
        "top_wins": found.top_wins.round(4).tolist(),
        "dead": found.dead,
        "verdict": found.verdict,
        "thresholds": {
            "close_cosine": CLOSE_COSINE,
            "collapsed_gain": COLLAPSED_GAIN,
            "dead_part_of_even_share": DEAD_SHARE,
        },
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    quantiles = {
        f"p{q:02d}": float(value) for q, value in zip(_QUANTILES, np.percentile(values, _QUANTILES), strict=True)
    }
    return {name: round(value, 4) for name, value in {"mean": float(values.mean()), **quantiles}.items()}


def _print(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['vectors']} principal vectors on {result['pictures']:,} pictures")
    for heading in ("", "mean", *(f"{q} %" for q in _QUANTILES)):
        table.add_column(heading, justify="right" if heading else "left")
    for name, title in (
        ("effective_rank", "effective rank"),
        ("cosine", "cosine of two vectors"),
        ("gain", "gain by the winner"),
    ):
        if result[name] is not None:
            table.add_row(title, *(f"{value:.2f}" for value in result[name].values()))
    console.data.print(table)
    wins = Table()
    for heading in ("vector", "wins of all labels", "wins of the ten best"):
        wins.add_column(heading, justify="right")
    for m, (share, top_share) in enumerate(zip(result["wins"], result["top_wins"], strict=True)):
        wins.add_row(str(m), f"{share:.1%}", f"{top_share:.1%}", style="dim" if m in result["dead"] else None)
    console.data.print(wins)
    console.data.print(_WORDS[result["verdict"]], soft_wrap=True)
    if result["dead"]:
        dead = ", ".join(map(str, result["dead"]))
        console.data.print(f"Dead: {dead} (less than {DEAD_SHARE} of an even share of the wins).", soft_wrap=True)
