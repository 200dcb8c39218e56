"""Write a data set as shards, Parquet or WebDataset tars: large files that network disks and buckets like.

Pictures go in the order of the table, a fixed number to a shard, their bytes unchanged. A shard gets its name when it
is whole, so a run that was killed goes on with the next one.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from tagprism.datasets.shards import FINISHED
from tagprism.datasets.table import ImageTable, SkippedPicture
from tagprism.errors import DoneAlreadyError, InputError, PictureError
from tagprism.files import machine_errors, read_json, replaced_whole, write_json
from tagprism.images.formats import picture_extensions
from tagprism.images.picture_file import read_bytes
from tagprism.progress import Progress, silent

_GROUP = 8 << 20  # bytes of pictures in a row group: a reader gets it whole to see one of them
_ENDINGS = {"parquet": ".parquet", "webdataset": ".tar"}


class _Row(NamedTuple):
    key: str
    image: bytes
    positive: list[str]
    negative: list[str]


def write_shards(
    table: ImageTable,
    out: Path,
    form: Literal["parquet", "webdataset"],
    *,
    per_shard: int = 1000,
    progress: Progress = silent,
) -> list[SkippedPicture]:
    """Write shards into a folder, with a `dataset.json` beside that says what unlisted labels mean.

    Args:
        table: the data set.
        out: folder; one that holds the first shards of the same data set is continued.
        form: `parquet` or `webdataset`.
        per_shard: pictures a shard, at least 1; the last one may have fewer.
        progress: told of every picture.

    Returns:
        The pictures that cannot be read, of the shards written now.

    Raises:
        InputError: `out` holds something else, or Parquet without pyarrow.
        DoneAlreadyError: all shards are there.
        MachineError: the folder cannot be written.
    """
    starts = range(0, len(table), per_shard)
    names = [f"shard-{number:05d}{_ENDINGS[form]}" for number in range(len(starts))]
    _claim(out, {"data": table.digest, "form": form, "per_shard": per_shard, "shards": names}, table)
    skipped: list[SkippedPicture] = []
    if all((out / name).exists() for name in names):
        raise DoneAlreadyError("all shards are written.", where=str(out), remedy="Choose another `out`.")
    with progress("writing shards", len(table)) as advance:
        for start, name in zip(starts, names, strict=True):
            rows = range(start, min(start + per_shard, len(table)))
            if (out / name).exists():
                advance(len(rows))
                continue
            with replaced_whole(out / name) as beside, machine_errors(out / name):
                write = _write_parquet if form == "parquet" else _write_tar
                write(beside, _read(table, rows, skipped, advance), start)
    return skipped


def _claim(out: Path, about: dict[str, Any], table: ImageTable) -> None:
    if (out / FINISHED).exists():
        if read_json(out / FINISHED, remedy="Choose another `out`.") != about:
            raise InputError(
                "holds shards of another data set or form.", where=str(out), remedy="Choose another `out`."
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("exists and holds no shards of tagprism.", where=str(out), remedy="Choose another `out`.")
    with machine_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / "dataset.json", {"unlisted": table.unlisted})
    write_json(out / FINISHED, about)


def _read(table: ImageTable, rows: range, skipped: list[SkippedPicture], advance: Any) -> Iterator[_Row]:
    for row in rows:
        key = table.keys[row]
        sides = [[table.labels[position] for position in side[row]] for side in (table.positive, table.negative)]
        try:
            yield _Row(key, read_bytes(table.files[row]), sides[0], sides[1])
        except PictureError as error:
            skipped.append(SkippedPicture(key, error.code, error.message))
        advance(1)


def _write_tar(path: Path, rows: Iterator[_Row], start: int) -> None:
    """Samples are numbered, because WebDataset ends a name at its first dot; their own name is the `key`."""
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as tar:
        for number, row in enumerate(rows, start):
            ending = PurePosixPath(row.key).suffix.lower()
            about = {"key": row.key, "positive": row.positive, "negative": row.negative}
            for end, data in (
                (ending if ending in picture_extensions() else ".jpg", row.image),
                (".json", json.dumps(about).encode()),
            ):
                member = tarfile.TarInfo(f"{number:09d}{end}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_parquet(path: Path, rows: Iterator[_Row], start: int) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow.", remedy="Install it with: pip install pyarrow") from error
    words = pa.list_(pa.string())
    schema = pa.schema({"key": pa.string(), "image": pa.binary(), "positive": words, "negative": words})
    with parquet.ParquetWriter(path, schema, compression={"image": "none", "key": "zstd"}) as writer:
        group: list[_Row] = []
        size = 0
        for row in rows:
            group.append(row)
            size += len(row.image)
            if size >= _GROUP:
                writer.write_batch(pa.RecordBatch.from_pylist([one._asdict() for one in group], schema))
                group, size = [], 0
        if group:
            writer.write_batch(pa.RecordBatch.from_pylist([one._asdict() for one in group], schema))
