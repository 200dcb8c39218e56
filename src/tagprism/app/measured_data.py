"""The pictures and the split that finished models are measured on: that of their run, where no other is there."""

from __future__ import annotations

from pathlib import Path

from tagprism.app import console
from tagprism.bundle.open_model import find_bundle
from tagprism.datasets.registry import open_data
from tagprism.datasets.splits import Split, split_of_run
from tagprism.datasets.table import ImageTable


def open_measured(data: str, split: str | None, model: str | None, *, quiet: bool) -> tuple[ImageTable, Split]:
    """Open a data set and a split of it, and say so where the split is that of the model's run.

    Args:
        data: as for `open_data`.
        split: `FILE` or `FILE#2`; None for that of the data set, else of the run.
        model: the name of a model, which need not lie in a run; None for none.
        quiet: say nothing.

    Raises:
        InputError: as `open_data`, or there is no such model.
    """
    own = split_of_run(find_bundle(model)) if model is not None and split is None else None
    table, chosen = open_data(data, split, console.progress(quiet), otherwise=own)
    if own is not None and chosen.name == Path(own).name:
        console.say(f"split: that of the run, {own}", quiet=quiet)
    return table, chosen
