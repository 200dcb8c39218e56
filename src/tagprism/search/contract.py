"""What an index of picture records does, whatever keeps it. Knows no words, no engines, and not how it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tagprism.bundle.record import Records, Shape
from tagprism.errors import InputError
from tagprism.progress import Progress, silent
from tagprism.search.conditions import Filter, moment

MAX_ID = 2**63 - 1
METADATA_VERSION = 1
"""Raised when more is read from picture files, so that the next update reads it from those that are indexed."""

FIRST_STAGE = 50_000
"""Pictures from which on an index looks for candidates first, by one vector a picture: what its rows come to, and the
shared numbers. The records of the candidates decide."""
_CANDIDATES = 4000, 8  # at least, and for each picture that is wanted
_BY_MEAN = 2  # times more are needed where they are found by the mean of rows alone (docs/scale.md)


@dataclass(frozen=True)
class Picture:
    """What an index keeps of one picture file beside its record.

    Args:
        id: of the point, from 1; never used again for another file.
        path: absolute, as `os.fsdecode` gives it.
        size: of the file, in bytes.
        modified: time of the file's last change, in nanoseconds since 1970.
        digest: SHA-256 of the file's bytes, in hex.
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
        taken: when the photo was taken, as the camera says it (`2024-07-31T18:05:09` or a beginning of that), or None.
        tags: the best tags when it was indexed: (label, probability or None), best first.
        taken_from: what says when the photo was taken, as in `images.metadata`; or ''.
        camera: maker and model, or ''.
        rating: stars, 0 to 5, or -1 for rejected; None where nothing says so.
        kind: of the file: `jpeg`, `heic`, `raw` ...; or ''.
        location: (latitude, longitude) in degrees, or None.
        metadata_version: `METADATA_VERSION` when all these were read; 0 of an index that knows only `taken`.
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
    taken_from: str = ""
    camera: str = ""
    rating: int | None = None
    kind: str = ""
    location: tuple[float, float] | None = None
    metadata_version: int = METADATA_VERSION


@dataclass(frozen=True)
class Hit:
    """One found point.

    Args:
        id: of the picture.
        score: of the scoring vector on its record (`bundle.record.score_records`).
    """

    id: int
    score: float


@dataclass(frozen=True)
class IndexInfo:
    """What an index says of itself.

    Args:
        pictures: how many it holds.
        vectors: M, rows of a record.
        dimension: D, numbers of a row.
        shared: S, shared numbers of a picture.
        storage: how records are kept.
        exact: whether `search` gives the ranking of the records as they were added.
        recall: where candidates are looked for first, the share of the first 100 of the kept records that `search`
            gives for one word, 0..1, as measured last on this index; else 1. What rounding costs is not in it, nor what
            a query of several words finds, which looks for candidates by all of them together (docs/scale.md). None
            where candidates are found by something else than when it was measured, or it never was.
        worst: that share for the word which loses most by the first stage, of those it was measured with; else 1.
        fitted: whether candidates are found by what is nearest for words that are usually asked for, and not by the
            mean of a picture's rows. It says nothing where none are looked for.
    """

    pictures: int
    vectors: int
    dimension: int
    shared: int
    storage: str
    exact: bool
    recall: float | None
    worst: float | None = 1.0
    fitted: bool = False


class Index(Protocol):
    """Records of pictures, ranked by their scores. What a call has taken is kept when it returns."""

    def add(self, pictures: Sequence[Picture], records: Records) -> None:
        """Add pictures, or replace those of the same id: all of them or, with an error, none."""

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""

    def search(
        self,
        scoring_vectors: Float32[np.ndarray, "q Q"],
        limit: int,
        *,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The best pictures for each of q scoring vectors, best first; ties: lowest id first.

        A large index looks for candidates first (`first_stage`), whose records decide; `exact` looks at all records.
        """

    def whole(self) -> Whole | None:
        """The index, where it is open in this process; None where another or a server has it, or it gives less."""

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""

    def records(self, ids: Sequence[int]) -> Records:
        """Records as float32, as near to those added as the storage keeps them; a `KeyError` for an id not there."""

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """Scores of given pictures for each scoring vector, as in `search`; a `KeyError` for an id not there."""

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id; those changed meanwhile may be among them or not."""

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"], progress: Progress = silent) -> None:
        """Make searches quick after many changes, and measure the recall that `info` states.

        Args:
            scoring_vectors: the first `MEASURED` measure; the others say what is usually asked for.
            progress: told of the pictures of which something is written again.
        """

    def info(self) -> IndexInfo:
        """Size, form and exactness."""

    def close(self) -> None:
        """Let go of files and connections."""


MEASURED = 16
"""Scoring vectors that recall is measured with."""

Match = Callable[[Float32[np.ndarray, "q n"], Int64[np.ndarray, " n"]], Float64[np.ndarray, " n"]]
"""What pictures are ranked by, from their scores and ids."""


class Whole(Protocol):
    """An index that is in this process, and so can be asked for much at once."""

    def all_scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], where: Filter | None = None
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "q n"]]:
        """Ids and scores of all pictures that meet conditions."""

    def likely_scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], limit: int, match: Match, where: Filter | None = None
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "q n"]]:
        """As `all_scores`; of a large index only of those among which so many with the best match likely are."""

    def newest(self, where: Filter | None, limit: int) -> list[Picture]:
        """The newest pictures that meet conditions, those of unknown time last; ties: lowest id first."""


def check_added(pictures: Sequence[Picture], records: Records, shape: Shape) -> None:
    """Refuse what an index of this shape cannot keep.

    Raises:
        InputError: another number of records, another shape, numbers that are not finite, an id out of range or twice.
    """
    if len(records) != len(pictures) or records.shape != shape:
        raise InputError(
            f"{len(pictures)} pictures with {len(records)} records of {records.shape}; the index holds {shape}.",
            remedy="Index with the model that this index was made with.",
        )
    if not (np.isfinite(records.rows).all() and np.isfinite(records.shared).all()):
        raise InputError("a record has numbers that are not finite.", remedy="Copy the model again.")
    ids = [picture.id for picture in pictures]
    if len(set(ids)) < len(ids) or any(not 1 <= one <= MAX_ID for one in ids):
        raise InputError("ids of pictures are whole numbers from 1, each once.")
    for picture in pictures:
        moment(picture.taken)


def candidates(limit: int, pictures: int, *, by_mean: bool = False) -> int | None:
    """How many candidates are looked for to find so many pictures; None where all records are looked at."""
    least, oversampling = _CANDIDATES
    wanted = max(least, oversampling * limit) * (_BY_MEAN if by_mean else 1)
    return wanted if pictures >= max(FIRST_STAGE, 2 * wanted) else None


def measured_recalls(exact: list[list[Hit]], found: list[list[Hit]]) -> list[float]:
    """Share of the exact hits that were found, for each scoring vector that has some."""
    return [
        len({hit.id for hit in wanted} & {hit.id for hit in got}) / len(wanted)
        for wanted, got in zip(exact, found, strict=True)
        if wanted
    ]
