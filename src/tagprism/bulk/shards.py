"""Shards: the folder of Parquet files in which a job keeps what came of its pictures. Knows no cluster, no index.

`manifest.json` says of which model they are, and whether all pictures are in them; `docs/scale.md` has their columns.
Each shard is there whole or not at all, so that a job that was killed is continued with the pictures that are in none.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagprism.bundle.record import Shape
from tagprism.errors import InputError
from tagprism.files import locked, machine_errors, read_json, replaced_whole, write_json
from tagprism.images.elsewhere import is_url
from tagprism.rename import sync_folder

MANIFEST = "manifest.json"
_LOCK = ".lock"
_ROWS, _SECONDS = 4096, 20.0  # pictures of a shard, and time after which it is written with fewer: what a kill may cost
_NAME = re.compile(r"part-(\d{6,})\.parquet")
_KEY = b"tagprism"
_STATE = {"complete", "pictures", "model"}  # of a manifest: what may differ between two commands of one job
_AGAIN = "Remove it, and give the command that made it again: its pictures are looked at once more."


class Manifest(BaseModel):
    """`manifest.json` of a folder of shards.

    Args:
        format: version of the columns.
        model: name of the model.
        digest: of its bundle.
        vectors: M.
        dimension: D.
        shared: S.
        max_pixels: cap on the size of a picture.
        paths: digest of the pictures as they were named; empty where an older version did not keep it.
        exclude: digest of what was left out of folders; empty as `paths`.
        complete: whether every picture of the last command has its row.
        pictures: how many rows there are then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model: str
    digest: str
    vectors: Annotated[int, Field(ge=1)]
    dimension: Annotated[int, Field(ge=1)]
    shared: Annotated[int, Field(ge=1)]
    max_pixels: int
    paths: str = ""
    exclude: str = ""
    complete: bool = False
    pictures: Annotated[int, Field(ge=0)] = 0

    @property
    def shape(self) -> Shape:
        """Of the records."""
        return Shape(self.vectors, self.dimension, self.shared)

    @property
    def schema(self) -> pa.Schema:
        """The columns of a shard."""
        numbers = pa.list_(pa.field("element", pa.float16()))  # as Parquet itself calls it
        columns = {
            "path": pa.string(),
            "path_bytes": pa.string(),
            "size": pa.int64(),
            "modified": pa.int64(),
            "digest": pa.string(),
            "width": pa.int32(),
            "height": pa.int32(),
            "taken": pa.string(),
            "tags": pa.string(),
            "taken_from": pa.string(),
            "camera": pa.string(),
            "rating": pa.int8(),
            "kind": pa.string(),
            "place": pa.list_(pa.field("element", pa.float64())),
            "facts": pa.int32(),
            "remark": pa.string(),
            "rows": numbers,
            "shared": numbers,
            "error_code": pa.string(),
            "error": pa.string(),
        }
        text = self.model_dump_json(include={"format", "digest", "vectors", "dimension", "shared"})
        return pa.schema(list(columns.items()), {_KEY: text.encode()})


def path_key(path: str) -> bytes:
    """What a path is known by among millions: 32 hex digits."""
    return blake2b(os.fsencode(path), digest_size=16).hexdigest().encode()


class Shards(AbstractContextManager["Shards"]):
    """A folder of shards on its way, to be used with `with`; what is in it already is kept.

    Args:
        folder: made when absent.
        manifest: what the job is; only the same is continued.

    Raises:
        InputError: it is something else, or of another job, or another command writes it, or a shard is damaged.
        MachineError: it cannot be written.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        if is_url(str(folder)) or re.match(r"\w+:/", str(folder)):
            remedy = "Name a folder of the machine that gives the command; it writes the shards."
            raise InputError("is no folder.", where=f"--shards {folder}", remedy=remedy)
        self._folder, self._manifest = folder, manifest
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            if not held.enter_context(locked(folder / _LOCK)):
                raise _taken(folder)
            self._check()
            self._names = _shards(folder)
            self._done = self._paths_there()
            self.rows = len(self._done)
            self._keep(complete=False)
            self._held = held.pop_all()
        self._waiting: list[pa.Table] = []
        self._last = time.monotonic()

    def _check(self) -> None:
        where = str(self._folder)
        if not (self._folder / MANIFEST).exists():
            if any(entry.name != _LOCK for entry in self._folder.iterdir()):
                raise InputError("is not empty, and not of shards.", where=where, remedy="Name a new folder.")
            return
        old = read_manifest(self._folder).model_dump(exclude=_STATE)
        new = self._manifest.model_dump(exclude=_STATE)
        if differing := sorted(name for name in new if old[name] not in ("", new[name])):
            what = f"holds shards of another job (another {', '.join(differing)})."
            raise InputError(what, where=where, remedy="Name another folder, or its pictures, model and options.")

    def _keep(self, *, complete: bool) -> None:
        state = {"complete": complete, "pictures": self.rows if complete else 0}
        self._manifest = self._manifest.model_copy(update=state)
        write_json(self._folder / MANIFEST, self._manifest.model_dump(mode="json"))

    def _paths_there(self) -> np.ndarray:
        keys: list[np.ndarray] = [np.empty(0, "S32")]
        for name in self._names:
            rows = _opened(self._folder / name, self._manifest).read(["path", "path_bytes"]).to_pylist()
            keys.append(np.array([path_key(true_path(row)) for row in rows], "S32"))
        return np.sort(np.concatenate(keys))

    def __contains__(self, path: str) -> bool:
        """Whether a picture had its row when the folder was opened."""
        key = path_key(path)
        at = int(np.searchsorted(self._done, key))
        return at < len(self._done) and bool(self._done[at] == key)

    def add(self, table: pa.Table) -> None:
        """Add rows of pictures that have none yet; they are on the disk when a shard is full, or after a while."""
        self._waiting.append(table)
        self.rows += len(table)
        if sum(map(len, self._waiting)) >= _ROWS or time.monotonic() - self._last > _SECONDS:
            self.save()

    def save(self) -> None:
        """Write a shard of the rows that wait."""
        if self._waiting:
            last = int(_NAME.fullmatch(self._names[-1])[1]) if self._names else -1  # type: ignore[index]
            name = f"part-{last + 1:06d}.parquet"
            table = pa.concat_tables(self._waiting)
            words = [name for name in table.column_names if name not in ("rows", "shared")]
            with replaced_whole(self._folder / name, replace=False) as beside, beside.open("xb") as file:
                pq.write_table(table, file, compression="zstd", use_dictionary=words)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._folder)
            self._names.append(name)
        self._waiting, self._last = [], time.monotonic()

    def finish(self) -> Manifest:
        """All pictures have their rows."""
        self.save()
        self._keep(complete=True)
        return self._manifest

    def __exit__(self, *_: object) -> None:
        try:
            self.save()
        finally:
            self._held.close()


def refuse_taken(folder: Path) -> None:
    """Refuse a folder that another command writes, before long work for it; `Shards` takes it.

    Raises:
        InputError: it is being written.
    """
    if (folder / _LOCK).exists():
        with locked(folder / _LOCK) as is_free:
            if not is_free:
                raise _taken(folder)


def _taken(folder: Path) -> InputError:
    what = "is being written by another tagprism."
    return InputError(what, where=str(folder), remedy="Wait for it, or name another folder.")


def true_path(row: dict[str, Any]) -> str:
    """The path of a row, also where it is no text."""
    exact = row["path_bytes"]
    return str(row["path"]) if exact is None else bytes.fromhex(exact).decode("utf-8", "surrogatepass")


def read_manifest(folder: Path) -> Manifest:
    """What a folder of shards says of itself.

    Raises:
        InputError: it is none, or of a newer tagprism.
    """
    if not (folder / MANIFEST).is_file():
        remedy = "Make them with `tagprism index PHOTOS --ray auto --shards OUT`."
        raise InputError("holds no shards.", where=str(folder), remedy=remedy)
    values = read_json(folder / MANIFEST, remedy="Name another folder.")
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"cannot be used: {'.'.join(map(str, first['loc']))}: {first['msg']}."
        raise InputError(what, where=str(folder / MANIFEST), remedy="Update tagprism, or make them anew.") from error


def _shards(folder: Path) -> list[str]:
    with machine_errors(folder):
        names = (entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name))
        return sorted(names, key=lambda name: (len(name), name))


def _opened(file: Path, manifest: Manifest) -> pq.ParquetFile:
    try:
        opened = pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"is damaged or cut short ({error}).", where=str(file), remedy=_AGAIN) from error
    if not opened.schema_arrow.equals(manifest.schema, check_metadata=True):
        raise InputError("is not a shard of this folder's model and format.", where=str(file), remedy=_AGAIN)
    return opened


def each_batch(folder: Path, manifest: Manifest, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of all shards, some at a time.

    Raises:
        InputError: a shard is damaged or of something else.
    """
    for name in _shards(folder):
        opened = _opened(folder / name, manifest)
        try:
            yield from opened.iter_batches(rows, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"is damaged ({error}).", where=str(folder / name), remedy=_AGAIN) from error


def count_rows(folder: Path, manifest: Manifest) -> int:
    """How many rows there are, from the shards' ends."""
    return sum(_opened(folder / name, manifest).metadata.num_rows for name in _shards(folder))
