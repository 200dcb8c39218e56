"""The way back from a run that changed people's files. Knows bytes and paths, not what is in them.

A file is put back when it holds what the run wrote, and left alone when it holds what it had before (already back, or
never written) or anything else (changed since). So undoing can be interrupted and called again at any time; a file that
the machine refuses to put back keeps its run to be undone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from tagprism.errors import InputError, MachineError, NothingToDoError, PictureError
from tagprism.exchange import current_digest, exchange, rescue
from tagprism.files import digest_bytes, disk_is_full, locked, machine_errors
from tagprism.keywords.journal import LOCK, Entry, RecordedRun, journal_folder, journals, now, sweep
from tagprism.progress import Progress, silent
from tagprism.rename import sync_folder


class Undone(NamedTuple):
    """What became of the files of a run that was undone.

    Args:
        run: as its journal had it before.
        restored: how many files are as they were before the run.
        left: those left alone, each with the reason.
        removed: how many of the restored ones are gone, as the run had made them.
    """

    run: RecordedRun
    restored: int
    left: list[tuple[str, str]]
    removed: int

    @property
    def refused(self) -> int:
        """How many of those left alone the machine refused to put back: the run is still to be undone."""
        return RecordedRun.read(self.run.path).waiting


def undo(name: str | None = None, progress: Progress = silent) -> Undone:
    """Put the files of a run back, byte for byte and with their times of change, and remove those it made.

    A file that someone changed or removed since is left alone for good; one that the run made and that is gone is as it
    was before. A file that the machine refuses to put back
    (permission, a disk that is not there) keeps the run to be undone: the next call tries it again.

    Args:
        name: a journal's name, the stem of `RecordedRun.path`, or its path; None for the last run not undone yet.
        progress: told of every file.

    Raises:
        NothingToDoError: there is no run to undo.
        InputError: no such journal, or damaged.
        MachineError: disk full, permission, or the run is still going on.
    """
    path = _find(name)
    with locked(path.with_suffix(LOCK)) as held, path.open("r+b") as file:
        if not held:
            raise MachineError("is in use.", where=str(path), remedy="Wait until the other tagprism has finished.")
        run = RecordedRun.read(path)
        restored, removed, refused, left, folders = 0, 0, 0, [], set()
        with progress("undoing", len(run.lines)) as advance:
            for entry in run.entries():
                try:
                    with machine_errors(entry.path):
                        if _put_back(entry):
                            restored += 1
                            removed += entry.before is None
                            folders.add(entry.path.parent)
                except PictureError as error:
                    left.append((os.fsdecode(entry.path), error.message))
                except MachineError as error:
                    if disk_is_full(error):
                        raise
                    refused += 1
                    left.append((os.fsdecode(entry.path), error.what))
                advance(1)
        with machine_errors(path):
            for folder in folders:
                sync_folder(folder)
            file.seek(run.size)
            file.truncate()
            note = {"tried": now(), "refused": refused} if refused else {"undone": now(), "left": len(left)}
            file.write(json.dumps(note).encode("ascii") + b"\n")
    return Undone(run, restored, left, removed)


def _put_back(entry: Entry) -> bool:
    """Whether the file had to be put back; False when it already holds what it had."""
    folder, undoing = entry.path.parent, f"{entry.part}.undo"
    if not folder.is_dir() or (entry.mount and not folder.is_mount()):
        remedy = "Connect the disk, or move the folder back, and undo again."
        raise MachineError("its folder is not there; is its disk connected?", where=str(folder), remedy=remedy)
    sweep(entry)
    rescue(entry.path, folder / undoing, entry.after, entry.digest)
    there, before = current_digest(entry.path), entry.before
    if there == entry.digest:
        return False
    if there == entry.after:
        if before is not None and entry.tail:
            before += entry.path.read_bytes()[-entry.tail :]
        unchanged = before is None or digest_bytes(before) == entry.digest  # not since the look before
        if unchanged and exchange(entry.path, before, expected=there, part=folder / undoing, mtime_ns=entry.mtime_ns):
            return True
    reason = "It is no longer there." if there is None else "It was changed since."
    raise PictureError("sidecar", reason, where=os.fsdecode(entry.path))


def _find(name: str | None) -> Path:
    if name is None:
        for path in journals():
            if RecordedRun.read(path).undone is None:
                return path
        raise NothingToDoError("there is no run to undo.", where=str(journal_folder()))
    for path in (journal_folder() / f"{name}.jsonl", Path(name)):
        if path.is_file():
            return path
    raise InputError(f"there is no journal `{name}`.", remedy="`tagprism undo --list` shows them.")
