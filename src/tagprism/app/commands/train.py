"""`tagprism train`."""

from __future__ import annotations

import sys
from pathlib import Path

from tagprism.app import console
from tagprism.app.open_data import open_data
from tagprism.errors import InputError
from tagprism.labels.phrase_list import read_phrases
from tagprism.training.processes import LostPeerError, Processes, launch, this_process
from tagprism.training.recipe import Recipe, load_recipe
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
    devices: int | None,
    nodes: int | None,
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
    processes = this_process()
    if processes.count > 1:
        _check(processes, devices, nodes)
    elif (devices or 1) * (nodes or 1) > 1:
        return launch(devices or 1, nodes or 1)
    try:
        words = read_phrases(vocabulary) if vocabulary is not None else None
        return _train(processes, resolved, data, split, out, words, limit, quiet or not processes.is_main)
    except LostPeerError as error:
        if processes.launcher_tells:
            return error.exit_code
        raise


def _train(
    processes: Processes,
    recipe: Recipe,
    data: str,
    split: str | None,
    out: Path,
    words: dict[str, tuple[str, ...]] | None,
    limit: int | None,
    quiet: bool,
) -> int:
    with processes.main_first("data"):
        table, chosen = open_data(data, split)
    progress = console.progress(quiet)
    done = train_run(recipe, table, chosen, out, vocabulary=words, limit=limit, progress=progress, processes=processes)
    if done.speed.images:
        speed = f"{done.speed.images_per_second:,.0f} images/s, {done.speed.data_wait:.0%} of the time waiting for data"
        console.say(f"trained: {speed}", quiet=quiet)
    console.say(f"finished: {out}", quiet=quiet)
    return console.report_skipped((key, message) for key, (_, message) in sorted(done.skipped.items()))


def _check(processes: Processes, devices: int | None, nodes: int | None) -> None:
    """Whether torchrun or srun started what was asked for."""
    for option, asked, started in (("--devices", devices, processes.local_count), ("--nodes", nodes, processes.nodes)):
        if asked not in (None, started):
            raise InputError(f"is {asked}, but {started} were started.", where=option, remedy="Leave the option out.")
