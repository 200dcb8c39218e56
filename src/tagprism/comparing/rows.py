"""The rows of a comparison that are finished models, or methods of a user's own. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagprism.bundle.foreign.model import ForeignModel
from tagprism.bundle.open_model import open_model
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable


@dataclass(frozen=True)
class OwnMethod:
    """A row that a function of your own computes, such as a model with another loss.

    Args:
        name: of the row.
        run: called with the table, a split and a seed (0, 1, ...) for every split and seed. Gives what `evaluate`
            measures: a model, a finished Run or its path, or scores (N, L) of the test pictures. Nothing is kept.
        seeded: whether another seed gives another result; else it is measured once a split, as a finished model is.
        is_plain_clip: whether it is a CLIP or SigLIP without training, which the other rows should beat.
    """

    name: str
    run: Callable[[ImageTable, Split, int], Any]
    seeded: bool = True
    is_plain_clip: bool = False


def finished(models: Sequence[str]) -> list[OwnMethod]:
    """Rows of finished models, however they were trained: end to end, imported, by others.

    Args:
        models: paths of RUNs or BUNDLEs, or names as `load` takes them; one is measured on splits that it was not
            trained on, or refused.

    Raises:
        InputError: one is not there, or is no finished model.
    """
    plain = [isinstance(open_model(model), ForeignModel) for model in models]  # before another row is trained
    short = [Path(model).name or model for model in models]
    names = short if len(set(short)) == len(short) else list(models)
    return [
        OwnMethod(name, lambda *_, its=its: its, seeded=False, is_plain_clip=clip)
        for name, its, clip in zip(names, models, plain, strict=True)
    ]
