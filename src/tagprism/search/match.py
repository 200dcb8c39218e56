"""How well a picture matches a query, from how likely each of its labels is. Knows neither vectors nor pictures.

AND is a product, OR is 1 minus the product of what is left (noisy-or), NOT is 1 minus: independent chances. De Morgan's
rules hold exactly. A part of weight w counts as w equal parts. Everything is kept as logarithms, so that the order of
two pictures survives however near 0 or 1 they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from tagprism.search.contract import Filter
from tagprism.search.query_tree import And, InPath, Label, Not, Or, Query, Taken, Weighted

Leaf = Label | Taken | InPath
Logits = Mapping[Leaf, Float64[np.ndarray, " n"]]


def log_chance(logits: Float64[np.ndarray, " *n"]) -> Float64[np.ndarray, " *n"]:
    """Logarithms of the chances that logits stand for."""
    logs: Float64[np.ndarray, " *n"] = -np.logaddexp(0.0, -logits)
    return logs


def log_match(query: Query, greatest: Logits, least: Logits | None = None) -> Float64[np.ndarray, " n"]:
    """Logarithm of the match of n pictures, or of the best that a picture can reach.

    Args:
        query: the tree.
        greatest: for every leaf the logits (n,) of being so; for a filter +inf (met) or -inf.
        least: the least that the logits can be where only bounds are known: a match falls with a label below a NOT.

    Returns:
        (n,) from -inf to 0; never falls with `greatest`, never rises with `least`.
    """
    return _log(query, greatest, greatest if least is None else least, positive=True, complement=False)


def _log(
    query: Query, greatest: Logits, least: Logits, *, positive: bool, complement: bool
) -> Float64[np.ndarray, " n"]:
    """Logarithm of a part's match, or of 1 minus it; `positive` tells whether the whole match rises with the part."""
    match query:
        case Not(part):
            return _log(part, greatest, least, positive=not positive, complement=not complement)
        case Weighted(part=part):  # alone there is nothing that it counts more than
            return _log(part, greatest, least, positive=positive, complement=complement)
        case And(parts) | Or(parts):
            of_parts = isinstance(query, Or)  # the product is one of chances, or one of what is left of them
            total: Float64[np.ndarray, " n"] = np.zeros(())
            for part in parts:
                weight = part.weight if isinstance(part, Weighted) else 1.0
                total = total + weight * _log(part, greatest, least, positive=positive, complement=of_parts)
            return total if complement == of_parts else _log_of_rest(total)
        case leaf:
            logits = (greatest if positive else least)[leaf]
            return log_chance(-logits if complement else logits)


def _log_of_rest(logs: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """log(1 - exp(x)), exact near both ends."""
    rest: Float64[np.ndarray, " n"]
    with np.errstate(divide="ignore"):  # of a match of 1 nothing is left: -inf
        rest = np.where(logs > -np.log(2), np.log(-np.expm1(logs)), np.log1p(-np.exp(logs)))
    return rest


def positive_labels(query: Query, *, positive: bool = True) -> Iterator[str]:
    """Labels with which the match rises, those below an even number of NOTs."""
    match query:
        case And(parts) | Or(parts):
            for part in parts:
                yield from positive_labels(part, positive=positive)
        case Not(part):
            yield from positive_labels(part, positive=not positive)
        case Weighted(part=part):
            yield from positive_labels(part, positive=positive)
        case Label(text) if positive:
            yield text


@dataclass(frozen=True)
class Parts:
    """A query divided into what an index sifts by and what pictures are ranked by.

    Args:
        where: filters that every match meets, or None.
        rest: the other part, None where nothing is left.
    """

    where: Filter | None
    rest: Query | None


def divided(query: Query) -> Parts:
    """Take the filters out that stand in the outermost AND."""
    parts = query.parts if isinstance(query, And) else (query,)
    bare = [part.part if isinstance(part, Not) else part for part in parts]
    sifting = [isinstance(leaf, Taken | InPath) for leaf in bare]
    if not any(sifting):
        return Parts(None, query)
    pairs = [(leaf, isinstance(part, Not)) for leaf, part, sifts in zip(bare, parts, sifting, strict=True) if sifts]
    times = {
        no: tuple((leaf.first, leaf.last) for leaf, negated in pairs if isinstance(leaf, Taken) and negated == no)
        for no in (False, True)
    }
    paths = {
        no: tuple(leaf.text for leaf, negated in pairs if isinstance(leaf, InPath) and negated == no)
        for no in (False, True)
    }
    where = Filter(times[False], paths[False], times[True], paths[True])
    rest = tuple(part for part, sifts in zip(parts, sifting, strict=True) if not sifts)
    if len(rest) > 1:
        return Parts(where, And(rest))
    return Parts(where, rest[0] if rest else None)


def as_filter(leaf: Taken | InPath) -> Filter:
    """The filter that a leaf is."""
    return Filter(taken=((leaf.first, leaf.last),)) if isinstance(leaf, Taken) else Filter(path=(leaf.text,))
