"""Tags as rows of text, and a file of them that survives `kill -9`: the same command continues it.

While it is written it is `FILE.part`; beside it `.FILE.journal` says which command writes it. A command that is given
again reads back for which pictures the rows are there. When all are there the part becomes `FILE`; the journal stays,
so that the same command finds its work done and another one is refused.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from tagprism.errors import InputError
from tagprism.files import locked, machine_errors, write_text
from tagprism.images.elsewhere import path_of_row
from tagprism.images.stream import BATCH
from tagprism.rename import place_new
from tagprism.tagging.csv_cells import csv_lines, csv_name
from tagprism.tagging.tags import ImageTags, Tag

_KIND = "tagprism journal 1"
_PERIOD = 0.2  # seconds of work that a kill may cost
_Path = str | os.PathLike[str]


@dataclass(frozen=True)
class RowFormat:
    """How the tags of pictures are written as lines of text, which also tell whose they are.

    Args:
        header: what stands before the first row.
        row: the line or lines of one picture.
        start: what each line of a picture begins with.
        error: what follows it where the picture was skipped.
        several: whether a picture may have several lines.
    """

    header: str
    row: Callable[[ImageTags], str]
    start: Callable[[_Path], str]
    error: re.Pattern[bytes]
    several: bool


def tag_row(row: ImageTags) -> dict[str, Any]:
    """What a line of JSONL says of a picture."""
    path = os.fsdecode(row.path)
    if row.error is not None:
        return {"path": path, "error": {"code": row.error.code, "message": row.error.message}}
    tags = [{"label": t.label, "score": t.score, "probability": t.probability, "vector": t.vector} for t in row.tags]
    return {"path": path, "tags": tags}


def _jsonl(row: ImageTags) -> str:
    return json.dumps(tag_row(row)) + "\n"  # ASCII: any bytes in a name survive


def _jsonl_start(path: _Path) -> str:
    return json.dumps({"path": os.fsdecode(path)})[:-1] + ", "


def _csv_format(*, spreadsheet: bool) -> RowFormat:
    def row(one: ImageTags) -> str:
        path = csv_name(one.path)
        lines = [[path, t.label, f"{t.score:.4f}", _probability(t), str(t.vector), ""] for t in one.tags]
        if not lines:  # a picture without a tag has a line too
            lines = [[path, "", "", "", "", one.error.code if one.error else ""]]
        return csv_lines(lines, spreadsheet=spreadsheet)

    def start(path: _Path) -> str:
        return csv_lines([[csv_name(path), ""]], spreadsheet=spreadsheet)[:-1]

    return RowFormat(_COLUMNS, row, start, re.compile(rb",,,,[^\n]"), several=True)


def _probability(tag: Tag) -> str:
    return "" if tag.probability is None else f"{tag.probability:.4f}"


_COLUMNS = "path,label,score,probability,vector,error\n"
FORMATS = {
    "jsonl": RowFormat("", _jsonl, _jsonl_start, re.compile(b'"error": '), several=False),
    "csv": _csv_format(spreadsheet=False),
    "csv for spreadsheets": _csv_format(spreadsheet=True),
}


class TagFile(AbstractContextManager["TagFile"]):
    """A file of tags on its way, to be used with `with`; what is there of it already is kept.

    Args:
        file: the file to write.
        format: how the rows are written.
        command: what the rows depend on but the pictures, as JSON; only the same is continued.
        paths: all pictures, in the order of the rows. Where they have changed since, rows are kept up to the change.
        step: rows are kept up to a multiple of this, so that pictures meet the network in the same batches as in an
            uninterrupted run: the last digit of a score depends on that.

    Attributes:
        rows: how many pictures have their rows; `write` those of the others.
        skipped: how many of them are without tags, because of an error.
        complete: whether nothing is left to do.

    Raises:
        InputError: another command or program wrote the file or began it, or it is complete and not of these pictures,
            or another process is writing it.
        MachineError: disk full, permission.

    Example:
        ```
        with TagFile(Path("tags.jsonl"), FORMATS["jsonl"], {"model": tagger.bundle.digest}, photos) as file:
            for row in tagger.tag_each(photos[file.rows :]):
                file.write(row)
            file.finish()
        ```
    """

    def __init__(
        self, file: Path, format: RowFormat, command: dict[str, Any], paths: Iterable[_Path], *, step: int = BATCH
    ) -> None:
        self.file, self.part = file, file.with_name(f"{file.name}.part")
        self._journal = file.with_name(f".{file.name}.journal")
        self._format, self._command, self._step = format, command, step
        self._pending: list[str] = []
        self._last = time.monotonic()
        self.rows = self.skipped = self._saved = 0
        self.complete = file.exists()
        with ExitStack() as held:
            if self.complete:
                self._check_finished(paths)
            else:
                self._continue(paths, held)
            self._held = held.pop_all()

    @property
    def kept(self) -> int:
        """How many pictures the same command would not look at again, if it ended now."""
        certain = self._saved - self._format.several  # of the last picture a line may be missing
        return max(0, certain - certain % self._step)

    def _check_finished(self, paths: Iterable[_Path]) -> None:
        remedy = "It is left as it is: name another file, or remove it."
        self._refuse_other(self.file, remedy)
        end = len(self._format.header)
        for state in _rows_there(self.file, self._format, paths, finished=True):
            if state is None:
                end = -1
            else:
                self.rows, self.skipped, end = state
        if end != self.file.stat().st_size:
            what = "is complete, but the pictures have changed since, or somebody changed it."
            raise InputError(what, where=str(self.file), remedy=remedy)

    def _continue(self, paths: Iterable[_Path], held: ExitStack) -> None:
        with machine_errors(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
        if not held.enter_context(locked(self.file.with_name(f".{self.file.name}.lock"))):
            remedy = "Wait for it, or name another file."
            raise InputError("is being written by another tagprism.", where=str(self.file), remedy=remedy)
        if self.part.exists():
            remedy = f"Give that command again, name another file, or remove {self.part.name}."
            self._refuse_other(self.part, remedy)
        else:
            write_text(self._journal, json.dumps([_KIND, self._command]) + "\n")
        with machine_errors(self.part):
            self.part.touch()
            self._out = held.enter_context(self.part.open("r+b", buffering=0))
        end = 0
        for state in _rows_there(self.part, self._format, paths, finished=False):
            if state is not None and state[0] % self._step == 0:
                self.rows, self.skipped, end = state
        with machine_errors(self.part):
            self._out.truncate(end)
            self._out.seek(end)
        self._saved, self._pending = self.rows, [] if end else [self._format.header]

    def _refuse_other(self, where: Path, remedy: str) -> None:
        """Raise where another command wrote, naming what differs."""
        try:
            kind, theirs = json.loads(self._journal.read_bytes().split(b"\n", 1)[0])
            differing = [key for key in theirs.keys() | self._command if theirs.get(key) != self._command.get(key)]
        except (OSError, ValueError, TypeError, AttributeError):
            kind, differing = None, []
        if kind == _KIND and not differing:
            return
        who = f"by a command with another {', '.join(sorted(differing))}" if differing else "and not by this command"
        raise InputError(f"is there already, {who}.", where=str(where), remedy=remedy)

    def write(self, row: ImageTags) -> None:
        """Add the row of the next picture."""
        self._pending.append(self._format.row(row))
        self.rows += 1
        self.skipped += row.error is not None
        if time.monotonic() - self._last > _PERIOD:
            self.save()

    def save(self) -> None:
        """Bring the rows so far into the file `part`."""
        data = "".join(self._pending).encode()
        with machine_errors(self.part):
            while data:
                data = data[self._out.write(data) :]
        self._pending, self._last, self._saved = [], time.monotonic(), self.rows

    def finish(self) -> None:
        """All rows are written: the part becomes the file.

        Raises:
            InputError: somebody else has made a file of that name meanwhile; the part stays.
        """
        self.save()
        with machine_errors(self.file):
            os.fsync(self._out.fileno())
            self._out.close()
            if not place_new(self.part, self.file):
                what = f"was made by someone else meanwhile, and is left as it is. The rows are in {self.part.name}."
                raise InputError(what, where=str(self.file), remedy="Move it away, and give the same command again.")
        self.complete = True

    def __exit__(self, *_: object) -> None:
        if not self.complete:
            self._out.close()
            if not self.rows:  # nothing worth continuing: words without a vector, say
                self.part.unlink()
                self._journal.unlink()
        self._held.close()


def _rows_there(
    file: Path, format: RowFormat, paths: Iterable[_Path], *, finished: bool
) -> Iterator[tuple[int, int, int] | None]:
    """For each picture, in order: how many have their rows up to it, how many of them were skipped, where these end.

    None, and nothing after it, for the first picture whose rows are not there or not certainly all there: of several
    lines one may be missing, unless the file is `finished` or the line of another picture follows.
    """
    header, rows, skipped = format.header.encode(), 0, 0
    end = len(header)
    starts = (format.start(path_of_row(path)).encode() for path in paths)
    with _mapped(file) as data:
        if data[:end] != header:
            end = len(data)
        for start, following in pairwise(chain(starts, [b""])):
            begin, stop = end, end
            while data[stop : stop + len(start)] == start and (stop := data.find(b"\n", stop + len(start)) + 1):
                end = stop
                if not format.several:
                    break
            is_open = format.several and not finished and start.startswith(data[end : end + len(start)])
            if end == begin or is_open or (format.several and start == following):  # names that CSV cannot tell apart
                yield None
                return
            rows += 1
            skipped += format.error.match(data, begin + len(start)) is not None
            yield rows, skipped, end


@contextmanager
def _mapped(file: Path) -> Iterator[bytes | mmap.mmap]:
    """A file's bytes, not all of them in memory."""
    with file.open("rb") as opened:
        if not file.stat().st_size:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
