"""An SQLite file that several processes and threads use, whose failures are errors for people. Knows no tables."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagprism.errors import MachineError
from tagprism.files import machine_errors


class SqliteFile:
    """An opened SQLite file with a write-ahead log.

    Args:
        path: the file; made when absent.
        fails: what is said when it does (`the catalog of the index fails`).
        remedy: what then helps.
        setup: SQL that makes the tables which are not there.

    Attributes:
        sql: the connection, for use within `errors` or `transaction`.

    Raises:
        MachineError: the file is damaged, or cannot be read or written; also by what is done in `errors`.
    """

    def __init__(self, path: Path, fails: str, remedy: str, setup: str) -> None:
        self._path, self._fails, self._remedy, self._lock = path, fails, remedy, threading.RLock()
        with self.errors():
            self.sql = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            with self.errors():
                self.sql.execute("PRAGMA journal_mode=WAL")
                self.sql.executescript(setup)
        except MachineError:
            self.close()
            raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """One thread at a time, with errors for people."""
        try:
            with self._lock, machine_errors(self._path):
                yield
        except sqlite3.Error as error:
            raise MachineError(f"{self._fails} ({error}).", where=str(self._path), remedy=self._remedy) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is done within, or nothing."""
        with self.errors():
            self.sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.sql.execute("COMMIT")
            except BaseException:
                self.sql.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let go of the file."""
        self.sql.close()


class ByteCache:
    """Values by key, kept in a file: safe against `kill -9` and shared by runs.

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
