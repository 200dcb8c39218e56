"""Look at pictures on a cluster, and keep their records in shards. Writes into no index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32
from threadpoolctl import threadpool_limits

import tagprism
from tagprism.bulk.actors import Part, results
from tagprism.bulk.listing import Listing, parts_of
from tagprism.bulk.shards import Manifest, Shards
from tagprism.bundle.names import lasting_name
from tagprism.bundle.record import Records
from tagprism.errors import InputError, PictureError
from tagprism.images.decode import MAX_PIXELS
from tagprism.images.elsewhere import Item, Reader, is_url
from tagprism.images.metadata import read_metadata
from tagprism.images.stream import Processed, process_pictures
from tagprism.progress import Progress, silent
from tagprism.search.contract import Picture
from tagprism.search.stored import as_json
from tagprism.tagging.ranker import LabelRanker
from tagprism.tagging.tagger import Tagger, load
from tagprism.tagging.tags import Tag

_TAGS = 10  # kept with each picture, as by `search.upkeep`
_WAITING = 4  # pictures fetched at once by a process where a server has them
_LIMIT = float(np.finfo(np.float16).max)
_T = TypeVar("_T")


def open_same(model: str, digest: str, version: str) -> Tagger:
    """The model of a job in a process of the cluster, where it must be the same one.

    Raises:
        InputError: it, or tagprism, is another there.
    """
    if version != tagprism.__version__:
        what = f"has tagprism {tagprism.__version__}, the machine of the command {version}."
        raise InputError(what, where=f"machine {os.uname().nodename}", remedy="Install the same on all.")
    tagger = load(model)
    if tagger.bundle.digest != digest:
        what, remedy = "is another model than on the machine of the command.", "Copy it there, under the same name."
        raise InputError(what, where=f"{model} on machine {os.uname().nodename}", remedy=remedy)
    return tagger


@dataclass
class Bytes:
    """Reads the pictures of a part, and may keep the bytes of each until they are asked for.

    Args:
        part: the pictures, each by its name.
    """

    part: Part
    reader: Reader
    _by_name: dict[str, Item] = field(init=False)
    _kept: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name = {item.name: item for item in self.part}

    @property
    def threads(self) -> int:
        """In how many threads they are best read: a processor has one of them at work, the others wait for a server."""
        return _WAITING if all(is_url(item.file) and item.kind != "parquet" for item in self.part) else 1

    def process(
        self, tagger: Tagger, network: Callable[[np.ndarray], Iterable[_T]], max_pixels: int, *, keep: bool = False
    ) -> Iterator[Processed[_T]]:
        """As `images.stream.process_pictures`, of all pictures of the part."""
        return process_pictures(
            [item.name for item in self.part],
            tagger.preprocess,
            network,
            threads=self.threads,
            max_pixels=max_pixels,
            read=self._keep if keep else self._read,
        )

    def _read(self, name: str | os.PathLike[str]) -> bytes:
        return self.reader.read(self._by_name[os.fspath(name)])

    def _keep(self, name: str | os.PathLike[str]) -> bytes:
        data = self._kept[os.fspath(name)] = self._read(name)
        return data

    def take(self, name: str) -> bytes:
        """The bytes of one that was read, for the last time."""
        return self._kept.pop(name, b"")


@dataclass(frozen=True)
class Looking:
    """A `Job` that makes rows of a shard: a table in Arrow's stream format for each part.

    Args:
        manifest: of the shards.
        version: of tagprism.
    """

    manifest: Manifest
    version: str = tagprism.__version__

    def open(self) -> Callable[[Part], bytes]:
        """Load the model."""
        tagger = open_same(self.manifest.model, self.manifest.digest, self.version)
        ranker, reader = LabelRanker(tagger, None), Reader()

        def network(pixels: Float32[np.ndarray, "B 3 H W"]) -> list[tuple[Records, tuple[Tag, ...]]]:
            records = tagger.network(pixels)
            return list(zip(records, ranker.best(records, _TAGS, None), strict=True))

        def look(part: Part) -> bytes:
            read = Bytes(part, reader)
            with threadpool_limits(1, "blas"):
                found = read.process(tagger, network, self.manifest.max_pixels, keep=True)
                rows = [_row(item, one, read.take(item.name)) for item, one in zip(part, found, strict=True)]
            return _as_bytes(rows, self.manifest)

        return look


def _row(item: Item, one: Processed[tuple[Records, tuple[Tag, ...]]], data: bytes) -> dict[str, Any]:
    if isinstance(one.output, PictureError):
        return error_row(item, one.output)
    try:
        known = read_metadata(item.name, data, beside=item.is_local)
        modified = os.stat(item.file).st_mtime_ns if item.is_local else 0  # noqa: PTH116 (paths are strings here)
    except PictureError as error:
        return error_row(item, error)
    except OSError as error:
        return error_row(item, PictureError("missing", f"The file is gone ({os.strerror(error.errno or 0)})."))
    record, tags = one.output
    best = tuple((tag.label, tag.probability) for tag in tags)
    picture = Picture(
        1, item.name, len(data), modified, one.digest, known.width, known.height, known.taken, best,
        known.taken_from, known.camera, known.rating, known.kind, known.location,
    )  # fmt: skip
    numbers = {"rows": _as_float16(record.rows), "shared": _as_float16(record.shared)}
    return {**as_json(picture), "remark": one.remark, **numbers}


def _as_float16(numbers: np.ndarray) -> np.ndarray:
    half: np.ndarray = np.clip(numbers, -_LIMIT, _LIMIT).astype(np.float16)
    return half.ravel()


def error_row(item: Item, error: PictureError) -> dict[str, Any]:
    """The row of a picture that cannot be used."""
    named = as_json(Picture(1, item.name, 0, 0, "", 0, 0))
    return {name: named[name] for name in ("path", "path_bytes") if name in named} | {
        "error_code": error.code,
        "error": error.message,
    }


def _as_bytes(rows: list[dict[str, Any]], manifest: Manifest) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, manifest.schema)
    with pa.ipc.new_stream(sink, manifest.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


KILLED = PictureError(
    "unreadable", "Each process that looked at it was killed; most likely memory is too small for it."
)


def index_into_shards(
    pictures: Listing,
    folder: Path,
    model: str,
    processors: int,
    *,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = silent,
    skipped: Callable[[str, PictureError], None] = lambda path, error: None,
) -> Manifest:
    """Look at pictures on the cluster one is connected to (`cluster.cluster`), each in exactly one row of the shards.

    Args:
        pictures: what to look at; those that have a row are not looked at again.
        folder: of the shards; made when absent, continued where a job was interrupted or killed.
        model: as `tagging.tagger.load` takes it, also on each machine of the cluster.
        processors: of the cluster.
        max_pixels: cap on the size of a picture.
        progress: told of every picture.
        skipped: told of every picture that cannot be used.

    Raises:
        InputError: the model cannot be used or is another on some machine; the folder is of another job.
        MachineError: a server does not answer, or the folder cannot be written; what was done is kept.
    """
    bundle = load(model, progress=progress).bundle
    name = lasting_name(model, bundle.path)
    shape, asked = bundle.shape._asdict(), pictures.asked
    manifest = Manifest(model=name, digest=bundle.digest, **shape, max_pixels=max_pixels, **asked)
    with Shards(folder, manifest) as shards, progress("looking at pictures", pictures.count) as advance:
        parts = _those_without_row(pictures, shards, advance)
        with closing(results(Looking(manifest), parts, processors)) as found:
            for part, result in found:
                if result is None:
                    result = _as_bytes([error_row(item, KILLED) for item in part], manifest)
                table = pa.ipc.open_stream(result).read_all()
                shards.add(table)
                advance(len(part))
                bad = table.filter(pc.is_valid(table["error"])).select(["path", "error_code", "error"])
                for row in bad.to_pylist():
                    skipped(row["path"], PictureError(row["error_code"], row["error"]))
        return shards.finish()


def _those_without_row(pictures: Listing, shards: Shards, advance: Callable[[int], None]) -> Iterator[Part]:
    """The parts of the whole job without what is done, so that most of the rest meets the network as it would have."""
    for part in parts_of(pictures.items()):
        todo = [item for item in part if item.name not in shards]
        advance(len(part) - len(todo))
        if todo:
            yield todo
