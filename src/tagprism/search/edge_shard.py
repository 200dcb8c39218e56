"""A shard of Qdrant Edge: its form, filters in its terms, and its errors. Knows neither records nor pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as edge

from tagprism.errors import MachineError
from tagprism.files import machine_errors
from tagprism.search.conditions import Condition, fact_conditions, folded, moments
from tagprism.search.contract import Filter

FOLDED, MOMENT = "folded", "moment"  # names in the shard
ALL = 1 << 40  # points at most
# Bytes that must be free: the engine maps files into memory, and where a disk is full the system kills the process.
FREE, FREE_TO_OPEN = 256 << 20, 64 << 20
_CONFIG = edge.EdgeConfig(vectors={}, sparse_vectors={"none": edge.EdgeSparseVectorParams()})  # one kind must be there


def make_shard(folder: Path) -> None:
    """Make an empty shard in a folder that is there.

    Raises:
        MachineError: it cannot be written.
    """
    check_free(folder, FREE)
    with engine_errors(folder):
        shard = edge.EdgeShard.create(str(folder), _CONFIG)
        indexed = edge.UpdateOperation.create_field_index  # a filter need not read every payload then
        shard.update(indexed(FOLDED, edge.KeywordIndexParams()))
        shard.update(indexed(MOMENT, edge.IntegerIndexParams(lookup=False, range=True)))
        shard.close()


def open_shard(folder: Path) -> edge.EdgeShard:
    """Open a shard that is there.

    Raises:
        MachineError: it cannot be read or written, or another process has it open.
    """
    check_free(folder, FREE_TO_OPEN)
    with engine_errors(folder):
        return edge.EdgeShard.load(str(folder), _CONFIG)


def conditions(where: Filter) -> edge.Filter:
    """The filter in the engine's terms; `contract.meets` says what it means."""

    def within(beginnings: tuple[str, str]) -> edge.FieldCondition:
        first, last = moments(beginnings)
        return edge.FieldCondition(MOMENT, range=edge.RangeFloat(gte=first, lte=last))

    def holds(piece: str) -> edge.FieldCondition:
        return edge.FieldCondition(FOLDED, match=edge.MatchSubstring(folded(piece)))

    def says(fact: tuple[str, str]) -> edge.Filter:
        return edge.Filter(must=[_condition(one) for one in fact_conditions(*fact)])

    return edge.Filter(
        must=[*map(within, where.taken), *map(holds, where.path), *map(says, where.facts)],
        must_not=[*map(within, where.not_taken), *map(holds, where.not_path), *map(says, where.not_facts)],
    )


def newest_points(shard: edge.EdgeShard, where: Filter | None, limit: int) -> list[edge.Record]:
    """The newest points that meet conditions, in any order; of those that share the last moment all.

    Where there are too few, points of unknown time are among them, those of the lowest ids.
    """
    if limit < 1:
        return []
    met = [] if where is None else [conditions(where)]
    order = edge.OrderBy(MOMENT, direction=edge.Direction.Desc)
    whole = edge.Filter(must=met)  # type: ignore[arg-type]
    found, _ = shard.scroll(edge.ScrollRequest(limit=limit, filter=whole, with_payload=True, order_by=order))
    if len(found) == limit:
        last = (found[-1].payload or {})[MOMENT]
        at_last = edge.FieldCondition(MOMENT, range=edge.RangeFloat(gte=last, lte=last))
        request = edge.ScrollRequest(limit=ALL, filter=edge.Filter(must=[*met, at_last]), with_payload=True)
        return [one for one in found if (one.payload or {})[MOMENT] > last] + shard.scroll(request)[0]
    unknown = edge.Filter(must=[*met, edge.IsEmptyCondition(MOMENT)])
    request = edge.ScrollRequest(limit=limit - len(found), filter=unknown, with_payload=True)
    return found + shard.scroll(request)[0]


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


def size_of(folder: Path) -> int:
    """Bytes on disk; the engine's files have holes."""
    return sum(512 * getattr(file.stat(), "st_blocks", 0) for file in folder.rglob("*") if file.is_file())


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
