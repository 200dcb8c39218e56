"""The plain form of an index, which the engines are held against: SQLite keeps it, one numpy product ranks it.

Slow to open and to change, as all records are read into memory again after every change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer

from tagprism.bundle.record import Records, Shape, check_scoring_vectors, score_records
from tagprism.errors import InputError
from tagprism.files import machine_errors
from tagprism.progress import Progress, silent
from tagprism.search.conditions import Filter, meets, moments
from tagprism.search.contract import MAX_ID, Hit, IndexInfo, Picture, check_added
from tagprism.search.stored import as_json, from_json
from tagprism.sqlite_file import SqliteFile

_FILE = "pictures.sqlite"
_TABLES = """
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS shape (one INTEGER PRIMARY KEY, M INTEGER, D INTEGER, S INTEGER);
CREATE TABLE IF NOT EXISTS picture (id INTEGER PRIMARY KEY, json TEXT, record BLOB);
"""


class NumpyIndex:
    """An `Index` in an SQLite file, float32 and exact. Threads and processes may share it.

    Args:
        folder: where it is kept; made when absent.
        shape: of its records; needed only where there is no index yet.

    Raises:
        InputError: there is no index and no shape, or one of another shape.
        MachineError: the folder cannot be written, the disk is full, the file is damaged; by every method.
    """

    def __init__(self, folder: Path, shape: Shape | None = None) -> None:
        self._file = folder / _FILE
        self._read_at = -1  # count of other connections' changes when `_ids` and `_records` were read; -1: read again
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if shape is None and not self._file.exists():
            raise InputError("there is no index.", where=str(folder), remedy="Make one with `tagprism index`.")
        self._db = SqliteFile(self._file, "the index fails", "Free space or mend the permission.", _TABLES)
        try:
            self.shape = self._shape(shape)
        except BaseException:
            self.close()
            raise

    def _shape(self, shape: Shape | None) -> Shape:
        with self._db.errors():
            if shape is not None:
                self._db.sql.execute("INSERT OR IGNORE INTO shape VALUES (1, ?, ?, ?)", shape)
            found = self._db.sql.execute("SELECT M, D, S FROM shape").fetchone()
        if found is None or (shape is not None and found != shape):
            raise InputError(f"holds records of shape {found}, not {shape}.", where=str(self._file))
        return Shape(*found)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._db.transaction():
            self._read_at = -1
            yield

    def add(self, pictures: Sequence[Picture], records: Records) -> None:
        """Add pictures, or replace those of the same id: all of them or, with an error, none."""
        check_added(pictures, records, self.shape)
        rows = (
            (picture.id, json.dumps(as_json(picture)), _bytes(record))
            for picture, record in zip(pictures, records, strict=True)
        )
        with self._transaction():
            self._db.sql.executemany("INSERT OR REPLACE INTO picture VALUES (?, ?, ?)", rows)

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""
        with self._transaction():
            self._db.sql.executemany("DELETE FROM picture WHERE id = ?", ((one,) for one in ids if 1 <= one <= MAX_ID))

    def _read(self) -> tuple[Integer[np.ndarray, " n"], Records]:
        """Ids and records as they are now, ids rising."""
        with self._db.errors():
            changes = self._db.sql.execute("PRAGMA data_version").fetchone()[0]
            if changes != self._read_at:
                rows = self._db.sql.execute("SELECT id, record FROM picture ORDER BY id").fetchall()
                self._ids = np.array([number for number, _ in rows], np.int64)
                self._records = self._of_bytes([record for _, record in rows])
                self._read_at = changes
            return self._ids, self._records

    def _of_bytes(self, parts: list[bytes]) -> Records:
        M, D, S = self.shape
        flat = np.frombuffer(b"".join(parts), "<f4").astype(np.float32).reshape(-1, M * D + S)
        return Records(flat[:, : M * D].reshape(-1, M, D), flat[:, M * D :])

    def search(
        self,
        scoring_vectors: Float32[np.ndarray, "q Q"],
        limit: int,
        *,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The best pictures for each of q scoring vectors, best first; ties: lowest id first."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        ids, records = self._read()
        if where is not None:
            for beginnings in (*where.taken, *where.not_taken):
                moments(beginnings)  # what is no time is an error, also where there are no pictures
            kept = [row for row, picture in enumerate(self.get(ids.tolist())) if picture and meets(picture, where)]
            ids, records = ids[kept], records[np.array(kept, int)]
        hits = []
        for column in score_records(records, scoring_vectors)[0].T:
            best = np.lexsort((ids, -column))[:limit]
            hits.append([Hit(int(ids[row]), float(column[row])) for row in best])
        return hits

    def whole(self) -> None:
        """It is asked for lists, as a server's."""

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""
        return [None if row is None else from_json(one, json.loads(row[0])) for one, row in self._rows("json", ids)]

    def records(self, ids: Sequence[int]) -> Records:
        """Stored records; a `KeyError` for an id not there."""
        found = []
        for one, row in self._rows("record", ids):
            if row is None:
                raise KeyError(one)
            found.append(row[0])
        return self._of_bytes(found)

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each scoring vector; a `KeyError` for an id not there."""
        check_scoring_vectors(scoring_vectors, self.shape.width)
        return score_records(self.records(ids), scoring_vectors)[0].T

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id."""
        last: int | None = after
        while last is not None:
            with self._db.errors():
                query = "SELECT id, json FROM picture WHERE id > ? ORDER BY id LIMIT 1000"
                rows = self._db.sql.execute(query, (last,)).fetchall()
            yield from (from_json(one, json.loads(text)) for one, text in rows)
            last = rows[-1][0] if rows else None

    def _rows(self, column: str, ids: Sequence[int]) -> Iterator[tuple[int, tuple[bytes] | None]]:
        query = f"SELECT {column} FROM picture WHERE id = ?"
        for one in ids:
            with self._db.errors():
                row = self._db.sql.execute(query, (one,)).fetchone() if 1 <= one <= MAX_ID else None
            yield one, row

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"], progress: Progress = silent) -> None:
        """Nothing to do: it is always exact."""

    def info(self) -> IndexInfo:
        """Size, form and exactness."""
        with self._db.errors():
            count = self._db.sql.execute("SELECT count(*) FROM picture").fetchone()[0]
        return IndexInfo(count, *self.shape, storage="float32", exact=True, recall=1.0)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _bytes(record: Records) -> bytes:
    return np.concatenate([record.rows.ravel(), record.shared.ravel()]).astype("<f4").tobytes()
