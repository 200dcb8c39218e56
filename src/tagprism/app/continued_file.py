"""A file of rows that survives `kill -9`: the same command continues it. Knows neither pictures nor models.

While it is written it is `FILE.part`, with `FILE.journal` beside it: a line that says which command writes it, then a
line each time rows have reached the disk (how many pictures, skipped ones, bytes of `FILE.part`, and a digest of the
pictures' paths). What stands in `FILE.part` after the last such line is written again. When all rows are there, the
part becomes `FILE` and the journal goes.
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

from tagprism.errors import InputError, NothingToDoError
from tagprism.files import machine_errors

if sys.platform != "win32":
    import fcntl

_KIND = "tagprism journal 1"
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
_PERIOD = 0.2  # seconds of work that a kill may cost


class _Mark(NamedTuple):
    """A state that is on disk: rows, skipped among them, bytes of the part, digest of paths, bytes of the journal."""

    rows: int
    skipped: int
    bytes: int
    paths: str
    journal: int


class ContinuedFile(AbstractContextManager["ContinuedFile"]):
    """Rows on their way into a file.

    Args:
        file: the file to write; must not be there yet.
        command: what the rows depend on, as JSON; only the same is continued.
        header: what stands before the first row.

    Attributes:
        rows: how many are written.
        skipped: how many of them are of pictures that were skipped.

    Raises:
        InputError: the file is there already, or was begun by another command, or is being written by another process.
    """

    def __init__(self, file: Path, command: dict[str, Any], header: bytes) -> None:
        self.file, self._command, self._header = file, command, header
        self.part, self.journal = file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.journal")
        self.rows = self.skipped = 0
        self._paths = blake2b(digest_size=16)
        self._pending = [header]
        self._last, self._saved = time.monotonic(), False
        if file.exists():
            self._refuse_finished()
        with machine_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._log = os.open(self.journal, _OPEN, 0o666)
        try:
            self._lock()
            self._marks = self._begin()
            with machine_errors(self.part):
                self._out = os.open(self.part, _OPEN, 0o666)
        except BaseException:
            os.close(self._log)
            raise

    def _refuse_finished(self) -> None:
        remedy = "Name another file, or remove it to begin anew."
        if self.journal.exists() and not self.part.exists() and self._said() == self._command:
            self.journal.unlink()  # killed between the two last steps
            raise NothingToDoError("is complete.", where=str(self.file), remedy=remedy)
        raise InputError("exists already and is left as it is.", where=str(self.file), remedy=remedy)

    def _said(self) -> Any:
        """The command in the journal; None where its first line is not whole or not a journal's."""
        try:
            kind, command = json.loads(self.journal.read_bytes().partition(b"\n")[0])
        except (ValueError, TypeError):
            return None
        return command if kind == _KIND else None

    def _lock(self) -> None:
        if sys.platform == "win32":  # nothing keeps two commands off one file there
            return
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "Wait for it, or name another file."
            raise InputError("is being written by another tagprism.", where=str(self.file), remedy=remedy) from error

    def _begin(self) -> dict[int, _Mark]:
        """Read the journal of a command that was interrupted, or begin one."""
        lines = self.journal.read_bytes().splitlines(keepends=True)
        if self.part.exists() or (lines and lines[0].endswith(b"\n")):
            self._check_command()
        else:  # new, or killed while its first line was written
            with machine_errors(self.journal):
                os.ftruncate(self._log, 0)
                _write(self._log, json.dumps([_KIND, self._command]).encode() + b"\n")
                os.fsync(self._log)
            return {}
        size = self.part.stat().st_size if self.part.exists() else 0
        marks, place = {}, len(lines[0])
        for line in lines[1:]:
            place += len(line)
            try:
                rows, skipped, bytes, paths = json.loads(line)
            except (ValueError, TypeError):  # the last line of a killed command is cut off
                break
            if line.endswith(b"\n") and bytes <= size:
                marks[rows] = _Mark(rows, skipped, bytes, paths, place)
        return marks

    def _check_command(self) -> None:
        said = self._said()
        if said == self._command:
            return
        remedy = f"Give that command again, name another file, or remove {self.part.name} and {self.journal.name}."
        if not isinstance(said, dict):
            raise InputError("was not begun by tagprism.", where=str(self.part), remedy=remedy)
        changed = sorted(key for key in said.keys() | self._command if said.get(key) != self._command.get(key))
        raise InputError(
            f"was begun by another command: not the same {', '.join(changed)}.", where=str(self.part), remedy=remedy
        )

    def resume(self, paths: Iterable[str | os.PathLike[str]]) -> int:
        """Keep what an earlier command wrote, up to where the list of pictures has changed since.

        Args:
            paths: all pictures, in the order of the rows.

        Returns:
            How many of them have their rows already; the others are to be written.
        """
        last = _Mark(0, 0, 0, "", len(self.journal.read_bytes().partition(b"\n")[0]) + 1)
        digest = blake2b(digest_size=16)
        for row, path in enumerate(paths, start=1):
            if row > max(self._marks, default=0):
                break
            digest.update(_name(path))
            if mark := self._marks.get(row):
                if digest.hexdigest() != mark.paths:
                    break
                last, self._paths = mark, digest.copy()
        self.rows, self.skipped, self._saved = last.rows, last.skipped, last.rows > 0
        with machine_errors(self.part):
            os.ftruncate(self._out, last.bytes)
            os.ftruncate(self._log, last.journal)
            os.lseek(self._out, 0, os.SEEK_END)
            os.lseek(self._log, 0, os.SEEK_END)
        self._pending = [] if last.bytes else [self._header]
        return last.rows

    def write(self, path: str | os.PathLike[str], row: bytes, *, skipped: bool) -> None:
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
            size = os.lseek(self._out, 0, os.SEEK_CUR)
            mark = [self.rows, self.skipped, size, self._paths.hexdigest()]
            _write(self._log, json.dumps(mark).encode() + b"\n")
        self._last, self._saved = time.monotonic(), True

    def finish(self) -> None:
        """All rows are written: the part becomes the file."""
        self.save()
        with machine_errors(self.file):
            self.part.rename(self.file)
            self.journal.unlink()

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


def _name(path: str | os.PathLike[str]) -> bytes:
    return os.fsencode(Path(path)) + b"\0"
