"""An SQLite file that several processes and threads use, whose failures are errors for people. Knows no tables."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
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
