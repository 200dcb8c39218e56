"""Filters in the terms of Qdrant Edge, and which points of a shard meet them. Knows no records but by their slots."""

from __future__ import annotations

from typing import Any

import numpy as np
import qdrant_edge as edge
from jaxtyping import Int64

from tagprism.search.conditions import Condition, Filter, field_conditions, folded, moments

SLOT, FOLDED, MOMENT = "record", "folded", "moment"  # names in the shard; the first says where the record is
_ALL = 1 << 40  # points at most


def slots_of_all(shard: edge.EdgeShard) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Ids of all pictures, and the slots of their records."""
    points = _scrolled(shard, limit=_ALL, with_payload=edge.PayloadSelector.Include([SLOT]))
    slots = [(point.payload or {})[SLOT] for point in points]
    return np.array([int(point.id) for point in points], np.int64), np.array(slots, np.int64)


def met_ids(shard: edge.EdgeShard, where: Filter) -> list[int]:
    """Ids of the pictures that meet conditions."""
    return [int(point.id) for point in _scrolled(shard, limit=_ALL, filter=conditions(where), with_payload=False)]


def newest(shard: edge.EdgeShard, where: Filter | None, limit: int) -> list[edge.Record]:
    """Points of the newest pictures that meet conditions, in any order; of those that share the last moment all.

    Where there are too few, pictures of unknown time are among them, those of the lowest ids.
    """
    if limit < 1:
        return []
    met = [] if where is None else [conditions(where)]
    order = edge.OrderBy(MOMENT, direction=edge.Direction.Desc)
    whole = edge.Filter(must=met)  # type: ignore[arg-type]
    found = _scrolled(shard, limit=limit, filter=whole, with_payload=True, order_by=order)
    if len(found) == limit:
        last = (found[-1].payload or {})[MOMENT]
        at_last = edge.Filter(must=[*met, edge.FieldCondition(MOMENT, range=edge.RangeFloat(gte=last, lte=last))])
        found = [one for one in found if (one.payload or {})[MOMENT] > last]
        found += _scrolled(shard, limit=_ALL, filter=at_last, with_payload=True)
    else:
        unknown = edge.Filter(must=[*met, edge.IsEmptyCondition(MOMENT)])
        found += _scrolled(shard, limit=limit - len(found), filter=unknown, with_payload=True)
    return found


def _scrolled(shard: edge.EdgeShard, **asked: Any) -> list[edge.Record]:
    return shard.scroll(edge.ScrollRequest(**asked))[0]


def conditions(where: Filter) -> edge.Filter:
    """The filter in the engine's terms; `conditions.meets` says what it means."""

    def within(beginnings: tuple[str, str]) -> edge.FieldCondition:
        first, last = moments(beginnings)
        return edge.FieldCondition(MOMENT, range=edge.RangeFloat(gte=first, lte=last))

    def holds(piece: str) -> edge.FieldCondition:
        return edge.FieldCondition(FOLDED, match=edge.MatchSubstring(folded(piece)))

    def says(field: tuple[str, str]) -> edge.Filter:
        return edge.Filter(must=[_condition(one) for one in field_conditions(*field)])

    return edge.Filter(
        must=[*map(within, where.taken), *map(holds, where.path), *map(says, where.fields)],
        must_not=[*map(within, where.not_taken), *map(holds, where.not_path), *map(says, where.not_fields)],
    )


def _condition(one: Condition) -> edge.FieldCondition:
    if one.within is None:
        return edge.FieldCondition(one.field, match=edge.MatchSubstring(one.holds))
    return edge.FieldCondition(one.field, range=edge.RangeFloat(gte=one.within[0], lte=one.within[1]))
