"""The data set and split that were named on the command line."""

from __future__ import annotations

from tagprism.datasets.registry import default_split, open_dataset
from tagprism.datasets.splits import Split, load_split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError


def open_data(data: str, split: str | None) -> tuple[ImageTable, Split]:
    """Open both.

    Args:
        data: as for `open_dataset`.
        split: `FILE` or `FILE#2`; None for a data set that brings its own.

    Raises:
        InputError: no such data, or a split is needed and was not named.
    """
    table = open_dataset(data)
    chosen = load_split(split, table) if split is not None else default_split(data, table)
    if chosen is None:
        raise InputError(f"`{data}` has no split of its own.", where="--split", remedy="Name one: --split FILE#0")
    return table, chosen
