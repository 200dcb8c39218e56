"""What is known of the pictures of an index, as points in a shard of Qdrant Edge. Knows no records but by their places.

The engine keeps facts safe and sifts by filters; nothing else here calls it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from jaxtyping import Int64

from tagprism.errors import MachineError
from tagprism.files import machine_errors
from tagprism.search.conditions import Condition, Filter, fact_conditions, folded, moments, searched
from tagprism.search.contract import Picture, as_json, from_json

_PLACE, _FOLDED, _MOMENT = "record", "folded", "moment"  # names in the shard; the first says where the record is
_ALL, _PAGE = 1 << 40, 1000  # points at most
# Bytes that must be free: the engine maps files into memory, and where a disk is full the system kills the process.
_FREE, _FREE_TO_OPEN = 256 << 20, 64 << 20
_CONFIG = edge.EdgeConfig(vectors={}, sparse_vectors={"none": edge.EdgeSparseVectorParams()})  # one kind must be there


def make_shard(folder: Path) -> None:
    """Make an empty shard in a folder that is there.

    Raises:
        MachineError: it cannot be written.
    """
    check_free(folder, _FREE)
    with engine_errors(folder):
        shard = edge.EdgeShard.create(str(folder), _CONFIG)
        indexed = edge.UpdateOperation.create_field_index  # a filter need not read every payload then
        shard.update(indexed(_FOLDED, edge.KeywordIndexParams()))
        shard.update(indexed(_MOMENT, edge.IntegerIndexParams(lookup=False, range=True)))
        shard.close()


class Points:
    """The points of an index, one a picture. Only one process at a time can open them.

    Args:
        shard: folder of the engine's files, made by `make_shard`.
        folder: of the index, which errors name.

    Raises:
        MachineError: the shard cannot be read or written, or another process has it open; by every method.
    """

    def __init__(self, shard: Path, folder: Path) -> None:
        self._folder, self._at = folder, shard
        check_free(shard, _FREE_TO_OPEN)
        with engine_errors(shard):
            self._shard = edge.EdgeShard.load(str(shard), _CONFIG)

    def refuse_full_disk(self) -> None:
        """Refuse to write where the disk is nearly full."""
        check_free(self._folder, _FREE)

    def put(self, pictures: Sequence[Picture], places: Int64[np.ndarray, " n"]) -> None:
        """Add pictures whose records are at these places, or replace those of the same id."""
        points = [
            edge.Point(id=one.id, vector={}, payload={**as_json(one), _PLACE: place, **searched(one)})
            for one, place in zip(pictures, places.tolist(), strict=True)
        ]
        with engine_errors(self._folder):
            self._shard.update(edge.UpdateOperation.upsert_points(points))

    def remove(self, ids: Sequence[int]) -> None:
        """Take pictures out; an id that is not there is no error."""
        with engine_errors(self._folder):
            self._shard.update(edge.UpdateOperation.delete_points(list(ids)))

    def places(self) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Ids of all pictures, and the places of their records."""
        points = self._scrolled(limit=_ALL, with_payload=edge.PayloadSelector.Include([_PLACE]))
        places = [(point.payload or {})[_PLACE] for point in points]
        return np.array([int(point.id) for point in points], np.int64), np.array(places, np.int64)

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """Pictures by id, None for an id that is not there."""
        with engine_errors(self._folder):
            found = {int(point.id): _picture(point) for point in self._shard.retrieve(list(ids), True, False)}
        return [found.get(one) for one in ids]

    def pictures(self, after: int) -> Iterator[Picture]:
        """All pictures of an id above `after`, by rising id."""
        start: Any = after + 1
        while start is not None:
            with engine_errors(self._folder):
                request = edge.ScrollRequest(offset=start, limit=_PAGE, with_payload=True)
                points, start = self._shard.scroll(request)
            yield from map(_picture, points)

    def ids(self, where: Filter) -> list[int]:
        """Ids of the pictures that meet conditions."""
        return [int(point.id) for point in self._scrolled(limit=_ALL, filter=conditions(where), with_payload=False)]

    def newest(self, where: Filter | None, limit: int) -> list[Picture]:
        """The newest pictures that meet conditions, in any order; of those that share the last moment all.

        Where there are too few, pictures of unknown time are among them, those of the lowest ids.
        """
        if limit < 1:
            return []
        met = [] if where is None else [conditions(where)]
        order = edge.OrderBy(_MOMENT, direction=edge.Direction.Desc)
        whole = edge.Filter(must=met)  # type: ignore[arg-type]
        found = self._scrolled(limit=limit, filter=whole, with_payload=True, order_by=order)
        if len(found) == limit:
            last = (found[-1].payload or {})[_MOMENT]
            at_last = edge.Filter(must=[*met, edge.FieldCondition(_MOMENT, range=edge.RangeFloat(gte=last, lte=last))])
            found = [one for one in found if (one.payload or {})[_MOMENT] > last]
            found += self._scrolled(limit=_ALL, filter=at_last, with_payload=True)
        else:
            unknown = edge.Filter(must=[*met, edge.IsEmptyCondition(_MOMENT)])
            found += self._scrolled(limit=limit - len(found), filter=unknown, with_payload=True)
        return list(map(_picture, found))

    def _scrolled(self, **asked: Any) -> list[edge.Record]:
        with engine_errors(self._folder):
            return self._shard.scroll(edge.ScrollRequest(**asked))[0]

    def flush(self) -> None:
        """Cut the log of writes."""
        with engine_errors(self._folder):
            self._shard.flush()

    def tidy(self) -> None:
        """Cut the log, and drop what was removed."""
        self.flush()
        with engine_errors(self._folder):
            # The engine's files have holes.
            size = sum(512 * getattr(one.stat(), "st_blocks", 0) for one in self._at.rglob("*") if one.is_file())
            if shutil.disk_usage(self._folder).free > _FREE + 2 * size:
                self._shard.optimize()  # writes whole segments anew; without it filters are as right, but slower

    def close(self) -> None:
        """Write out everything and let another process open it."""
        with engine_errors(self._folder):
            self._shard.close()


def _picture(point: edge.Record) -> Picture:
    return from_json(int(point.id), point.payload or {})


def conditions(where: Filter) -> edge.Filter:
    """The filter in the engine's terms; `conditions.meets` says what it means."""

    def within(beginnings: tuple[str, str]) -> edge.FieldCondition:
        first, last = moments(beginnings)
        return edge.FieldCondition(_MOMENT, range=edge.RangeFloat(gte=first, lte=last))

    def holds(piece: str) -> edge.FieldCondition:
        return edge.FieldCondition(_FOLDED, match=edge.MatchSubstring(folded(piece)))

    def says(fact: tuple[str, str]) -> edge.Filter:
        return edge.Filter(must=[_condition(one) for one in fact_conditions(*fact)])

    return edge.Filter(
        must=[*map(within, where.taken), *map(holds, where.path), *map(says, where.facts)],
        must_not=[*map(within, where.not_taken), *map(holds, where.not_path), *map(says, where.not_facts)],
    )


def _condition(one: Condition) -> edge.FieldCondition:
    if one.within is None:
        return edge.FieldCondition(one.field, match=edge.MatchSubstring(one.holds))
    return edge.FieldCondition(one.field, range=edge.RangeFloat(gte=one.within[0], lte=one.within[1]))


def check_free(folder: Path, least: int) -> None:
    """Refuse a disk with fewer free bytes than these."""
    with machine_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < least:
        what = f"cannot be written: less than {least >> 20} MB are free on its disk."
        raise MachineError(what, where=str(folder), remedy="Free space.")


@contextmanager
def engine_errors(folder: Path) -> Iterator[None]:
    """The engine raises plain `Exception`s with a text."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise MachineError(
            f"the index fails ({error}).", where=str(folder), remedy="Free space, mend the permission, or index anew."
        ) from error
