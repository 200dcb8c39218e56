"""The journal of a run that changes people's files, and the way back. Knows bytes and paths, not what is in them.

A journal is a file of JSON lines: what was asked; for each file the bytes it had and the digest of those it gets, on
disk before the file is touched; that the run finished; that it was undone. A file is put back when it holds what the
run wrote, and left alone when it holds what it had before (already back, or never written) or anything else
(changed since). So undoing can be interrupted and called again at any time.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

from tagprism.errors import InputError, MachineError, NothingToDoError, PictureError
from tagprism.files import (
    current_digest,
    digest_bytes,
    disk_is_full,
    exchange,
    locked,
    machine_errors,
    state_dir,
    sync_folder,
)
from tagprism.progress import Progress, silent

_FORMAT, _LOCK = 1, ".lock"


@dataclass(frozen=True)
class Entry:
    """One file of a run.

    Args:
        path: the file, absolute.
        before: its bytes before the run; None where there was no file.
        mtime_ns: its time of change before the run, in nanoseconds.
        after: SHA-256 of the bytes that the run gave it.
        part: name, in the same folder, under which the bytes are on their way.
    """

    path: Path
    before: bytes | None
    mtime_ns: int | None
    after: str
    part: str


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
        last = next(iter(_journals()), None)
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
            For each the path for `files.exchange` to write beside it.
        """
        lines, parts = [], []
        for path, before, mtime_ns, after in changes:
            part = f".tagprism-{uuid4().hex[:12]}.part"
            packed = None if before is None else base64.b85encode(zlib.compress(before)).decode("ascii")
            entry = {"path": os.path.abspath(path), "before": packed, "mtime_ns": mtime_ns}  # noqa: PTH100 (not resolved)
            lines.append({**entry, "after": digest_bytes(after), "part": part})
            parts.append(path.with_name(part))
        self._write(*lines)
        return parts

    def finish(self) -> None:
        """Note that the run is complete; a run that changed nothing has no journal."""
        if self._file is not None:
            self._write({"finished": _now()})

    def _write(self, *lines: dict[str, Any]) -> None:
        if self._file is None:
            self.path = _folder() / f"{datetime.now().strftime('%Y%m%d-%H%M%S-%f')}.jsonl"
            with machine_errors(self.path):
                self._held.enter_context(locked(self.path.with_suffix(_LOCK)))
                self.path.touch(mode=0o600)
                self._file = self._held.enter_context(self.path.open("r+b"))
                sync_folder(self.path.parent)
            self._write({"format": _FORMAT, "started": _now(), "command": self._command})
        assert self._file is not None and self.path is not None
        with machine_errors(self.path):
            self._file.writelines(json.dumps(line).encode("ascii") + b"\n" for line in lines)
            self._file.flush()
            os.fsync(self._file.fileno())


@dataclass(frozen=True)
class RecordedRun:
    """What a journal says of its run.

    Args:
        path: the journal.
        started: when its run began.
        command: what was asked.
        finished: whether the run came to its end.
        undone: number of files that undoing left alone; None where it was not undone.
        lines: its whole lines about files.
        size: bytes of its whole lines.
    """

    path: Path
    started: str
    command: dict[str, Any]
    finished: bool
    undone: int | None
    lines: tuple[bytes, ...]
    size: int

    @classmethod
    def read(cls, path: Path) -> RecordedRun:
        """Read a journal; a last line that was cut off counts for nothing.

        Raises:
            InputError: it is no journal, or damaged.
        """
        try:
            data = path.read_bytes()
            size = data.rfind(b"\n") + 1
            lines = data[:size].splitlines()
            head: dict[str, Any] = {"format": _FORMAT, "started": "", "command": {}}
            if lines:  # none when the process ended at once
                head = json.loads(lines[0])
            if head["format"] != _FORMAT:
                raise InputError(f"has journal format {head['format']}.", where=str(path), remedy="Update tagprism.")
            notes = [json.loads(line) for line in lines[1:] if line.startswith((b'{"finished"', b'{"undone"'))]
            undone = [note["left"] for note in notes if "undone" in note]
            files = tuple(line for line in lines[1:] if line.startswith(b'{"path"'))
            finished = any("finished" in note for note in notes)
            return cls(path, head["started"], head["command"], finished, undone[-1] if undone else None, files, size)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"is not a journal that can be read ({error}).", where=str(path), remedy="Move it out of this folder."
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Its files, the last one first."""
        for line in reversed(self.lines):
            try:
                row = json.loads(line)
                before = None if row["before"] is None else zlib.decompress(base64.b85decode(row["before"]))
                yield Entry(Path(row["path"]), before, row["mtime_ns"], row["after"], row["part"])
            except (ValueError, KeyError, TypeError, zlib.error) as error:
                raise InputError(f"has a damaged line ({error}).", where=str(self.path)) from error


def recorded_runs() -> list[RecordedRun]:
    """All runs that have a journal, the last one first."""
    return [RecordedRun.read(path) for path in _journals()]


class Undone(NamedTuple):
    """What became of the files of a run that was undone.

    Args:
        run: as its journal had it before.
        restored: how many files were put back.
        left: those left alone, each with the reason.
    """

    run: RecordedRun
    restored: int
    left: list[tuple[str, str]]


def undo(name: str | None = None, progress: Progress = silent) -> Undone:
    """Put the files of a run back, byte for byte and with their times of change, and remove those it made.

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
        restored, left, folders = 0, [], set()
        with progress("undoing", len(run.lines)) as advance:
            for entry in run.entries():
                folders.add(entry.path.parent)
                try:
                    restored += _put_back(entry)
                except PictureError as error:
                    left.append((os.fsdecode(entry.path), error.message))
                except MachineError as error:
                    if disk_is_full(error):
                        raise
                    left.append((os.fsdecode(entry.path), error.what))
                advance(1)
        with machine_errors(path):
            for folder in filter(Path.is_dir, folders):
                sync_folder(folder)
            file.seek(run.size)
            file.truncate()
            file.write(json.dumps({"undone": _now(), "left": len(left)}).encode("ascii") + b"\n")
    return Undone(run, restored, left)


def _put_back(entry: Entry) -> bool:
    """Whether the file had to be put back; False when it already holds what it had."""
    _sweep(entry)
    before = None if entry.before is None else digest_bytes(entry.before)
    now = current_digest(entry.path)
    if now == before:
        return False
    part = entry.path.with_name(entry.part)
    if now == entry.after and exchange(
        entry.path, entry.before, expected=entry.after, part=part, mtime_ns=entry.mtime_ns
    ):
        return True
    reason = "It is no longer there." if now is None else "It was changed since."
    raise PictureError("sidecar", reason, where=os.fsdecode(entry.path))


def _sweep(entry: Entry) -> None:
    """Remove what a process that was killed may have left beside a file."""
    part = entry.path.with_name(entry.part)
    if os.path.lexists(part):
        with machine_errors(part):
            part.unlink()


def _find(name: str | None) -> Path:
    if name is None:
        for path in _journals():
            if RecordedRun.read(path).undone is None:
                return path
        raise NothingToDoError("there is no run to undo.", where=str(_folder()))
    for path in (_folder() / f"{name}.jsonl", Path(name)):
        if path.is_file():
            return path
    raise InputError(f"there is no journal `{name}`.", remedy="`tagprism undo --list` shows them.")


def _folder() -> Path:
    return state_dir("journals")


def _journals() -> list[Path]:
    """Journals, the last one first: their names begin with the time."""
    return sorted(_folder().glob("*.jsonl"), reverse=True)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
