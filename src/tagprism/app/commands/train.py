"""`tagprism train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagprism.app import console
from tagprism.app.options import Data, Limit, Quiet, Sets, Split
from tagprism.errors import DoneAlreadyError, InputError

if TYPE_CHECKING:
    from tagprism.training.batches import Processes


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    data: Data = "",
    split: Split = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the RUN to write.")] = None,
    sets: Sets = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Further words that the bundle shall know, one a line, aliases after tabs.")
    ] = None,
    limit: Limit = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes on this machine, one per GPU.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines (see docs/scale.md).")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print every setting and stop.")] = False,
    quiet: Quiet = False,
) -> int:
    """Train a model and write it as a RUN with a bundle in it; run again to continue an interrupted one."""
    console.require_extra("train", "torch")
    from tagprism.datasets.registry import open_data
    from tagprism.labels.phrase_list import read_phrases
    from tagprism.training.batches import this_process
    from tagprism.training.processes import LostPeerError, launch
    from tagprism.training.recipe import load_recipe, recipe_toml
    from tagprism.training.train import train as train_run

    resolved = load_recipe(recipe, tuple(sets or ()))
    if print_config:
        console.write(recipe_toml(resolved))
        return console.OK
    if not data or out is None:
        raise InputError("name the pictures and the run.", remedy="Add --data tagged:DIR --split FILE#0 --out RUN")
    processes = this_process()
    if processes.count > 1:
        _check(processes, devices, nodes)
    elif (devices or 1) * (nodes or 1) > 1:
        return launch(devices or 1, nodes or 1)
    quiet = quiet or not processes.is_main
    try:
        words = read_phrases(vocabulary, console.say, as_written=True) if vocabulary is not None else None
        with processes.main_first("data"):
            table, chosen = open_data(data, split, console.progress(quiet))
        run = train_run(
            resolved,
            table,
            chosen,
            out,
            vocabulary=words,
            limit=limit,
            progress=console.progress(quiet),
            processes=processes,
        )
    except LostPeerError as error:
        if processes.launcher_tells:
            return error.exit_code
        raise
    except DoneAlreadyError as error:
        if not processes.is_main:  # which says so
            return error.exit_code
        raise
    if run.speed.images:
        speed = f"{run.speed.images_per_second:,.0f} images/s, {run.speed.data_wait:.0%} of the time waiting for data"
        console.say(f"trained: {speed}", quiet=quiet)
    if run.no_calibration and processes.is_main:
        console.say(f"no probabilities were fitted, so scores only rank: {run.no_calibration}", quiet=quiet)
    console.say(f"finished: {out}", quiet=quiet)
    return console.report_skipped((key, message) for key, (_, message) in sorted(run.skipped.items()))


def _check(processes: Processes, devices: int | None, nodes: int | None) -> None:
    """Whether torchrun or srun started what was asked for."""
    for option, asked, started in (("--devices", devices, processes.local_count), ("--nodes", nodes, processes.nodes)):
        if asked not in (None, started):
            raise InputError(f"is {asked}, but {started} were started.", where=option, remedy="Leave the option out.")
