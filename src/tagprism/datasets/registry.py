"""Data sets by the name people type, `KIND` or `KIND:PATH`. Knows which kinds there are, not how they are read."""

from __future__ import annotations

from pathlib import Path

from tagprism.datasets.openclipart import default_openclipart_split, open_openclipart
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.datasets.tagged import open_tagged
from tagprism.errors import InputError

_KINDS = "openclipart, tagged:DIR"


def open_dataset(spec: str) -> ImageTable:
    """Open a data set by name.

    Args:
        spec: `openclipart` or `tagged:DIR`.

    Returns:
        Its table.

    Raises:
        InputError: for a name that is none of these, or a data set that cannot be used.
        MachineError: when a data set cannot be fetched.
    """
    kind, colon, path = spec.partition(":")
    if kind == "openclipart" and not colon:
        return open_openclipart()
    if kind == "tagged" and path:
        return open_tagged(Path(path))
    raise InputError(f"there is no data set '{spec}'.", where="--data", remedy=f"Choose one of: {_KINDS}.")


def default_split(spec: str, table: ImageTable) -> Split | None:
    """The split that comes with a data set, or None where the user must name one.

    Args:
        spec: as for `open_dataset`.
        table: what it returned.

    Returns:
        The split, checked against the table.
    """
    return default_openclipart_split(table) if spec == "openclipart" else None
