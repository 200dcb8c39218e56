"""The journal of a run that changes people's files, and the way back. Knows bytes and paths, not what is in them.

A journal is a file of JSON lines: what was asked; for each file the bytes it had and the digest of those it gets, on
disk before the file is touched; that the run finished; that it was undone. Of a photo, whose picture data no run
touches, the bytes before these are enough. A file is put back when it holds what the run wrote, and left alone when it
holds what it had before (already back, or never written) or anything else (changed since). So undoing can be
interrupted and called again at any time; a file that the machine refuses to put back keeps its run to be undone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

from tagprism.errors import InputError, MachineError, NothingToDoError, PictureError
from tagprism.exchange import current_digest, exchange, rescue
from tagprism.files import digest_bytes, disk_is_full, locked, machine_errors, sync_folder
from tagprism.keywords.recorded import (
    FORMAT,
    Entry,
    RecordedRun,
    journal_folder,
    journals,
    new_path,
    now,
    recorded_runs,
)
from tagprism.progress import Progress, silent

__all__ = ["Entry", "Journal", "RecordedRun", "Undone", "recorded_runs", "undo"]

_LOCK = ".lock"


class Journal:
    """The journal of one run, to be used with `with`; left without `finish` it is continued by the same run again.

    A run with the same command as the last one continues that one's journal if that one did not finish, so that one
    undo takes back both.

    Args:
        command: what was asked, as JSON.
    """

    def __init__(self, command: dict[str, Any]) -> None:
        self._command = command
        self._held = ExitStack()
        self._file: BinaryIO | None = None
        self.path: Path | None = None
        last = next(iter(journals()), None)
        with ExitStack() as held:
            if last is None or not held.enter_context(locked(last.with_suffix(_LOCK))):
                return
            run = RecordedRun.read(last)
            if run.finished or run.undone is not None:
                return
            for entry in run.entries():
                _sweep(entry)
            if run.command == command:
                self._file, self.path = held.enter_context(last.open("r+b")), last
                self._file.truncate(run.size)  # a line that was cut off was never acted upon
                self._file.seek(0, os.SEEK_END)
                self._held = held.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def record(self, changes: Iterable[tuple[Path, bytes | None, int | None, bytes]]) -> list[Path]:
        """Put on disk what is needed to take changes back; call before changing the files.

        Args:
            changes: of each file its path, bytes (None where there is none), time of change, and bytes to be.

        Returns:
            For each the path for `exchange.exchange` to write beside it.
        """
        lines, parts = [], []
        for path, before, mtime_ns, after in changes:
            part = f".tagprism-{uuid4().hex[:12]}.part"
            name = os.path.abspath(path)  # noqa: PTH100 (not resolved)
            lines.append(Entry.row(name, before, mtime_ns, after, part))
            parts.append(path.with_name(part))
        self._write(*lines)
        return parts

    def finish(self) -> None:
        """Note that the run is complete; a run that changed nothing has no journal."""
        if self._file is not None:
            self._write({"finished": now()})

    def _write(self, *lines: dict[str, Any]) -> None:
        if self._file is None:
            self.path = new_path()
            with machine_errors(self.path):
                self._held.enter_context(locked(self.path.with_suffix(_LOCK)))
                self._file = self._held.enter_context(self.path.open("r+b"))
                sync_folder(self.path.parent)
            self._write({"format": FORMAT, "started": now(), "command": self._command})
        assert self._file is not None and self.path is not None
        with machine_errors(self.path):
            self._file.writelines(json.dumps(line).encode("ascii") + b"\n" for line in lines)
            self._file.flush()
            os.fsync(self._file.fileno())


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
    with locked(path.with_suffix(_LOCK)) as held, path.open("r+b") as file:
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
    _sweep(entry)
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


def _sweep(entry: Entry) -> None:
    """Clear away what a process that was killed may have left beside a file."""
    part = entry.path.with_name(entry.part)
    if entry.mount is None:  # format 1: what is there was never another program's
        with machine_errors(part):
            part.unlink(missing_ok=True)
    else:
        rescue(entry.path, part, entry.digest, entry.after)


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
