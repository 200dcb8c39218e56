"""Lines of CSV: names of any bytes, and cells that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile(r"[=+\-@\t\r]")  # how a cell begins that a spreadsheet runs
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")


def csv_lines(rows: Iterable[Sequence[str]], *, spreadsheet: bool = False) -> str:
    """Rows as CSV.

    Args:
        rows: cells as text.
        spreadsheet: put an apostrophe before cells that a spreadsheet would run as a formula: those that begin with
            `=`, `+`, `-`, `@`, a tabulator or a carriage return and are no numbers.
    """
    lines = []
    for row in rows:
        buffer = io.StringIO()
        csv.writer(buffer).writerow([_safe(cell) for cell in row] if spreadsheet else row)  # with \r\n: quotes both
        lines.append(buffer.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def _safe(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def csv_name(path: str | os.PathLike[str]) -> str:
    """A path as text; bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
