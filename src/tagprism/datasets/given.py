"""What a caller from Python gave as a table and a split: the right things, or an error that says how they are made."""

from __future__ import annotations

from typing import Any

from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError

_MADE = {
    ImageTable: 'Make one with ImageTable.from_labels([(file, labels), ...]), or open_data("tagged:DIR", "FILE").',
    Split: "Make one with draw_split(table), Split(...), or load_split(FILE, table).",
}


def check_given(table: Any, *splits: Any) -> None:
    """Refuse what is no table, and what is no split.

    Raises:
        InputError: naming what was found instead, and how the right thing is made.
    """
    for name, value, kind in (("table", table, ImageTable), *(("split", split, Split) for split in splits)):
        if not isinstance(value, kind):
            found = f"the text {value!r:.60}" if isinstance(value, str) else f"a {type(value).__name__}"
            raise InputError(f"expected {kind.__name__}, found {found}.", where=name, remedy=_MADE[kind])
