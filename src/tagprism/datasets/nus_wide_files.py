"""The text files of NUS-WIDE, row by row: lists, 0/1 matrices, 0/1 columns. Knows no pictures and no labels."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from tagprism.errors import InputError

_AGAIN = "Download and unpack its archive again."
_ZERO, _ONE = ord("0"), ord("1")
_SEPARATORS = (ord(" "), ord("\t"))
_FLAW = ("Labels_lake_Train.txt", b"-1130179")  # one cell of the official distribution, in row 78,372


def read_lines(path: Path) -> list[str]:
    """The lines of a list, without white space around them and without empty lines at its end.

    Raises:
        InputError: it cannot be read, is empty, is not text, or holds a line twice or an empty one; the row is named.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}).", where=str(path), remedy=_AGAIN) from error
    except UnicodeDecodeError as error:
        raise InputError("is not text.", where=str(path), remedy=_AGAIN) from error
    rows: dict[str, int] = {}
    for row, line in enumerate(lines, start=1):
        if not line:
            raise InputError("is an empty line.", where=f"{path}, row {row}", remedy=_AGAIN)
        if rows.setdefault(line, row) != row:
            raise InputError(f"'{line}' is in row {rows[line]} too.", where=f"{path}, row {row}", remedy=_AGAIN)
    return lines


def read_matrix(path: Path, rows: int, columns: int) -> Iterator[Int64[np.ndarray, " ones"]]:
    """The rows of a 0/1 matrix, separated by tabs or spaces; one row is in memory at a time.

    Args:
        path: the file.
        rows: how many it must have.
        columns: how many cells each row must have.

    Yields:
        Positions of the ones of each row.

    Raises:
        InputError: another number of rows or cells, or a cell that is neither 0 nor 1; the row is named.
    """
    read = 0
    with _opened(path) as file:
        for line in file:
            if read == rows and not line.strip():
                continue
            read += 1
            if read > rows:
                raise InputError(f"has more than {rows} rows, one per image.", where=str(path), remedy=_AGAIN)
            yield _ones(line.rstrip(), columns, path, read)
    if read < rows:
        raise InputError(f"has {read} rows; the list has {rows} images.", where=str(path), remedy=_AGAIN)


def read_column(path: Path, rows: int) -> Bool[np.ndarray, " rows"]:
    """A column of 0 and 1, one per line.

    The official `Labels_lake_Train.txt` has one flaw, `-1130179`; it counts as 0.

    Args:
        path: the file.
        rows: how many it must have.

    Raises:
        InputError: another number of rows, or a cell that is neither 0 nor 1; the row is named.
    """
    with _opened(path) as file:
        cells = file.read().split()
    if set(cells) - {b"0", b"1"}:
        for row, cell in enumerate(cells, start=1):
            if cell not in (b"0", b"1") and (path.name, cell) != _FLAW:
                raise _no_mark(cell, f"{path}, row {row}")
    if len(cells) != rows:
        raise InputError(f"has {len(cells)} rows; the list has {rows} images.", where=str(path), remedy=_AGAIN)
    return np.asarray([cell == b"1" for cell in cells], dtype=np.bool_)


def _ones(line: bytes, columns: int, path: Path, row: int) -> Int64[np.ndarray, " ones"]:
    if len(line) == 2 * columns - 1:  # as in the official files: one digit and one separator by turns
        letters = np.frombuffer(line, dtype=np.uint8)
        ones = letters[::2] == _ONE
        if (ones | (letters[::2] == _ZERO)).all() and np.isin(letters[1::2], _SEPARATORS).all():
            return np.flatnonzero(ones)
    cells = line.split()
    for column, cell in enumerate(cells, start=1):
        if cell not in (b"0", b"1"):
            raise _no_mark(cell, f"{path}, row {row}, cell {column}")
    if len(cells) != columns:
        what = f"has {len(cells)} cells; there are {columns} labels."
        raise InputError(what, where=f"{path}, row {row}", remedy=_AGAIN)
    return np.flatnonzero(np.asarray(cells) == b"1")


def _no_mark(cell: bytes, where: str) -> InputError:
    return InputError(f"'{cell[:20].decode(errors='replace')}' is neither 0 nor 1.", where=where, remedy=_AGAIN)


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}).", where=str(path), remedy=_AGAIN) from error
