"""Tags that a person added to a picture or rejected, kept beside the index. Knows neither pictures nor scores.

A mark belongs to a picture's bytes and a label's normalised spelling: it survives indexing anew, and the file's moving.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from tagprism.errors import InputError
from tagprism.files import machine_errors
from tagprism.labels.phrases import LONGEST, normalise_phrase
from tagprism.search.stored import marks_file
from tagprism.sqlite_file import SqliteFile

_REMEDY = "Free space or mend the permission; if it is damaged, move it away: what was said in it is then lost."
_TABLE = """
CREATE TABLE IF NOT EXISTS mark (digest TEXT, phrase TEXT, label TEXT, added INTEGER, PRIMARY KEY (digest, phrase))
"""

Said: TypeAlias = Mapping[str, Mapping[str, tuple[str, bool]]]
"""What people said: SHA-256 of a picture's bytes -> `normalise_phrase` of a label -> the label as written, added?"""


class Marks:
    """The marks of an index; threads and processes may share them.

    Args:
        file: an SQLite file; made when absent.

    Raises:
        MachineError: it is damaged, or cannot be read or written; by every method.
    """

    def __init__(self, file: Path) -> None:
        self._db = SqliteFile(file, "the marks cannot be kept", _REMEDY, _TABLE)
        self._kept: dict[str, dict[str, tuple[str, bool]]] = {}  # digest -> phrase -> label as written, added
        self._version = -1  # of the file when `_kept` was read

    def put(self, digests: str | Iterable[str], label: str, added: bool | None) -> None:
        """Keep a mark; on disk when this returns.

        Args:
            digests: of a picture's bytes, or of those of several.
            label: any phrase.
            added: True adds the tag, False rejects it, None takes the mark back.

        Raises:
            InputError: the label is empty, too long, or has a NUL.
        """
        phrase = normalise_phrase(label)
        if not phrase or len(label) > LONGEST or "\0" in label:
            remedy = f"Write 1 to {LONGEST} characters, none of them NUL."
            raise InputError("this is no label.", where=repr(label[:50]), remedy=remedy)
        of_each = [digests] if isinstance(digests, str) else list(digests)
        with self._db.transaction():
            if added is None:
                rows = [(digest, phrase) for digest in of_each]
                self._db.sql.executemany("DELETE FROM mark WHERE digest = ? AND phrase = ?", rows)
            else:
                kept = [(digest, phrase, " ".join(label.split()), int(added)) for digest in of_each]
                self._db.sql.executemany("INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?)", kept)
            self._version = -1

    def of_picture(self, digest: str) -> dict[str, bool]:
        """Marks of a picture by label as it was written, in alphabetical order."""
        return dict(sorted(self.said().get(digest, {}).values()))

    def said(self) -> Said:
        """All marks."""
        with self._db.errors():
            version = self._db.sql.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                kept: dict[str, dict[str, tuple[str, bool]]] = {}
                for digest, phrase, label, added in self._db.sql.execute("SELECT * FROM mark"):
                    kept.setdefault(digest, {})[phrase] = (label, bool(added))
                self._kept, self._version = kept, version
            return self._kept

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def open_marks(where: str) -> Marks:
    """The marks of an index.

    Args:
        where: as for `open_index`: those of a folder are in it, those of a server on this machine.
    """
    return Marks(marks_file(where))


def kept_marks(where: str) -> Said:
    """What the marks of an index are now, also in a folder that can only be read; makes no file there.

    Raises:
        MachineError: they are damaged or cannot be read.
    """
    file = marks_file(where)
    if not file.exists():
        return {}
    with tempfile.TemporaryDirectory(prefix="tagprism-") as folder:
        if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK):  # SQLite writes even to read
            with machine_errors(file):
                for part in file.parent.glob(f"{file.name}*"):
                    shutil.copyfile(part, Path(folder) / part.name)
            file = Path(folder) / file.name
        with closing(Marks(file)) as marks:
            return marks.said()
