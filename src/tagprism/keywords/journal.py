"""The journal of a run that changes people's files, written and read. Knows bytes and paths, not what is in them.

A journal is a file of JSON lines: what was asked; for each file the bytes it had and the digest of those it gets, on
disk before the file is touched; that the run finished; that it was undone. Of a photo, whose picture data no run
touches, the bytes before these are enough.

Journals are ordered by a counter in their names, as clocks are set back and time zones change; those of older versions
have none, and come before, by the time that they state.
"""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from tagprism.errors import InputError
from tagprism.exchange import rescue
from tagprism.files import digest_bytes, locked, machine_errors, state_dir
from tagprism.rename import sync_folder

LOCK = ".lock"
_FORMAT = 2
_FORMATS = (1, _FORMAT)
_LEAST_TAIL = 2**12  # bytes in common at the end that are worth leaving out
_NAME = re.compile(r"\d{8}-\d{6}Z-(\d+)")


@dataclass(frozen=True)
class Entry:
    """One file of a run.

    Args:
        path: the file, absolute.
        before: its bytes before the run, without the last `tail` of them; None where there was no file.
        mtime_ns: its time of change before the run, in nanoseconds.
        after: SHA-256 of the bytes that the run gave it.
        part: name, in the same folder, under which the bytes are on their way.
        tail: how many bytes at its end the run did not change.
        digest: SHA-256 of its bytes before the run; None where there was no file.
        mount: whether a disk was mounted at its folder; None in format 1, which did not note it.
    """

    path: Path
    before: bytes | None
    mtime_ns: int | None
    after: str
    part: str
    tail: int
    digest: str | None
    mount: bool | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Entry:
        """A line of a journal, also of format 1.

        Raises:
            ValueError, KeyError, TypeError, zlib.error: the line is damaged.
        """
        before = None if row["before"] is None else zlib.decompress(base64.b85decode(row["before"]))
        digest = row.get("digest") or (None if before is None else digest_bytes(before))
        path, tail, mount = Path(row["path"]), row.get("tail", 0), row.get("mount")
        return cls(path, before, row["mtime_ns"], row["after"], row["part"], tail, digest, mount)

    @staticmethod
    def row(path: str, before: bytes | None, mtime_ns: int | None, after: bytes, part: str) -> dict[str, Any]:
        """The line for a file with these bytes before and after; see the attributes."""
        row: dict[str, Any] = {"path": path, "before": None, "mtime_ns": mtime_ns, "after": digest_bytes(after)}
        if before is not None:
            tail = _common_tail(before, after)
            packed = base64.b85encode(zlib.compress(before[: len(before) - tail])).decode("ascii")
            row |= {"before": packed, "tail": tail, "digest": digest_bytes(before)}
        return row | {"part": part, "mount": Path(path).parent.is_mount()}


@dataclass(frozen=True)
class RecordedRun:
    """What a journal says of its run.

    Args:
        path: the journal.
        started: when its run began.
        command: what was asked.
        finished: whether the run came to its end.
        undone: number of files that undoing left alone; None where it is still to be undone, also in part.
        waiting: number of files that the machine refused to put back when it was last tried.
        lines: its whole lines about files.
        size: bytes of its whole lines.
    """

    path: Path
    started: str
    command: dict[str, Any]
    finished: bool
    undone: int | None
    waiting: int
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
            if head["format"] not in _FORMATS:
                raise InputError(f"has journal format {head['format']}.", where=str(path), remedy="Update tagprism.")
            notes = [json.loads(line) for line in lines[1:] if not line.startswith(b'{"path"')]
            tries = [note for note in notes if "undone" in note or "tried" in note] or [{}]
            undone, waiting = tries[-1].get("left"), tries[-1].get("refused", 0)
            files = tuple(line for line in lines[1:] if line.startswith(b'{"path"'))
            finished = any("finished" in note for note in notes)
            return cls(path, head["started"], head["command"], finished, undone, waiting, files, size)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"is not a journal that can be read ({error}).", where=str(path), remedy="Move it out of this folder."
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Its files, the last one first."""
        for line in reversed(self.lines):
            try:
                yield Entry.of(json.loads(line))
            except (ValueError, KeyError, TypeError, zlib.error) as error:
                raise InputError(f"has a damaged line ({error}).", where=str(self.path)) from error


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
            if last is None or not held.enter_context(locked(last.with_suffix(LOCK))):
                return
            run = RecordedRun.read(last)
            if run.finished or run.undone is not None:
                return
            for entry in run.entries():
                sweep(entry)
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
                self._held.enter_context(locked(self.path.with_suffix(LOCK)))
                self._file = self._held.enter_context(self.path.open("r+b"))
                sync_folder(self.path.parent)
            self._write({"format": _FORMAT, "started": now(), "command": self._command})
        assert self._file is not None and self.path is not None
        with machine_errors(self.path):
            self._file.writelines(json.dumps(line).encode("ascii") + b"\n" for line in lines)
            self._file.flush()
            os.fsync(self._file.fileno())


def sweep(entry: Entry) -> None:
    """Clear away what a process that was killed may have left beside a file."""
    part = entry.path.with_name(entry.part)
    if entry.mount is None:  # format 1: what is there was never another program's
        with machine_errors(part):
            part.unlink(missing_ok=True)
    else:
        rescue(entry.path, part, entry.digest, entry.after)


def recorded_runs() -> list[RecordedRun]:
    """All runs that have a journal, the last one first."""
    return [RecordedRun.read(path) for path in journals()]


def journal_folder() -> Path:
    """Where journals are."""
    return state_dir("journals")


def journals() -> list[Path]:
    """Journals, the last one first."""
    return sorted(journal_folder().glob("*.jsonl"), key=_order, reverse=True)


def _order(path: Path) -> tuple[int, str, str]:
    """The counter in a journal's name; of those of older versions, which have none, the time stated in it."""
    if found := _NAME.fullmatch(path.stem):
        return int(found[1]), "", path.name
    try:
        with path.open("rb") as file:
            started = datetime.fromisoformat(json.loads(file.readline())["started"])
    except (OSError, ValueError, KeyError, TypeError):  # cut off or damaged: reading it says so
        return 0, "", path.name
    return 0, started.astimezone(UTC).isoformat(), path.name


def new_path() -> Path:
    """A journal's file, made, with the next number."""
    number = max((_order(path)[0] for path in journals()), default=0)
    while True:
        number += 1
        path = journal_folder() / f"{datetime.now(UTC):%Y%m%d-%H%M%S}Z-{number:06d}.jsonl"
        with machine_errors(path):
            try:
                path.touch(mode=0o600, exist_ok=False)
            except FileExistsError:  # another process was first
                continue
        return path


def now() -> str:
    """The time as journals state it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _common_tail(before: bytes, after: bytes) -> int:
    """How many last bytes two files have in common; 0 where these are few."""
    low, high = 0, min(len(before), len(after)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if before[-middle:] == after[-middle:] else (low, middle)
    return low if low >= _LEAST_TAIL else 0
