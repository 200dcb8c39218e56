"""From which match on a picture is likely what was asked for. Knows no pictures."""

from __future__ import annotations

import numpy as np

from tagprism.search.query import And, Label, Not, Or, Query, Weighted

LIKELY = 0.4
"""Match of a label from which on a picture likely has it.

Near it the mean F1 over labels of what is shown is flat, see docs/queries.md (`benchmarks/likely.py`).
"""


def least_likely(query: Query) -> float:
    """Logarithm of the match from which on pictures are likely: that of one which is just likely in all it must be.

    Of an OR one part suffices; a filter is met or not, and moves nothing.
    """
    return _least(query, positive=True)


def _least(query: Query, *, positive: bool) -> float:
    match query:
        case Not(part):
            return _least(part, positive=not positive)
        case Weighted(part=part):  # alone there is nothing that it counts more than
            return _least(part, positive=positive)
        case And(parts) | Or(parts):
            weights = [part.weight if isinstance(part, Weighted) else 1.0 for part in parts]
            each = zip(weights, (_least(part, positive=positive) for part in parts), strict=True)
            if isinstance(query, And) == positive:
                return sum(weight * least for weight, least in each)
            return min(float(np.log(-np.expm1(weight * _log_of_rest(least)))) for weight, least in each)
        case Label():
            return float(np.log(LIKELY if positive else 1 - LIKELY))
        case _:
            return 0.0


def _log_of_rest(least: float) -> float:
    """log(1 - exp(x)); of a filter, which is met for certain, nothing is left."""
    return float(np.log(-np.expm1(least))) if least < 0 else -np.inf
