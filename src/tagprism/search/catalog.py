"""Which files an index holds, for its upkeep: path, size, time and digest. Knows no matrices; the index decides.

The index is the truth. Ids are noted here before the index is changed and the outcome after, so that a process killed
between the two leaves a note of what to look up.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from tagprism.search.contract import METADATA_VERSION, Index, Picture
from tagprism.sqlite_file import SqliteFile

_TABLES = """
PRAGMA synchronous=NORMAL;  -- what a power cut takes, `heal` finds again
PRAGMA temp_store=FILE;
CREATE TABLE IF NOT EXISTS picture (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    digest BLOB NOT NULL, facts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS by_path ON picture (path);
CREATE INDEX IF NOT EXISTS by_size ON picture (size, digest);
CREATE TABLE IF NOT EXISTS bad (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL, code TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS intended (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS last_id (id INTEGER NOT NULL);
INSERT INTO last_id SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM last_id);
CREATE TABLE IF NOT EXISTS not_read (path BLOB PRIMARY KEY, kind TEXT NOT NULL);
CREATE TEMP TABLE seen (path BLOB PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL);
CREATE TEMP TABLE hidden (path BLOB PRIMARY KEY);
CREATE TEMP TABLE still_bad (path BLOB PRIMARY KEY);
"""
_PAGE = 1000
# A path is below a root when it is the root, or begins with it and a separator ("/" + 1 is "0").
_BELOW = "(path = :root OR (path >= :first AND path < :end))"
_UNHIDDEN = "NOT EXISTS (SELECT 1 FROM hidden WHERE substr(picture.path, 1, length(hidden.path)) = hidden.path)"


class File(NamedTuple):
    """A picture file as the walk met it.

    Args:
        path: absolute.
        size: in bytes.
        modified: time of last change, in nanoseconds since 1970.
    """

    path: str
    size: int
    modified: int


def as_files(paths: Iterable[str], folders: list[str]) -> Iterator[File]:
    """Pictures that a walk met, as they are now; folders, which it could not list, go into a list instead."""
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116
        except (OSError, ValueError):
            yield File(path, -1, -1)  # reading it says what is wrong
            continue
        if stat.S_ISDIR(status.st_mode):
            folders.append(path)
        else:
            yield File(path, status.st_size, status.st_mtime_ns)


class Catalog:
    """The files of an index, in an SQLite file that can be made anew from the index.

    Args:
        file: its path; made when absent.

    Raises:
        MachineError: it is damaged, or cannot be read or written; by every method.
    """

    def __init__(self, file: Path) -> None:
        remedy = "Free space or mend the permission; if it is damaged, delete it: it is made again from the index."
        self._db = SqliteFile(file, "the catalog of the index fails", remedy, _TABLES)
        with self._db.errors():
            columns = [row[1] for row in self._db.sql.execute("PRAGMA table_info(picture)")]
            if "facts" not in columns:  # of a version that did not read them yet
                self._db.sql.execute("ALTER TABLE picture ADD COLUMN facts INTEGER NOT NULL DEFAULT 0")

    def heal(self, index: Index) -> None:
        """Look up in the index what an interrupted change has come to; all of it where the numbers differ.

        A process that was killed may have sent a last change that is carried out after its follower has looked: a file
        that is then there twice is taken out of the index once.
        """
        with self._db.errors():
            ids = [row[0] for row in self._db.sql.execute("SELECT id FROM intended")]
        if ids:
            found = index.get(ids)
            with self._db.transaction():
                self._forget(ids)
                self._keep(picture for picture in found if picture is not None)
        with self._db.errors():
            (count,) = self._db.sql.execute("SELECT count(*) FROM picture").fetchone()
        if count != index.info().pictures:
            with self._db.transaction():
                self._db.sql.execute("DELETE FROM picture")
                self._keep(index.pictures())
            last = "SELECT max(id) FROM picture GROUP BY path"
            with self._db.errors():
                twice = [row[0] for row in self._db.sql.execute(f"SELECT id FROM picture WHERE id NOT IN ({last})")]
            index.remove(twice)
            self.forget(twice)

    @contextmanager
    def change(self, ids: Sequence[int]) -> Iterator[None]:
        """Note ids before the index is changed in the block; `keep` or `forget` them in it, when that is done."""
        with self._db.transaction():
            self._db.sql.executemany("INSERT OR IGNORE INTO intended VALUES (?)", ((one,) for one in ids))
            self._db.sql.execute("UPDATE last_id SET id = max(id, ?)", (max(ids),))  # also where it comes to nothing
        yield

    def keep(self, pictures: Sequence[Picture]) -> None:
        """The index holds these now."""
        with self._db.transaction():
            self._forget([picture.id for picture in pictures])
            self._keep(pictures)

    def forget(self, ids: Sequence[int]) -> None:
        """The index holds these no more."""
        with self._db.transaction():
            self._forget(ids)

    def _keep(self, pictures: Iterable[Picture]) -> None:
        self._db.sql.executemany(
            "INSERT OR REPLACE INTO picture (id, path, size, modified, digest, facts) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (one.id, os.fsencode(one.path), one.size, one.modified, bytes.fromhex(one.digest), one.metadata_version)
                for one in pictures
            ),
        )

    def _forget(self, ids: Sequence[int]) -> None:
        for table in ("picture", "intended"):
            self._db.sql.executemany(f"DELETE FROM {table} WHERE id = ?", ((one,) for one in ids))

    def next_id(self) -> int:
        """An id above all that were ever used."""
        with self._db.errors():
            used = "SELECT id FROM last_id UNION SELECT max(id) FROM picture"
            (last,) = self._db.sql.execute(f"SELECT max(id) FROM ({used})").fetchone()
        return int(last) + 1

    def scan(self, files: Iterable[File], hidden: Iterable[str]) -> None:
        """Take note of all files that a walk met, in place of those of the last walk.

        Args:
            files: each path once.
            hidden: folders that the walk could not look into; fetched after the files.
        """
        with self._db.transaction():
            self._db.sql.execute("DELETE FROM seen")
            self._db.sql.execute("DELETE FROM hidden")
            self._db.sql.executemany(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
                ((os.fsencode(one.path), one.size, one.modified) for one in files),
            )
            self._db.sql.executemany("INSERT OR IGNORE INTO hidden VALUES (?)", ((_folder(path),) for path in hidden))

    def keep_not_read(self, roots: Sequence[str], files: Iterable[tuple[str, str]]) -> None:
        """Note the (path, kind) of the files below some roots that are of kinds that are not read."""
        with self._db.transaction():
            self._db.sql.executemany(f"DELETE FROM not_read WHERE {_BELOW}", map(_range, roots))
            rows = ((os.fsencode(path), kind) for path, kind in files)
            self._db.sql.executemany("INSERT OR REPLACE INTO not_read VALUES (?, ?)", rows)

    def to_look_at(self) -> tuple[int, int]:
        """How many files were seen, and how many of them the index does not hold as they are."""
        with self._db.errors():
            (seen,) = self._db.sql.execute("SELECT count(*) FROM seen").fetchone()
            (same,) = self._db.sql.execute(
                "SELECT count(*) FROM seen JOIN picture USING (path, size, modified) WHERE facts >= ?",
                (METADATA_VERSION,),
            ).fetchone()
        return int(seen), int(seen - same)

    def each_to_look_at(self) -> Iterator[tuple[File, int | None]]:
        """Seen files that the index does not hold as they are, by path; with the id that their path has, if any.

        Those of which an older version has read less than is read today are among them.
        """
        query = (
            "SELECT seen.path, seen.size, seen.modified, picture.id FROM seen LEFT JOIN picture USING (path) "
            "WHERE seen.path > ? AND (picture.id IS NULL OR facts < ? OR (picture.size, picture.modified) != "
            "(seen.size, seen.modified)) ORDER BY seen.path LIMIT ?"
        )
        last = b""
        while True:
            with self._db.errors():
                rows = self._db.sql.execute(query, (last, METADATA_VERSION, _PAGE)).fetchall()
            if not rows:
                return
            for path, size, modified, number in rows:
                yield File(os.fsdecode(path), size, modified), number
            last = rows[-1][0]

    def has_size(self, size: int) -> bool:
        """Whether a picture of so many bytes is held, so that a new file may be the same one."""
        with self._db.errors():
            return self._db.sql.execute("SELECT 1 FROM picture WHERE size = ? LIMIT 1", (size,)).fetchone() is not None

    def same_bytes(self, size: int, digest: str) -> Iterator[int]:
        """Ids of the pictures that have these bytes, one by one: of many copies the first is mostly enough."""
        query = "SELECT id FROM picture WHERE size = ? AND digest = ? AND id > ? ORDER BY id LIMIT 1"
        last = 0
        while True:
            with self._db.errors():
                row = self._db.sql.execute(query, (size, bytes.fromhex(digest), last)).fetchone()
            if row is None:
                return
            (last,) = row
            yield last

    def count_below(self, root: str) -> int:
        """How many pictures are held of a file or folder."""
        with self._db.errors():
            row = self._db.sql.execute(f"SELECT count(*) FROM picture WHERE {_BELOW}", _range(root)).fetchone()
        return int(row[0])

    def held_below(self, root: str, *, alike: bool = False) -> list[tuple[int, str]]:
        """Ids and paths of the pictures held of a file or folder; with `alike` as `gone_below`."""
        query = f"SELECT id, path FROM picture WHERE {_BELOW}"
        with self._db.errors():
            return self._paths(query, root, alike)

    def _paths(self, query: str, root: str, alike: bool) -> list[tuple[int, str]]:
        found = [(number, os.fsdecode(path)) for number, path in self._db.sql.execute(query, _range(root))]
        if alike:
            rows = ((number, os.fsdecode(path)) for number, path in self._db.sql.execute(query, _alike(root)))
            found += [(number, path) for number, path in rows if _start(path) == _start(root)]
        return found

    def held_as(self, paths: Iterable[str]) -> dict[str, tuple[int, str]]:
        """Ids and digests of those of some paths that are held."""
        query = "SELECT id, digest FROM picture WHERE path = ?"
        with self._db.errors():
            rows = [(path, self._db.sql.execute(query, (os.fsencode(path),)).fetchone()) for path in paths]
        return {path: (int(row[0]), row[1].hex()) for path, row in rows if row is not None}

    def gone_below(self, root: str, *, alike: bool = False) -> list[tuple[int, str]]:
        """Ids and paths of the pictures held of a file or folder that the walk has not met, though it could look.

        Args:
            root: the file or folder.
            alike: take in the files beside it that are named alike but for the ending.
        """
        query = (
            f"SELECT id, path FROM picture WHERE {_BELOW} AND {_UNHIDDEN} AND NOT EXISTS "
            "(SELECT 1 FROM seen WHERE seen.path = picture.path) ORDER BY id"
        )
        with self._db.errors():
            return self._paths(query, root, alike)

    def note_bad(self, file: File, code: str) -> bool:
        """Note a file that cannot be used; whether that is known of it as it is."""
        path = os.fsencode(file.path)
        with self._db.errors():
            row = self._db.sql.execute("SELECT size, modified, code FROM bad WHERE path = ?", (path,)).fetchone()
            self._db.sql.execute("INSERT OR IGNORE INTO still_bad VALUES (?)", (path,))
            if row == (file.size, file.modified, code):
                return True
            values = (path, file.size, file.modified, code)
            self._db.sql.execute("INSERT OR REPLACE INTO bad VALUES (?, ?, ?, ?)", values)
        return False

    def forget_bad(self, roots: Iterable[str], *, all: bool = False) -> None:
        """Forget the bad files below some roots that were not bad again since this was last called, or all of them."""
        again = "1" if all else "path NOT IN (SELECT path FROM still_bad)"
        with self._db.transaction():
            for root in roots:
                self._db.sql.execute(f"DELETE FROM bad WHERE {_BELOW} AND {again}", _range(root))
            self._db.sql.execute("DELETE FROM still_bad")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _folder(path: str) -> bytes:
    """A folder's path with one separator at its end."""
    return os.fsencode(path).rstrip(os.sep.encode()) + os.sep.encode()


def _range(root: str) -> dict[str, bytes]:
    first = _folder(root)
    return {"root": os.fsencode(root), "first": first, "end": first[:-1] + bytes([first[-1] + 1])}


def _alike(path: str) -> dict[str, bytes]:
    """Paths that begin as this one without its ending, and a full stop ("." + 1 is "/"): of `a.jpg` also `a.b.jpg`."""
    start = os.fsencode(_start(path))
    return {"root": start, "first": start + b".", "end": start + b"/"}


def _start(path: str) -> str:
    """A path without its last ending."""
    return os.path.splitext(path)[0]  # noqa: PTH122 (texts)


def not_read(file: Path) -> dict[str, int]:
    """Kind -> how many files in the folders of an index are of it and not read; of no catalog that can be read none."""
    query = "SELECT kind, count(*) FROM not_read GROUP BY kind"
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", timeout=60, uri=True)) as sql:
            return dict(sql.execute(query).fetchall())
    except sqlite3.Error:
        return {}


def held_with(file: Path, digests: Container[str]) -> list[int] | None:
    """Ids of the pictures that have one of some digests; None where there is no catalog that can be read.

    Only reads, beside whoever changes the catalog. The index is the truth: ask it whether they still have these bytes.
    """
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", timeout=60, uri=True)) as sql:
            return [one for one, digest in sql.execute("SELECT id, digest FROM picture") if digest.hex() in digests]
    except sqlite3.Error:
        return None
