"""What an index of ranking matrices does, whatever keeps it. Knows neither words nor files' contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32


@dataclass(frozen=True)
class Picture:
    """What an index keeps of one picture file beside its ranking matrix.

    Args:
        id: of the point, from 1; never used again for another file.
        path: absolute, as `os.fsdecode` gives it.
        size: of the file, in bytes.
        modified: time of the file's last change, in nanoseconds since 1970.
        digest: SHA-256 of the file's bytes, in hex.
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
        taken: when the photo was taken, as the camera says it (`2024-07-31T18:05:09`), or None.
        tags: the best tags when it was indexed: (label, probability or None), best first.
    """

    id: int
    path: str
    size: int
    modified: int
    digest: str
    width: int
    height: int
    taken: str | None = None
    tags: tuple[tuple[str, float | None], ...] = ()


@dataclass(frozen=True)
class Filter:
    """Conditions that a picture must meet, all of them.

    Args:
        taken: least and greatest beginning of `taken`, both included, each a prefix of an ISO time (`2024`, `2024-07`).
        path: pieces of text that the path must hold, whatever their case.
        not_taken: ranges as for `taken`, none of which it may be in.
        not_path: pieces that the path must not hold.
    """

    taken: tuple[tuple[str, str], ...] = ()
    path: tuple[str, ...] = ()
    not_taken: tuple[tuple[str, str], ...] = ()
    not_path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hit:
    """One found point.

    Args:
        id: of the picture.
        score: the largest dot product of the query with a row of its matrix.
    """

    id: int
    score: float


@dataclass(frozen=True)
class IndexInfo:
    """What an index says of itself.

    Args:
        pictures: how many it holds.
        vectors: M, rows of a matrix.
        columns: D+1, or more: length of a row and of a query.
        storage: how matrices are kept.
        exact: whether `search` gives the ranking of the matrices as they were added.
        recall: where it is not exact, the measured share of the exact first 100 that `search` gives, 0..1; else 1.
    """

    pictures: int
    vectors: int
    columns: int
    storage: str
    exact: bool
    recall: float


class Index(Protocol):
    """Ranking matrices of pictures, ranked by max dot product. What a call has taken is kept when it returns."""

    def add(self, pictures: Sequence[Picture], matrices: Float[np.ndarray, "n M Q"]) -> None:
        """Add pictures, or replace those of the same id: all of them or, with an error, none."""

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""

    def search(
        self, queries: Float32[np.ndarray, "q Q"], limit: int, *, where: Filter | None = None
    ) -> list[list[Hit]]:
        """The best pictures for each of q queries, best first; ties: lowest id first."""

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""

    def matrices(self, ids: Sequence[int]) -> Float32[np.ndarray, "n M Q"]:
        """Stored matrices, as near to those added as the storage keeps them; a `KeyError` for an id not there."""

    def scores(self, queries: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each query, as `search` gives them; a `KeyError` for an id not there."""

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id; those changed meanwhile may be among them or not."""

    def settle(self, queries: Float32[np.ndarray, "q Q"]) -> None:
        """Make searches quick after many changes, and measure with these queries the recall that `info` states."""

    def info(self) -> IndexInfo:
        """Size, form and exactness."""

    def close(self) -> None:
        """Let go of files and connections."""
