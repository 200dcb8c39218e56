"""How Qdrant keeps matrices, and what each way costs in recall. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tagprism.search.contract import Hit


@dataclass(frozen=True)
class Storage:
    """One way to keep matrices.

    Args:
        name: as `--storage` has it.
        half: whether the engine keeps float16 instead of float32.
        quantised: whether int8 copies find the candidates, which the kept numbers then rank.
        recall: measured share of the exact first 100 that the kept numbers give when all are scanned.
    """

    name: str
    half: bool
    quantised: bool
    recall: float

    @property
    def exact(self) -> bool:
        """Whether the ranking is that of the matrices as they were added."""
        return not self.half and not self.quantised

    @property
    def largest(self) -> float:
        """Largest number that can be kept."""
        return float(np.finfo(np.float16 if self.half else np.float32).max)


# Measured by `benchmarks/search.py` on the matrices of real photos (docs/search.md).
FLOAT16_RECALL = 0.9996
OVERSAMPLING = 4.0  # candidates that int8 finds for each hit wanted
STORAGES = {
    one.name: one
    for one in (
        Storage("float32", half=False, quantised=False, recall=1.0),
        Storage("float16", half=True, quantised=False, recall=FLOAT16_RECALL),
        Storage("int8", half=True, quantised=True, recall=FLOAT16_RECALL),
    )
}


def measured_recall(exact: list[list[Hit]], found: list[list[Hit]]) -> float:
    """Mean share of the exact hits of each query that were found; 1 where there are none."""
    shares = [
        len({hit.id for hit in wanted} & {hit.id for hit in got}) / len(wanted)
        for wanted, got in zip(exact, found, strict=True)
        if wanted
    ]
    return float(np.mean(shares)) if shares else 1.0
