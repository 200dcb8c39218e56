"""Bytes by bytes on disk, in an SQLite file: safe against `kill -9` and shared by runs. Knows not what they mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagprism.errors import MachineError
from tagprism.files import machine_errors


class ByteCache:
    """Values by key, kept in a file.

    Args:
        path: the file; made when absent.
        what: of the values, for messages.

    Raises:
        MachineError: the file is damaged, or cannot be read or written; by every method.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        with self._machine_errors():
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        try:
            with self._machine_errors():
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value BLOB)")
        except MachineError:
            self.close()
            raise

    @contextmanager
    def _machine_errors(self) -> Iterator[None]:
        try:
            with machine_errors(self._path):
                yield
        except sqlite3.Error as error:
            remedy = "Free space or mend the permission; if the file is damaged, delete it: it is computed again."
            raise MachineError(
                f"the cache of {self._what} fails ({error}).", where=str(self._path), remedy=remedy
            ) from error

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values that are there, by key."""
        found = {}
        for key in set(keys):
            with self._machine_errors():
                row = self._connection.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = row[0]
        return found

    def sizes(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """The lengths of the values that are there, by key; no value is read."""
        found = {}
        for key in set(keys):
            with self._machine_errors():
                row = self._connection.execute("SELECT length(value) FROM kept WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = int(row[0])
        return found

    def put(self, values: dict[bytes, bytes]) -> None:
        """Keep some values; they are on disk when this returns."""
        with self._machine_errors():
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", values.items())
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
