"""Shards into an index, in a folder or on a server: streamed, and continued where a load was interrupted or killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tagprism.bulk.shards import Manifest, count_rows, each_batch, read_manifest, true_path
from tagprism.bundle.record import Records
from tagprism.errors import IndexMismatchError, InputError, PictureError
from tagprism.progress import Progress, silent
from tagprism.search.catalog import Catalog
from tagprism.search.collection import Collection
from tagprism.search.create import create_collection, exists, open_for_update, update_lock
from tagprism.search.record_file import StorageName
from tagprism.search.stored import catalog_file, from_json
from tagprism.tagging.tagger import load

_BATCH = 256  # pictures that the index takes at once


@dataclass
class Loaded:
    """What a load came to.

    Args:
        added: pictures that are new in the index.
        changed: pictures whose bytes were others in the index.
        unchanged: pictures that were in it.
        skipped: rows that say why there is no picture.
        pictures: in the index now.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0
    pictures: int = 0


def load_shards(
    folder: Path,
    where: str,
    *,
    model: str | None = None,
    storage: StorageName | None = None,
    progress: Progress = silent,
    skipped: Callable[[str, PictureError], None] = lambda path, error: None,
) -> Loaded:
    """Bring the pictures of complete shards into an index, which is made when absent.

    Args:
        folder: of the shards.
        where: as for `search.collection.open_index`.
        model: where the model is now; None for the name in the shards, or in the index.
        storage: how records are kept; None for what the index has, or half.
        progress: told of every row.
        skipped: told of every row of a picture that could not be used.

    Raises:
        InputError: the shards are not complete, damaged, or of something else.
        IndexMismatchError: the index is of another model.
        MachineError: the machine or the server refuses; what was loaded is kept.
    """
    manifest = read_manifest(folder)
    rows = count_rows(folder, manifest)
    if not manifest.complete or rows != manifest.pictures:
        what = f"has {rows:,} of {manifest.pictures:,} rows." if manifest.complete else "is not complete."
        remedy = "Give the command that makes the shards again: it goes on."
        raise InputError(what, where=str(folder), remedy=remedy)
    with update_lock(where):
        if not exists(where):
            named = model or manifest.model
            if load(named, progress=progress).bundle.digest != manifest.digest:
                what = "is not the model that made these shards."
                raise InputError(what, where=named, remedy="Name that one with --model.")
            create_collection(where, named, storage or "half", progress=progress).close()
    with open_for_update(where, model=model, storage=storage, progress=progress) as collection:
        theirs, ours = collection.tagger.bundle.digest, manifest.digest
        if theirs != ours:
            what = "was made with another model than these shards."
            raise IndexMismatchError(what, where=where, remedy="Name another index, or make the shards with its model.")
        catalog = Catalog(catalog_file(where))
        try:
            return _load(collection, catalog, folder, manifest, rows, progress, skipped)
        finally:
            catalog.close()


def _load(
    collection: Collection,
    catalog: Catalog,
    folder: Path,
    manifest: Manifest,
    rows: int,
    progress: Progress,
    skipped: Callable[[str, PictureError], None],
) -> Loaded:
    index, done = collection.index, Loaded()
    catalog.heal(index)
    next_id = catalog.next_id()
    with progress("loading pictures", rows) as advance:
        for batch in each_batch(folder, manifest, _BATCH):
            values = batch.drop_columns(["rows", "shared"]).to_pylist()
            held = catalog.held_as(true_path(row) for row in values)
            pictures, positions = [], []
            for position, row in enumerate(values):
                path = true_path(row)
                if row["error"] is not None:
                    done.skipped += 1
                    skipped(path, PictureError(row["error_code"], row["error"]))
                    continue
                number, digest = held.get(path, (None, ""))
                if digest == row["digest"]:
                    done.unchanged += 1
                    continue
                if number is None:
                    number, next_id = next_id, next_id + 1
                    done.added += 1
                else:
                    done.changed += 1
                pictures.append(from_json(number, row))
                positions.append(position)
            if pictures:
                records = _records(batch.take(pa.array(positions)), manifest)
                with catalog.change([picture.id for picture in pictures]):
                    index.add(pictures, records)
                    catalog.keep(pictures)
            advance(len(batch))
    collection.settle(progress)  # always, as a load that was killed may have added what this one found
    done.pictures = index.info().pictures
    return done


def _records(batch: pa.RecordBatch, manifest: Manifest) -> Records:
    """The records of rows that have them."""
    M, D, S = manifest.shape
    rows, shared = (batch.column(name).flatten().to_numpy(zero_copy_only=False) for name in ("rows", "shared"))
    n = len(batch)
    return Records(rows.reshape(n, M, D).astype(np.float32), shared.reshape(n, S).astype(np.float32))
