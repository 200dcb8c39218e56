"""Rows of integers of different lengths, end to end: the labels of nine million pictures. Knows no labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, Integer


@dataclass(frozen=True)
class Ragged:
    """A list of integer rows of different lengths, stored end to end.

    Args:
        starts: (N+1,) row i is `columns[starts[i]:starts[i+1]]`; begins with 0, never falls.
        columns: all rows one after the other.
    """

    starts: Int64[np.ndarray, " N1"]
    columns: Int32[np.ndarray, " values"]

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> Ragged:
        """Store rows of integers."""
        lengths: list[int] = []
        columns: list[int] = []
        for row in rows:
            lengths.append(len(row))
            columns.extend(row)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        return cls(starts, np.asarray(columns, dtype=np.int32))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Int32[np.ndarray, " values"]:
        """Values of one row."""
        return self.columns[self.starts[row] : self.starts[row + 1]]

    def gather(
        self, rows: Integer[np.ndarray, " R"]
    ) -> tuple[Int64[np.ndarray, " values"], Int32[np.ndarray, " values"]]:
        """Values of several rows, in the order asked.

        Returns:
            owners: for each value, which of the asked rows (0..R-1) it belongs to; values: the values.
        """
        begin = self.starts[rows]
        lengths = self.starts[rows + 1] - begin
        owners = np.repeat(np.arange(len(rows), dtype=np.int64), lengths)
        before = np.cumsum(lengths) - lengths
        return owners, self.columns[np.arange(len(owners)) + np.repeat(begin - before, lengths)]
