"""`tagprism undo`."""

from __future__ import annotations

from typing import Annotated

import typer

from tagprism.app import console
from tagprism.app.options import Quiet
from tagprism.errors import NothingToDoError


def undo(
    journal: Annotated[str | None, typer.Argument(help="Name of a run, as --list shows it; else the last one.")] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs that wrote keywords.")] = False,
    quiet: Quiet = False,
) -> int:
    """Take back a run of `keywords write`: every sidecar gets its bytes back, new ones are removed."""
    from tagprism.keywords.journal import undo

    if list_runs:
        return _list_runs()
    run, restored, left = undo(journal, console.progress(quiet))
    console.say(f"run {run.path.stem} undone: {restored} sidecar(s) put back.", quiet=quiet)
    return console.report_skipped(left, "sidecar")


def _list_runs() -> int:
    """List the runs, the last one first."""
    from rich.table import Table

    from tagprism.keywords.journal import recorded_runs

    table = Table("run", "started", "sidecars", "state")
    for run in recorded_runs():
        state = "finished" if run.finished else "interrupted: run it again, or undo it"
        if run.undone is not None:
            state = f"undone, {run.undone} left alone" if run.undone else "undone"
        table.add_row(run.path.stem, run.started, str(len(run.lines)), state)
    if not table.row_count:
        raise NothingToDoError("no run has written keywords yet.")
    console.data.print(table)
    return console.OK
