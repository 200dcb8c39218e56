"""`tagprism undo`."""

from __future__ import annotations

from typing import Annotated

import typer

from tagprism.app import console
from tagprism.app.options import Quiet
from tagprism.counted import counted
from tagprism.errors import NothingToDoError


def undo(
    journal: Annotated[str | None, typer.Argument(help="Name of a run, as --list shows it; else the last one.")] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs that wrote keywords.")] = False,
    quiet: Quiet = False,
) -> int:
    """Take back a run of `keywords write`: every file gets its bytes back, new sidecars are removed."""
    from tagprism.keywords.undo import undo

    if list_runs:
        return _list_runs()
    done = undo(journal, console.progress(quiet))
    name, what = done.run.path.stem, "photo" if done.run.command.get("embed") else "sidecar"
    back, new = counted(done.restored - done.removed, what), counted(done.removed, f"new {what}")
    did = f"{new} removed" if done.removed == done.restored > 0 else f"{back} put back"
    did += f", {new} removed" if 0 < done.removed < done.restored else ""
    if done.refused:
        console.say(f"run {name}: {did}, {done.refused:,} to go: mend that, and undo again.")
    else:
        console.say(f"run {name} undone: {did}.", quiet=quiet)
    code = console.report_skipped(done.left, what)
    return console.REFUSED if done.refused else code


def _list_runs() -> int:
    """List the runs, the last one first."""
    from rich.table import Table

    from tagprism.keywords.journal import recorded_runs

    table = Table("run", "started", "files", "state")
    table.columns[0].no_wrap = True  # it is to be copied
    for run in recorded_runs():
        state = "finished" if run.finished else "interrupted: run it again, or undo it"
        if run.waiting:
            state = f"undone in part, {run.waiting} to go: undo it again"
        elif run.undone is not None:
            state = f"undone, {run.undone} left alone" if run.undone else "undone"
        table.add_row(run.path.stem, run.started, str(len(run.lines)), state)
    if not table.row_count:
        raise NothingToDoError("no run has written keywords yet.")
    console.show(table)
    return console.OK
