"""The keywords of an index's files, in tables of their own beside the catalog, so that a search reads no file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tagprism.errors import PictureError
from tagprism.keywords.own import keywords_stamps, own_keywords
from tagprism.labels.phrases import normalise_phrase
from tagprism.progress import Progress
from tagprism.search.contract import Index
from tagprism.sqlite_file import SqliteFile

_TABLES = """
PRAGMA synchronous=NORMAL;  -- what a power cut takes is read again
CREATE TABLE IF NOT EXISTS keywords_read (id INTEGER PRIMARY KEY, stamp TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keyword (
    phrase TEXT NOT NULL, id INTEGER NOT NULL, place INTEGER NOT NULL, word TEXT NOT NULL, PRIMARY KEY (phrase, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keywords_of ON keyword (id);
"""
_BATCH = 64  # pictures whose keywords are kept at once


class KeywordTable:
    """The keywords of an index's files, for its upkeep.

    Args:
        file: the catalog's; the tables are made when absent.

    Raises:
        MachineError: it is damaged, or cannot be read or written; by every method.
    """

    def __init__(self, file: Path) -> None:
        remedy = "Free space or mend the permission; if it is damaged, delete it: it is made again from the index."
        self._db = SqliteFile(file, "the catalog of the index fails", remedy, _TABLES)

    def update(
        self, held: Mapping[int, str], index: Index, progress: Progress, changed_too: Callable[[Sequence[int]], None]
    ) -> None:
        """Read the keywords of pictures whose files or sidecars have changed since, and forget those that are gone.

        Args:
            held: id -> path of the pictures to look at.
            index: says which of the others are still there.
            progress: told of every picture whose keywords are read.
            changed_too: called with their ids before it is noted that they were read, so that a kill loses nothing.
        """
        stamps = self.stamps()
        absent = [one for one in stamps if one not in held]
        self.forget([one for one, picture in zip(absent, index.get(absent), strict=True) if picture is None])
        now = dict(zip(held, keywords_stamps(held.values()), strict=True))
        changed = [number for number, stamp in now.items() if stamps.get(number) != stamp]
        if not changed:
            return
        with progress("reading keywords", len(changed)) as advance:
            for start in range(0, len(changed), _BATCH):
                some = changed[start : start + _BATCH]
                changed_too(some)
                self.put([(number, now[number], _keywords_of(held[number])) for number in some])
                advance(len(some))

    def stamps(self) -> dict[int, str]:
        """Of each picture whose keywords were read what its files were then."""
        with self._db.errors():
            return dict(self._db.sql.execute("SELECT id, stamp FROM keywords_read"))

    def put(self, read: Sequence[tuple[int, str, Sequence[str]]]) -> None:
        """Keep pictures' keywords in place of those they had: (id, stamp, words) of each."""
        with self._db.transaction():
            self._forget([number for number, _, _ in read])
            for number, stamp, words in read:
                first = {
                    normalise_phrase(word): (position, word) for position, word in reversed(list(enumerate(words)))
                }
                rows = [(phrase, number, *one) for phrase, one in first.items() if phrase]
                self._db.sql.execute("INSERT INTO keywords_read VALUES (?, ?)", (number, stamp))
                self._db.sql.executemany("INSERT INTO keyword VALUES (?, ?, ?, ?)", rows)

    def forget(self, ids: Sequence[int]) -> None:
        """Let go of the keywords of pictures that are no longer there."""
        with self._db.transaction():
            self._forget(ids)

    def _forget(self, ids: Sequence[int]) -> None:
        for table in ("keyword", "keywords_read"):
            self._db.sql.executemany(f"DELETE FROM {table} WHERE id = ?", ((one,) for one in ids))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _keywords_of(path: str) -> tuple[str, ...]:
    try:
        return own_keywords(Path(path))
    except PictureError:  # it has gone meanwhile; what takes its place has another stamp
        return ()


def kept_keywords(file: Path) -> list[list[Any]]:
    """[id, stamp, words] of each picture whose keywords were read; of no catalog that can be read none."""
    words: dict[int, list[str]] = {}
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", timeout=60, uri=True)) as sql:
            for number, word in sql.execute("SELECT id, word FROM keyword ORDER BY id, place"):
                words.setdefault(number, []).append(word)
            stamps = sql.execute("SELECT id, stamp FROM keywords_read ORDER BY id").fetchall()
    except sqlite3.Error:  # they are read anew from the files
        return []
    return [[number, stamp, words.get(number, [])] for number, stamp in stamps]
