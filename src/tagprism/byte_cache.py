"""Bytes by bytes on disk, in an SQLite file: safe against `kill -9` and shared by runs. Knows not what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tagprism.sqlite_file import SqliteFile


class ByteCache:
    """Values by key, kept in a file.

    Args:
        path: the file; made when absent.
        what: of the values, for messages.

    Raises:
        MachineError: the file is damaged, or cannot be read or written; by every method.
    """

    def __init__(self, path: Path, what: str) -> None:
        remedy = "Free space or mend the permission; if the file is damaged, delete it: it is computed again."
        setup = "CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value BLOB)"
        self._file = SqliteFile(path, f"the cache of {what} fails", remedy, setup)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values that are there, by key."""
        found = {}
        for key in set(keys):
            with self._file.errors():
                row = self._file.sql.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = row[0]
        return found

    def sizes(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """The lengths of the values that are there, by key; no value is read."""
        found = {}
        for key in set(keys):
            with self._file.errors():
                row = self._file.sql.execute("SELECT length(value) FROM kept WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = int(row[0])
        return found

    def put(self, values: dict[bytes, bytes]) -> None:
        """Keep some values; they are on disk when this returns."""
        with self._file.transaction():
            self._file.sql.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", values.items())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
