"""`tagprism train`."""

from __future__ import annotations

import sys
from pathlib import Path

from tagprism.app import console
from tagprism.app.open_data import open_data
from tagprism.errors import InputError
from tagprism.labels.phrase_list import read_phrases
from tagprism.training.recipe import load_recipe
from tagprism.training.train import recipe_toml
from tagprism.training.train import train as train_run


def train(
    recipe: Path,
    data: str,
    split: str | None,
    out: Path | None,
    sets: tuple[str, ...],
    vocabulary: Path | None,
    limit: int | None,
    print_config: bool,
    quiet: bool,
) -> int:
    """Train, or print the resolved recipe; the exit code is 4 when pictures were skipped."""
    resolved = load_recipe(recipe, sets)
    if print_config:
        sys.stdout.write(recipe_toml(resolved))
        return console.OK
    if not data or out is None:
        raise InputError("name the pictures and the run.", remedy="Add --data tagged:DIR --split FILE#0 --out RUN")
    table, chosen = open_data(data, split)
    words = read_phrases(vocabulary) if vocabulary is not None else None
    progress = console.progress(quiet)
    skipped = train_run(resolved, table, chosen, out, vocabulary=words, limit=limit, progress=progress)
    console.say(f"finished: {out}", quiet=quiet)
    return console.report_skipped((key, message) for key, (_, message) in sorted(skipped.items()))
