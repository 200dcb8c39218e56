"""Data sets whose pictures lie in shards, large files of many pictures: one table out of what each shard holds.

Knows no format: `parquet_shards` and `webdataset` read theirs.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from jaxtyping import Bool, Int32, Int64

from tagprism.datasets.compact import PackedNames, Picked, Ragged
from tagprism.datasets.table import ImageTable, SkippedPicture, Unlisted
from tagprism.datasets.tagged import checked_label, label_names, read_unlisted
from tagprism.errors import InputError
from tagprism.files import read_json
from tagprism.images.picture_file import PictureFile, StoredPicture
from tagprism.progress import Progress, silent

FINISHED = "shards.json"
"""Beside shards that `tagprism data shards` writes: how many there will be."""

WINDOW = 128 << 20
"""Bytes of pictures among which training shuffles, in whole blocks of those that are read together."""

_DATA_SET = "dataset.json"  # as FINISHED it lies beside the shards, where `DIR/*` finds it too

_FORM = "See docs/data.md for what a shard holds."


class ShardContents(NamedTuple):
    """What one shard holds, without the pictures.

    Args:
        keys: n names of pictures.
        labels: names of the labels that occur in it.
        positive, negative: n rows of numbers in `labels`.
        positions: (n, 2) where each picture is, as the format counts.
        skipped: pictures that cannot be used.
        blocks: bytes of each block whose pictures are read together, by `places[:, 0]`; none where each picture is read
            by itself.
    """

    keys: list[str]
    labels: list[str]
    positive: Ragged
    negative: Ragged
    positions: Int64[np.ndarray, "n 2"]
    skipped: list[SkippedPicture] = []  # noqa: RUF012 (never changed)
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class FilesInShards(Sequence[StoredPicture]):
    """Pictures in shards, made when they are asked for.

    Args:
        kind: the class of the pictures.
        shards: the files.
        keys: N names.
        owners: (N,) number of each picture's shard.
        positions: (N, 2) where it is in there.
        block_bytes: bytes of each block, of all shards one after the other; empty where pictures are read singly.
        first_block: number of the first block of each shard.
    """

    kind: type[StoredPicture]
    shards: tuple[Path, ...]
    keys: Sequence[str]
    owners: Int32[np.ndarray, " N"]
    positions: Int64[np.ndarray, "N 2"]
    block_bytes: Int64[np.ndarray, " K"]
    first_block: Int64[np.ndarray, " _"]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.keys)

    @overload
    def __getitem__(self, position: int) -> StoredPicture: ...
    @overload
    def __getitem__(self, position: slice) -> list[StoredPicture]: ...
    def __getitem__(self, position: int | slice) -> StoredPicture | list[StoredPicture]:
        """Picture at one place, or those of a slice."""
        if isinstance(position, slice):
            return [self[one] for one in range(len(self))[position]]
        first, second = self.positions[position].tolist()
        return self.kind(self.shards[self.owners[position]], self.keys[position], first, second)


class Blocks(NamedTuple):
    """Which pictures of a list are read together.

    Args:
        of: (n,) block of each picture.
        sizes: (K,) bytes of each block.
    """

    of: Int64[np.ndarray, " n"]
    sizes: Int64[np.ndarray, " K"]


def blocks_of(files: Sequence[PictureFile]) -> Blocks | None:
    """The blocks of pictures that a table picked; None where each is read by itself."""
    if not isinstance(files, Picked) or not isinstance(files.items, FilesInShards) or not len(files.items.block_bytes):
        return None
    all_of, rows = files.items, files.rows
    return Blocks(all_of.first_block[all_of.owners[rows]] + all_of.positions[rows, 0], all_of.block_bytes)


def open_shards(
    kind: str,
    pattern: str,
    read: Callable[[Path], ShardContents],
    pictures: type[StoredPicture],
    progress: Progress = silent,
) -> ImageTable:
    """The table of all shards that a pattern finds, pictures in the order of the shards' names, labels sorted.

    Args:
        kind: of the data set.
        pattern: a file, or a pattern with `*`, `?`, `[...]` and `**`.
        read: what one shard holds.
        pictures: the class that reads one of its pictures.
        progress: told of every shard.

    Raises:
        InputError: no such shard, one that cannot be used, not all of them are written yet, two pictures of one name, a
            label that is positive and negative, two spellings of one label.
    """
    found = map(Path, sorted(glob.glob(pattern, recursive=True)))  # noqa: PTH207
    shards = tuple(path for path in found if path.is_file() and path.name not in (_DATA_SET, FINISHED))
    where = f"{kind}:{pattern}"
    if not shards:
        raise InputError("no file is there.", where=where, remedy="Name shards, such as 'DIR/*', in quotes.")
    unlisted = _unlisted(shards)
    contents = []
    with progress("reading shards", len(shards)) as advance:
        for shard in shards:
            contents.append(read(shard))
            advance(1)
    keys = PackedNames(key for one in contents for key in one.keys)
    owners = np.repeat(np.arange(len(shards), dtype=np.int32), [len(one.keys) for one in contents])
    if (twice := keys.twice()) is not None:
        first, second = (shards[owners[position]] for position in twice)
        also = f"in {first}" if first == second else f"in {first} and in {second}"
        remedy = "Each picture needs a name of its own; do not name a shard's copy."
        raise InputError(f"two pictures are named '{keys[twice[0]]}', {also}.", where=where, remedy=remedy)
    labels, positive, negative = _joined_labels(contents, shards, keys, where)
    listed = (np.diff(positive.starts) > 0) | (np.diff(negative.starts) > 0)
    skipped = [one for shard in contents for one in shard.skipped]
    skipped += [_without_labels(keys[int(row)]) for row in np.flatnonzero(~listed)]
    if not listed.any():
        first_skipped = f" The first: {skipped[0].key}: {skipped[0].message}" if skipped else ""
        raise InputError(f"none of the pictures can be used.{first_skipped}", where=where, remedy=_FORM)
    kept = keys if listed.all() else PackedNames(keys[int(row)] for row in np.flatnonzero(listed))
    positions = np.concatenate([one.positions for one in contents])[listed]
    sizes = [len(one.blocks) for one in contents]
    files = FilesInShards(
        pictures,
        shards,
        kept,
        owners[listed],
        positions,
        np.asarray([size for one in contents for size in one.blocks], np.int64),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )
    positive, negative = _rows(positive, listed), _rows(negative, listed)
    return ImageTable(kind, files, kept, labels, positive, negative, unlisted, tuple(skipped))


def _unlisted(shards: Iterable[Path]) -> Unlisted:
    """What `dataset.json` beside the shards says; also whether all shards are there yet."""
    found: dict[Unlisted, Path] = {}
    for folder in sorted({shard.parent for shard in shards}):
        found.setdefault(read_unlisted(folder / _DATA_SET), folder)
        if (folder / FINISHED).exists():
            expected = read_json(folder / FINISHED, remedy="Write the shards anew.")
            lacking = [name for name in expected["shards"] if not (folder / name).exists()]
            if lacking:
                there = f"{len(expected['shards']) - len(lacking)} of {len(expected['shards'])} shards are there"
                remedy = "Run `tagprism data shards` again to write the others."
                raise InputError(f"{there}; '{lacking[0]}' is not.", where=str(folder), remedy=remedy)
    if len(found) > 1:
        first, second = found.values()
        remedy = "Give both the same dataset.json."
        raise InputError(f"means another thing by an unlisted label than {first}.", where=str(second), remedy=remedy)
    return next(iter(found))


def _without_labels(key: str) -> SkippedPicture:
    return SkippedPicture(key, "no_labels", "No label is listed for this picture.")


def _joined_labels(
    contents: list[ShardContents], shards: Sequence[Path], keys: PackedNames, where: str
) -> tuple[tuple[str, ...], Ragged, Ragged]:
    """The labels of all shards, sorted, and each picture's labels as numbers in them, rising, each once."""
    checked = [
        [checked_label(label, str(shard), _FORM) for label in one.labels]
        for one, shard in zip(contents, shards, strict=True)
    ]
    labels = label_names(sorted({label for own in checked for label in own}), where)
    column = {label: number for number, label in enumerate(labels)}
    numbers = [np.asarray([column[label] for label in own], np.int64) for own in checked]
    sides = []
    for side in ("positive", "negative"):
        rows: list[Ragged] = [getattr(one, side) for one in contents]
        lengths = np.concatenate([np.diff(one.starts) for one in rows])
        found = np.concatenate([own[one.columns] for own, one in zip(numbers, rows, strict=True)])
        owners = np.repeat(np.arange(len(lengths)), lengths)
        sides.append(np.unique(owners * max(1, len(labels)) + found))
    both = np.intersect1d(sides[0], sides[1])
    if len(both):
        row, label = divmod(int(both[0]), len(labels))
        remedy = "Keep each in one of the two."
        raise InputError(
            f"'{labels[label]}' is both positive and negative in '{keys[row]}'.", where=where, remedy=remedy
        )
    positive, negative = (_ragged(codes, len(keys), max(1, len(labels))) for codes in sides)
    return labels, positive, negative


def _ragged(codes: Int64[np.ndarray, " values"], count: int, labels: int) -> Ragged:
    """Rows of label numbers, from sorted numbers row * labels + label."""
    starts = np.searchsorted(codes, np.arange(count + 1) * labels).astype(np.int64)
    return Ragged(starts, (codes % labels).astype(np.int32))


def _rows(ragged: Ragged, kept: Bool[np.ndarray, " N"]) -> Ragged:
    """The rows that are kept."""
    if kept.all():
        return ragged
    lengths = np.diff(ragged.starts)
    starts = np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64)
    return Ragged(starts, ragged.columns[np.repeat(kept, lengths)])
