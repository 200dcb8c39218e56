"""`tagprism undo`."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from tagprism.app import console
from tagprism.errors import NothingToDoError
from tagprism.keywords import journal


def undo(name: str | None, quiet: bool) -> int:
    """Take back a run; the exit code is 4 when files were left alone."""
    story, done, left = journal.undo(name, console.progress(quiet))
    console.say(f"run {story.path.stem} undone: {done} sidecar(s) put back.", quiet=quiet)
    return console.report_skipped(left, "sidecar")


def list_runs() -> int:
    """List the runs, the last one first."""
    table = Table("run", "started", "sidecars", "state")
    for story in journal.stories():
        state = "finished" if story.finished else "interrupted: run it again, or undo it"
        if story.undone is not None:
            state = f"undone, {story.undone} left alone" if story.undone else "undone"
        table.add_row(*map(escape, (story.path.stem, story.started, str(len(story.lines)), state)))
    if not table.row_count:
        raise NothingToDoError("no run has written keywords yet.")
    console.data.print(table)
    return console.OK
