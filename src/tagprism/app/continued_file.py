"""A file of rows that survives `kill -9`: the same command continues it. Knows neither pictures nor models.

While it is written it is `FILE.part`. Beside it `.FILE.journal` holds a line that says which command writes it, then a
line each time rows have reached the disk (how many pictures, skipped ones, bytes, and a digest of the pictures' paths).
What stands in `FILE.part` after the last such line is written again. When all rows are there the part becomes `FILE`;
the journal stays, short, so that the same command finds its work done and another one is refused.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tagprism.errors import InputError
from tagprism.files import machine_errors, write_text

if sys.platform != "win32":
    import fcntl

_KIND = "tagprism journal 1"
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
_PERIOD = 0.2  # seconds of work that a kill may cost
_Path = str | os.PathLike[str]


class Mark(NamedTuple):
    """A state that is on disk: rows, skipped among them, bytes of the file, digest of their paths."""

    rows: int
    skipped: int
    bytes: int
    paths: str


class _Journal:
    """What `.FILE.journal` says.

    Attributes:
        command: which command writes; None where the first line is not whole or not a journal's.
        marks: by number of rows, each with the place in the journal at which it ends.
        header_end: the place at which the first line ends.
    """

    def __init__(self, path: Path) -> None:
        self.command: dict[str, Any] | None = None
        self.marks: dict[int, tuple[Mark, int]] = {}
        data = path.read_bytes() if path.exists() else b""
        header, *lines = data.splitlines(keepends=True) or [b""]
        self.header_end = place = len(header)
        try:
            kind, command = json.loads(header)
            self.command = command if kind == _KIND and header.endswith(b"\n") else None
            for line in lines:
                place += len(line)
                mark = Mark(*json.loads(line))  # the last line of a killed command is cut off
                if line.endswith(b"\n"):
                    self.marks[mark.rows] = mark, place
        except (ValueError, TypeError):
            return

    def refuse_other(self, command: dict[str, Any], where: Path, remedy: str) -> None:
        """Raise where another command wrote, naming what differs."""
        if self.command is None:
            raise InputError("is there already, and not by this command.", where=str(where), remedy=remedy)
        keys = self.command.keys() | command
        if changed := sorted(key for key in keys if self.command.get(key) != command.get(key)):
            what = f"is there already, by a command with another {', '.join(changed)}."
            raise InputError(what, where=str(where), remedy=remedy)


def _journal_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.journal")


def finished(file: Path, command: dict[str, Any], paths: Iterable[_Path]) -> Mark | None:
    """Whether a command has nothing left to write.

    Args:
        file: the file that it writes.
        command: what its rows depend on, as JSON.
        paths: all pictures, in the order of the rows.

    Returns:
        The state of the finished file; None where there is no file yet.

    Raises:
        InputError: the file is there, but another command or program wrote it, or for other pictures.
    """
    if not file.exists():
        return None
    remedy = "It is left as it is: name another file, or remove it."
    journal = _Journal(_journal_of(file))
    journal.refuse_other(command, file, remedy)
    size = file.stat().st_size
    marks = [mark for mark, _ in journal.marks.values() if mark.bytes == size]
    digest, count = blake2b(digest_size=16), 0
    for path in paths:
        digest.update(_name(path))
        count += 1
    if not marks or (marks[-1].rows, marks[-1].paths) != (count, digest.hexdigest()):
        raise InputError("is complete, but the pictures have changed since.", where=str(file), remedy=remedy)
    return marks[-1]


class ContinuedFile(AbstractContextManager["ContinuedFile"]):
    """Rows on their way into a file.

    Args:
        file: the file to write; must not be there yet (see `finished`).
        command: what the rows depend on, as JSON; only the same is continued.
        header: what stands before the first row.

    Attributes:
        rows: how many are written.
        skipped: how many of them are of pictures that were skipped.

    Raises:
        InputError: the file was begun by another command, or is being written by another process.
    """

    def __init__(self, file: Path, command: dict[str, Any], header: bytes) -> None:
        self.file, self.part, self.journal = file, file.with_name(f"{file.name}.part"), _journal_of(file)
        self.rows = self.skipped = 0
        self._command, self._header, self._pending = command, header, [header]
        self._paths = blake2b(digest_size=16)
        self._last, self._saved = time.monotonic(), False
        with machine_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._log = os.open(self.journal, _OPEN, 0o666)
        try:
            self._lock()
            self._begin()
            with machine_errors(self.part):
                self._out = os.open(self.part, _OPEN, 0o666)
        except BaseException:
            os.close(self._log)
            if not self.journal.stat().st_size:  # opened for nothing
                self.journal.unlink()
            raise

    def _lock(self) -> None:
        if sys.platform == "win32":  # nothing keeps two commands off one file there
            return
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "Wait for it, or name another file."
            raise InputError("is being written by another tagprism.", where=str(self.file), remedy=remedy) from error

    def _begin(self) -> None:
        """Check the journal of a command that was interrupted, or begin one."""
        if self.part.exists():
            remedy = f"Give that command again, name another file, or remove {self.part.name}."
            _Journal(self.journal).refuse_other(self._command, self.part, remedy)
            return
        with machine_errors(self.journal):
            os.ftruncate(self._log, 0)
            _write(self._log, self._first_line())
            os.fsync(self._log)

    def _first_line(self) -> bytes:
        return json.dumps([_KIND, self._command]).encode() + b"\n"

    def resume(self, paths: Iterable[_Path]) -> int:
        """Keep what an earlier command wrote, up to where the list of pictures has changed since.

        Args:
            paths: all pictures, in the order of the rows.

        Returns:
            How many of them have their rows already; the others are to be written.
        """
        journal, size = _Journal(self.journal), self.part.stat().st_size
        marks = {rows: (mark, end) for rows, (mark, end) in journal.marks.items() if mark.bytes <= size}
        last, journal_end = Mark(0, 0, 0, ""), journal.header_end
        digest = blake2b(digest_size=16)
        for row, path in enumerate(paths, start=1):
            if row > max(marks, default=0):
                break
            digest.update(_name(path))
            if row in marks:
                if digest.hexdigest() != marks[row][0].paths:
                    break
                (last, journal_end), self._paths = marks[row], digest.copy()
        self.rows, self.skipped, self._saved = last.rows, last.skipped, last.rows > 0
        self._pending = [] if last.rows else [self._header]
        with machine_errors(self.part):
            for descriptor, end in ((self._out, last.bytes), (self._log, journal_end)):
                os.ftruncate(descriptor, end)
                os.lseek(descriptor, end, os.SEEK_SET)
        return last.rows

    def write(self, path: _Path, row: bytes, *, skipped: bool) -> None:
        """Add the row of the next picture."""
        self._pending.append(row)
        self._paths.update(_name(path))
        self.rows += 1
        self.skipped += skipped
        if time.monotonic() - self._last > _PERIOD:
            self.save()

    def save(self) -> None:
        """Bring the rows so far to the disk."""
        with machine_errors(self.part):
            _write(self._out, b"".join(self._pending))
            os.fsync(self._out)  # before the journal says so, should the machine lose its power
            self._pending = []
            _write(self._log, self._mark())
        self._last, self._saved = time.monotonic(), True

    def _mark(self) -> bytes:
        size = os.lseek(self._out, 0, os.SEEK_CUR)
        return json.dumps(Mark(self.rows, self.skipped, size, self._paths.hexdigest())).encode() + b"\n"

    def finish(self) -> None:
        """All rows are written: the part becomes the file."""
        self.save()
        with machine_errors(self.file):
            self.part.rename(self.file)
        write_text(self.journal, (self._first_line() + self._mark()).decode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)
        os.close(self._log)
        if not self._saved:  # nothing worth continuing: words without a vector, say
            self.part.unlink()
            self.journal.unlink()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _name(path: _Path) -> bytes:
    return os.fsencode(Path(path)) + b"\0"
