"""The picture record: all that is kept of a picture, so that any label can be scored on it. Knows only arrays.

The rows are `A_m / sd`, one for each principal vector. The shared numbers belong to the picture as a whole and stand
there once: `-mu / sd`, and where a bundle has class columns also the evidence for the backbone's own classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float


class Shape(NamedTuple):
    """The size of a picture's record.

    Args:
        vectors: M, rows.
        dimension: D, numbers of a row.
        shared: S, numbers of the picture as a whole.
    """

    vectors: int
    dimension: int
    shared: int

    def __str__(self) -> str:
        return f"{self.vectors} x {self.dimension} and {self.shared} numbers"

    @property
    def width(self) -> int:
        """D + S, the length of a scoring vector."""
        return self.dimension + self.shared


@dataclass(frozen=True, eq=False)
class Records:
    """Records of n pictures. Indexing with a slice or an array chooses pictures; iteration gives them one by one.

    Args:
        rows: (n, M, D) `A_m / sd`.
        shared: (n, S) the shared numbers c, S at least 1.

    Example:
        >>> import numpy as np
        >>> records = Records(np.zeros((5, 7, 256), np.float32), np.zeros((5, 194), np.float32))
        >>> len(records), len(records[1:3]), records.shape.width
        (5, 2, 450)
    """

    rows: Float[np.ndarray, "n M D"]
    shared: Float[np.ndarray, "n S"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | np.ndarray) -> Records:
        return Records(self.rows[which], self.shared[which])

    def __iter__(self) -> Iterator[Records]:
        return (self[at : at + 1] for at in range(len(self)))

    @property
    def shape(self) -> Shape:
        """M, D and S."""
        return Shape(*self.rows.shape[1:], *self.shared.shape[1:])

    def astype(self, dtype: npt.DTypeLike) -> Records:
        """The same numbers as another float type; no copy where they have it already."""
        return Records(self.rows.astype(dtype, copy=False), self.shared.astype(dtype, copy=False))

    @staticmethod
    def joined(parts: Iterable[Records]) -> Records:
        """The pictures of one or more parts, in order."""
        rows, shared = zip(*((part.rows, part.shared) for part in parts), strict=True)
        return Records(np.concatenate(rows), np.concatenate(shared))

    @staticmethod
    def from_copies(matrices: Float[np.ndarray, "n M Q"], dimension: int) -> Records:
        """Records of the form of older bundles and indexes, whose rows end in a copy of the shared numbers each."""
        return Records(matrices[:, :, :dimension], matrices[:, 0, dimension:])
