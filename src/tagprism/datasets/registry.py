"""Data sets by the name people type, `KIND` or `KIND:PATH?options`, and a check of what programs give in their place.

Knows which there are, not how to read one: a data set's module is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagprism.datasets.splits import Split, load_split
from tagprism.datasets.table import ImageTable, first_ten
from tagprism.errors import InputError
from tagprism.progress import Progress, silent

KINDS = "openclipart, tagged:DIR, nus-wide:DIR, coco:DIR, open-images:DIR, parquet:GLOB, webdataset:GLOB"
"""For help and messages."""

_MADE = {
    ImageTable: 'Make one with ImageTable.from_labels([(file, labels), ...]), or open_data("tagged:DIR", "FILE").',
    Split: "Make one with draw_split(table), Split(...), or load_split(FILE, table).",
}


def open_dataset(spec: str, progress: Progress = silent) -> ImageTable:
    """Open a data set by name.

    Args:
        spec: `openclipart`, or `KIND:DIR` of `KINDS`, perhaps with options: `nus-wide:DIR?labels=flickr`, several with
            commas between.
        progress: told of every shard that is read; the other kinds are one file or few.

    Returns:
        Its table.

    Raises:
        InputError: for a name that is none of these, an unknown option, or a data set that cannot be used.
        MachineError: when a data set cannot be fetched.
    """
    kind, colon, rest = spec.partition(":")
    if kind == "openclipart" and not colon:
        from tagprism.datasets.openclipart import open_openclipart

        return open_openclipart()
    if kind == "tagged" and rest:
        from tagprism.datasets.tagged import open_tagged

        return open_tagged(_parsed(kind, rest, {})[0])
    if kind == "nus-wide" and rest:
        from tagprism.datasets import nus_wide

        return nus_wide.open_nus_wide(*_parsed(kind, rest, nus_wide.OPTIONS))
    if kind == "coco" and rest:
        from tagprism.datasets import coco

        return coco.open_coco(*_parsed(kind, rest, coco.OPTIONS))
    if kind == "open-images" and rest:
        from tagprism.datasets import open_images

        return open_images.open_open_images(*_parsed(kind, rest, open_images.OPTIONS))
    if kind == "parquet" and rest:
        from tagprism.datasets.parquet_shards import open_parquet

        return open_parquet(rest, progress)
    if kind == "webdataset" and rest:
        from tagprism.datasets.webdataset import open_webdataset

        return open_webdataset(rest, progress)
    raise InputError(f"there is no data set '{spec}'.", where="--data", remedy=f"Choose one of: {KINDS}.")


def default_split(spec: str, table: ImageTable) -> Split | None:
    """The split that comes with a data set, or None where the user must name one.

    Args:
        spec: as for `open_dataset`.
        table: what it returned.

    Returns:
        The split, checked against the table.

    Raises:
        InputError: no picture of a part is there.
    """
    if table.protocol is not None:
        return Split.of(table.protocol)
    if spec != "openclipart":
        return None
    from tagprism.datasets.openclipart import default_openclipart_split

    return default_openclipart_split(table)


def _parsed(kind: str, rest: str, allowed: Mapping[str, tuple[str, ...]]) -> tuple[Path, dict[str, str]]:
    """The folder and the options; a folder whose name holds a question mark is a folder."""
    path, mark, text = rest.rpartition("?")
    if not mark or Path(rest).exists():
        return Path(rest), {}
    options: dict[str, str] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in allowed:
            known = f"{kind} knows {first_ten(allowed)}." if allowed else f"{kind} has no options."
            raise InputError(f"there is no option '{part}'.", where=f"--data {kind}:{rest}", remedy=known)
        if value not in allowed[key] or key in options:
            remedy = f"Write {key}= once, with one of {first_ten(allowed[key])}."
            raise InputError(f"'{part}' cannot be.", where=f"--data {kind}:{rest}", remedy=remedy)
        options[key] = value
    return Path(path), options


def open_data(
    data: str, split: str | None, progress: Progress = silent, *, otherwise: str | None = None
) -> tuple[ImageTable, Split]:
    """Open a data set and a split of it.

    Args:
        data: as for `open_dataset`.
        split: `FILE` or `FILE#2`; None for a data set that brings its own.
        progress: as for `open_dataset`.
        otherwise: the split where none is named and the data set brings none, such as that of a run.

    Raises:
        InputError: no such data, or a split is needed and was not named.

    Example:
        >>> import json, shutil
        >>> from pathlib import Path
        >>> from tagprism import open_data
        >>> copied = shutil.copytree("tests/photos", "mine/images")
        >>> labels = {"coffee.jpg": ["cup"], "chelsea.jpg": ["cat"], "rocket.jpg": ["sky"]}
        >>> split = {"seen": ["cup"], "unseen": ["cat", "sky"], "train": ["coffee.jpg"], "test": ["rocket.jpg"]}
        >>> for name, its in (("labels.json", labels), ("split.json", split)):
        ...     written = Path("mine", name).write_text(json.dumps(its))
        >>> table, split = open_data("tagged:mine", "mine/split.json")
        >>> table, split
        (ImageTable('tagged', 3 pictures, 3 labels), Split('split.json', 1 seen, 2 unseen, 1 train, 0 val, 1 test))
    """
    table = open_dataset(data, progress)
    chosen = load_split(split, table) if split is not None else default_split(data, table)
    if chosen is None and otherwise is not None:
        chosen = load_split(otherwise, table)
    if chosen is None:
        raise InputError(f"`{data}` has no split of its own.", where="--split", remedy="Name one: --split FILE#0")
    return table, chosen


def check_given(table: Any, *splits: Any) -> None:
    """Refuse what is no table, and what is no split.

    Raises:
        InputError: naming what was found instead, and how the right thing is made.
    """
    for name, value, kind in (("table", table, ImageTable), *(("split", split, Split) for split in splits)):
        if not isinstance(value, kind):
            found = f"the text {value!r:.60}" if isinstance(value, str) else f"a {type(value).__name__}"
            raise InputError(f"expected {kind.__name__}, found {found}.", where=name, remedy=_MADE[kind])
