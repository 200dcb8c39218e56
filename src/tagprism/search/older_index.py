"""An index of format 1 brought to the form of today, without reading a picture again. Knows the older form alone.

There each point of the shard held the record as a multivector, whose rows all ended in a copy of the shared numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from tagprism.bundle.record import Records, Shape
from tagprism.errors import IndexMismatchError
from tagprism.files import machine_errors
from tagprism.progress import Progress, silent
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.edge_reader import engine_errors
from tagprism.search.record_file import StorageName
from tagprism.search.stored import from_json, index_anew

_SHARD, _RECALL, _VECTOR, _PAGE = "shard", "recall.json", "matrix", 500
STORAGES: dict[str, StorageName] = {"float32": "float32", "half": "half", "float16": "half", "int8": "half"}
"""What the storages of any format are called today."""


def copy_older(folder: Path, values: dict[str, Any], dimension: int, progress: Progress = silent) -> Shape:
    """Fill a new index beside the older one with all its pictures; `remove_older` comes when the settings say so.

    Args:
        folder: of the index, which no other process has open.
        values: of its `index.json`.
        dimension: D of its model.
        progress: told of every picture.

    Returns:
        The shape of its records.

    Raises:
        IndexMismatchError: its model is of another size.
        MachineError: it cannot be read, or the new one not be written.
    """
    shape = Shape(values["vectors"], dimension, values["columns"] - dimension)
    if shape.shared < 1:
        remedy = index_anew(folder)
        raise IndexMismatchError("was made with another model.", where=str(folder), remedy=remedy)
    new = EdgeIndex.create(folder, shape, STORAGES[values["storage"]])
    try:
        with engine_errors(folder):
            old = edge.EdgeShard.load(str(folder / _SHARD))
            start: Any = 1
            with progress("renewing the index", old.count(edge.CountRequest(exact=True))) as advance:
                while start is not None:
                    request = edge.ScrollRequest(offset=start, limit=_PAGE, with_payload=True, with_vector=True)
                    points, start = old.scroll(request)
                    _copy(points, new, dimension)
                    advance(len(points))
            old.close()
    finally:
        new.close()
    return shape


def _copy(points: list[edge.Record], new: EdgeIndex, dimension: int) -> None:
    if points:
        matrices = np.array([point.vector[_VECTOR] for point in points], np.float32)  # type: ignore[index, call-overload]
        pictures = [from_json(int(point.id), point.payload or {}) for point in points]
        new.add(pictures, Records.from_copies(matrices, dimension))


def remove_older(folder: Path) -> None:
    """Remove what only the older form has; nothing where there is nothing."""
    with machine_errors(folder):
        shutil.rmtree(folder / _SHARD, ignore_errors=True)
        (folder / _RECALL).unlink(missing_ok=True)
