"""`parquet:GLOB`: Parquet files with a row a picture, its bytes among the columns.

| column | type | |
|---|---|---|
| `key` | string | the picture's name in the data set |
| `image` | binary, or a struct with `bytes` | the picture file as it is |
| `positive` | list of strings | its labels |
| `negative` | list of strings, optional | those it surely has not |

Parquet reads a whole row group at once. So pictures are trained on in windows of some row groups, see
`training.batches.epoch_order`, and the groups read last are kept.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tagprism.datasets.compact import Ragged
from tagprism.datasets.shards import WINDOW, ShardContents, open_shards
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tagprism.images.picture_file import StoredPicture
from tagprism.progress import Progress, silent

_KEPT = 2 * WINDOW  # bytes of row groups that a process keeps: those of one window and its neighbour's
_FORM = "See docs/data.md for the columns."


class ParquetPicture(StoredPicture):
    """A picture in a Parquet file; `first` is its row group, `second` its row in there."""

    def _stored(self, most: int) -> bytes | None:
        data: bytes | None = _groups.read(self.shard, self.first)[self.second].as_py()
        return data


class _RowGroups:
    """The pictures of the row groups that this process read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Path, int], Any] = OrderedDict()

    def read(self, shard: Path, group: int) -> Any:
        """The column of the pictures of one row group, as an Arrow array."""
        with self._lock:
            if (shard, group) not in self._kept:
                self._kept[shard, group] = _read_group(shard, group)
            self._kept.move_to_end((shard, group))
            found = self._kept[shard, group]
            while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > _KEPT:
                self._kept.popitem(last=False)
            return found


_groups = _RowGroups()


def _forget() -> None:
    """In a forked process the lock may be held by a thread that is not there."""
    global _groups
    _groups = _RowGroups()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _read_group(shard: Path, group: int) -> Any:
    parquet = _parquet()
    with parquet.ParquetFile(shard) as file:
        column = file.read_row_group(group, columns=["image"], use_threads=False).column("image")
    column = column.combine_chunks()
    return column.field("bytes") if hasattr(column, "field") else column


def open_parquet(pattern: str, progress: Progress = silent) -> ImageTable:
    """Open Parquet files of pictures and labels.

    Args:
        pattern: a file, or a pattern that finds files.
        progress: told of every file.

    Returns:
        Its table, as `open_shards` makes it.

    Raises:
        InputError: pyarrow is not installed, a file is cut short or lacks a column, and what `open_shards` refuses.
    """
    return open_shards("parquet", pattern, partial(_read_shard, _parquet()), ParquetPicture, progress)


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow.", remedy="Install it with: pip install pyarrow") from error
    return parquet


def _read_shard(parquet: Any, shard: Path) -> ShardContents:
    try:
        with parquet.ParquetFile(shard) as file:
            return _contents(file, shard)
    except (OSError, ValueError) as error:  # pyarrow's own errors are among them
        remedy = "Copy or write it again if it was cut short."
        raise InputError(f"cannot be read as Parquet ({error}).", where=str(shard), remedy=remedy) from error


def _contents(file: Any, shard: Path) -> ShardContents:
    import pyarrow as pa

    types, where = file.schema_arrow, str(shard)
    columns = [name for name in ("key", "positive", "negative") if name in types.names]
    for name, fits, what in (
        ("key", _is_string, "strings"),
        ("image", _is_image, "binary, or a struct with `bytes`"),
        ("positive", _is_list, "lists of strings"),
        ("negative", _is_list, "lists of strings"),
    ):
        if name not in types.names:
            if name == "negative":
                continue
            there = f"There are: {', '.join(types.names)}. {_FORM}"
            raise InputError(f"has no column `{name}`.", where=where, remedy=there)
        if not fits(pa, types.field(name).type):
            raise InputError(f"column `{name}` is {types.field(name).type}, not {what}.", where=where, remedy=_FORM)
    table = file.read(columns=columns, use_threads=False)
    keys = table.column("key").to_pylist()
    if not all(keys):
        raise InputError(f"row {next(row for row, key in enumerate(keys) if not key)} has no `key`.", where=where)
    labels: dict[str, int] = {}
    sides = [_label_numbers(table, side, labels, where) for side in ("positive", "negative")]
    meta = file.metadata
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    positions = [(number, row) for number, group in enumerate(groups) for row in range(group.num_rows)]
    sizes = tuple(_picture_bytes(group) for group in groups)
    return ShardContents(
        keys, list(labels), sides[0], sides[1], np.asarray(positions, np.int64).reshape(-1, 2), blocks=sizes
    )


def _is_string(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_string(pa, kind.value_type)


def _is_image(pa: Any, kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_image(pa, field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _label_numbers(table: Any, side: str, labels: dict[str, int], where: str) -> Ragged:
    """The labels of every row as numbers in `labels`, which grows."""
    if side not in table.column_names:
        return Ragged(np.zeros(len(table) + 1, np.int64), np.zeros(0, np.int32))
    import pyarrow.compute as pc

    column = table.column(side)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    coded = pc.list_flatten(column).combine_chunks().dictionary_encode()
    if coded.null_count:
        raise InputError(f"a label in `{side}` is null.", where=where, remedy=_FORM)
    numbers = [labels.setdefault(label, len(labels)) for label in coded.dictionary.to_pylist()]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(starts, np.asarray(numbers, np.int32)[coded.indices.to_numpy()].astype(np.int32))


def _picture_bytes(group: Any) -> int:
    columns = [group.column(number) for number in range(group.num_columns)]
    return sum(one.total_uncompressed_size for one in columns if one.path_in_schema.split(".")[0] == "image")
