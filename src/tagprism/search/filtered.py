"""Pictures by filters: those that meet them, newest first, where a query asks for nothing else. Knows no scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from jaxtyping import Float64

from tagprism.search.conditions import Filter, meets
from tagprism.search.contract import Index, Picture
from tagprism.search.match import log_match
from tagprism.search.parse import leaves
from tagprism.search.query import And, Field, FilterLeaf, InPath, Label, Leaf, Not, Query, Tagged, Taken, as_filter

_PAGE = 1000
_MORE = 8  # times as many of the newest are looked at where too few meet a filter that people or an OR make


def divided(query: Query) -> tuple[Filter | None, Query | None]:
    """What an index sifts by, the filters that stand in the outermost AND, and what pictures are ranked by."""
    parts = query.parts if isinstance(query, And) else (query,)
    bare = [part.part if isinstance(part, Not) else part for part in parts]
    sifting = [isinstance(leaf, Taken | InPath | Field) for leaf in bare]  # a tag of a person is none of the engine's
    if not any(sifting):
        return None, query
    pairs = [(leaf, isinstance(part, Not)) for leaf, part, sifts in zip(bare, parts, sifting, strict=True) if sifts]
    conditions: list[tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[tuple[str, str], ...]]] = []
    for negated in (False, True):
        so = [leaf for leaf, no in pairs if no == negated]
        times = tuple((leaf.first, leaf.last) for leaf in so if isinstance(leaf, Taken))
        fields = tuple((leaf.name, leaf.text) for leaf in so if isinstance(leaf, Field))
        conditions.append((times, tuple(leaf.text for leaf in so if isinstance(leaf, InPath)), fields))
    (times, paths, fields), (no_times, no_paths, no_fields) = conditions
    where = Filter(times, paths, no_times, no_paths, fields, no_fields)
    rest = tuple(part for part, sifts in zip(parts, sifting, strict=True) if not sifts)
    return where, And(rest) if len(rest) > 1 else rest[0] if rest else None


def newest(
    index: Index,
    where: Filter | None,
    rest: Query | None,
    limit: int,
    tagged: Mapping[Tagged, frozenset[int]],
    only: frozenset[int] | None,
) -> list[Picture]:
    """Pictures that meet filters, the newest first; those of unknown time last."""
    if only is None and hasattr(index, "newest"):  # a server pages by itself
        return list(islice(_met_in_pages(index.newest(where), rest, tagged), limit))
    whole = index.whole() if only is None else None
    if whole is not None:
        count = limit
        while len(met := _met(pictures := whole.newest(where, count), rest, tagged)) < limit and len(pictures) == count:
            count *= _MORE
    else:
        met = _met(_asked(index, where, only), rest, tagged)
        met.sort(key=lambda picture: picture.taken or "", reverse=True)
    return met[:limit]


def _asked(index: Index, where: Filter | None, only: frozenset[int] | None) -> list[Picture]:
    """Pictures that meet conditions, by rising id."""
    if only is None:
        info = index.info()
        (hits,) = index.search(np.zeros((1, info.dimension + info.shared), np.float32), info.pictures, where=where)
        ids = [hit.id for hit in hits]
    else:
        ids = list(only)
    found = [picture for picture in index.get(sorted(ids)) if picture is not None]
    return found if only is None or where is None else [picture for picture in found if meets(picture, where)]


def _met_in_pages(
    pictures: Iterable[Picture], rest: Query | None, tagged: Mapping[Tagged, frozenset[int]]
) -> Iterator[Picture]:
    source = iter(pictures)
    while page := list(islice(source, _PAGE)):
        yield from _met(page, rest, tagged)


def _met(pictures: Sequence[Picture], rest: Query | None, tagged: Mapping[Tagged, frozenset[int]]) -> list[Picture]:
    """Those of some pictures that meet the filters which the index does not sift by."""
    if rest is None or not pictures:
        return list(pictures)
    filters = {leaf for leaf in leaves(rest) if not isinstance(leaf, Label)}
    known: dict[Leaf, np.ndarray] = {leaf: filter_logits(leaf, pictures, tagged) for leaf in filters}
    return [picture for picture, match in zip(pictures, log_match(rest, known), strict=True) if match == 0]


def filter_logits(
    leaf: FilterLeaf, pictures: Sequence[Picture | None], tagged: Mapping[Tagged, frozenset[int]]
) -> Float64[np.ndarray, " n"]:
    """Logits of a filter: +inf for pictures that meet it, -inf for others."""
    if isinstance(leaf, Tagged):
        met = [one is not None and one.id in tagged[leaf] for one in pictures]
    else:
        where = as_filter(leaf)
        met = [one is not None and meets(one, where) for one in pictures]
    return np.where(met, np.inf, -np.inf).reshape(len(pictures))
