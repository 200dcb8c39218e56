"""The order of hits: best first, of equal ones the lowest id, whatever order an engine gives equal ones in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from tagprism.search.contract import Hit

Best = Callable[[Float32[np.ndarray, "q Q"], int], list[list[Hit]]]
"""An engine's search: (queries, how many) -> hits of each, best first, equal ones in any order."""


def ranked(best: Best, queries: Float32[np.ndarray, "q Q"], limit: int) -> list[list[Hit]]:
    """Search, with equal hits by rising id, also where the last place is shared by more than it can hold.

    Args:
        best: the engine.
        queries: q of them, asked for at once.
        limit: hits per query at most.
    """
    if limit < 1:
        return [[] for _ in queries]
    answers = best(queries, limit + 1)
    for place, query in enumerate(queries):
        count = limit + 1
        while len(answers[place]) >= count and answers[place][-1].score == answers[place][limit - 1].score:
            count *= 2  # the ties reach beyond what was asked for
            answers[place] = best(query[None], count)[0]
    return [sorted(hits, key=lambda hit: (-hit.score, hit.id))[:limit] for hits in answers]
