"""`webdataset:GLOB`: tars as the WebDataset format has them, a picture and its labels side by side.

A sample is a picture `NAME.jpg` (or another format) and `NAME.json`: a list of labels, or an object with `positive`,
`negative` and, where the picture's name in the data set is another one, `key`. Tars are not unpacked: what lies where
is read once and remembered, and a picture is then read from its position like a file. So the order of training is free.
"""

from __future__ import annotations

import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tagprism.datasets.compact import Ragged
from tagprism.datasets.shards import ShardContents, open_shards
from tagprism.datasets.table import ImageTable, SkippedPicture
from tagprism.errors import InputError, PictureError
from tagprism.files import cache_dir, machine_errors
from tagprism.images.formats import picture_extensions
from tagprism.images.picture_file import StoredPicture, check_size
from tagprism.images.stream import file_stamp
from tagprism.progress import Progress, silent
from tagprism.sqlite_file import ByteCache

_FORM = 'Write ["label", ...] or {"positive": [...], "negative": [...]}.'
_BLOCK = 512  # bytes: a tar ends with two such blocks of zeros


class TarPicture(StoredPicture):
    """A picture in a tar; `first` is the position of its bytes, `second` their number."""

    def _stored(self, most: int) -> bytes:
        check_size(self.second, most, os.fspath(self))
        with self.shard.open("rb") as file:
            file.seek(self.first)
            data = file.read(self.second)
        if len(data) < self.second:
            raise PictureError("unreadable", "The shard ends before the picture does.", where=os.fspath(self))
        return data


def open_webdataset(pattern: str, progress: Progress = silent) -> ImageTable:
    """Open tars of pictures and labels.

    Args:
        pattern: a tar, or a pattern that finds tars.
        progress: told of every tar.

    Returns:
        Its table, as `open_shards` makes it.

    Raises:
        InputError: a tar that is cut short or compressed, labels of another form, and what `open_shards` refuses.
        MachineError: the file of remembered contents is damaged or cannot be written.
    """
    cache = ByteCache(cache_dir("shards") / "tars.sqlite", "shards")
    try:
        return open_shards("webdataset", pattern, partial(_remembered, cache), TarPicture, progress)
    finally:
        cache.close()


def _remembered(cache: ByteCache, shard: Path) -> ShardContents:
    """The contents of a tar, from the cache where its size and time are those of then."""
    key, stamp = blake2b(os.fsencode(shard.absolute()), digest_size=16).digest(), file_stamp(shard)
    value = cache.get([key]).get(key, b"")
    if stamp and value[:16] == stamp:
        return _unpacked(json.loads(zlib.decompress(value[16:])))
    raw = _read_tar(shard)
    if stamp:
        cache.put({key: stamp + zlib.compress(json.dumps(raw).encode(), 1)})
    return _unpacked(raw)


def _unpacked(raw: dict[str, Any]) -> ShardContents:
    number = {label: position for position, label in enumerate(raw["labels"])}
    positive, negative = (
        Ragged.from_rows([number[label] for label in own] for own in raw[side]) for side in ("positive", "negative")
    )
    positions = np.asarray(raw["places"], np.int64).reshape(-1, 2)
    return ShardContents(
        raw["keys"], raw["labels"], positive, negative, positions, [SkippedPicture(*one) for one in raw["skipped"]]
    )


def _read_tar(shard: Path) -> dict[str, Any]:
    """What a tar holds, as JSON has it."""
    found: dict[str, Any] = {name: [] for name in ("keys", "positive", "negative", "places", "skipped")}
    for name, members in _samples(shard):
        labels = members.pop(".json", None)
        pictures = [members[ending] for ending in members if ending in picture_extensions()]
        if len(pictures) > 1:
            raise InputError(f"'{name}' has {len(pictures)} pictures.", where=str(shard), remedy="Keep one of them.")
        positive, negative, key = labels or ([], [], None)
        if not pictures:
            if labels is not None:
                found["skipped"].append((key or name, "missing", "The shard has labels for it and no picture."))
            continue
        path, *position = pictures[0]
        row = {"keys": key or path, "positive": positive, "negative": negative, "places": position}
        for side, value in row.items():
            found[side].append(value)
    return found | {"labels": sorted({label for own in (*found["positive"], *found["negative"]) for label in own})}


def _samples(shard: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The samples of a tar: name, and by ending each member's (path, position, size), of `.json` what it says."""
    size = shard.stat().st_size
    name: str | None = None
    members: dict[str, Any] = {}
    try:
        with machine_errors(shard), tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isreg():
                    continue
                if member.offset_data + member.size > size:
                    raise _cut_short(shard, f"inside '{member.name}'")
                path = PurePosixPath(member.name)
                stem, _, rest = path.name.partition(".")
                sample = str(path.with_name(stem)) if stem else member.name
                if sample != name:
                    if name is not None:
                        yield name, members
                    name, members = sample, {}
                ending = f".{rest.rpartition('.')[2].lower()}"
                if ending == ".json":
                    file = tar.extractfile(member)
                    members[ending] = _labels_of(file.read() if file else b"", f"{shard}, '{member.name}'")
                else:
                    members[ending] = (member.name, member.offset_data, member.size)
            if not _ends_at(shard, tar.offset):
                raise _cut_short(shard, "its end is missing, or a header in it is damaged")
    except tarfile.ReadError as error:
        remedy = "A compressed shard must be unpacked first (gunzip): its pictures have no place of their own."
        raise InputError(f"is not a tar that can be read ({error}).", where=str(shard), remedy=remedy) from error
    if name is not None:
        yield name, members


def _ends_at(shard: Path, position: int) -> bool:
    with shard.open("rb") as file:
        file.seek(position)
        return file.read(_BLOCK) == bytes(_BLOCK)


def _cut_short(shard: Path, how: str) -> InputError:
    return InputError(f"the shard is cut short ({how}).", where=str(shard), remedy="Copy or write it again.")


def _labels_of(data: bytes, where: str) -> tuple[list[str], list[str], str | None]:
    """Positive and negative labels, and the picture's name where one is given."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise InputError(f"is not JSON ({error}).", where=where, remedy=_FORM) from error
    if isinstance(value, list):
        value = {"positive": value}
    if not isinstance(value, dict) or not value.keys() & {"positive", "negative"}:
        raise InputError("has neither `positive` nor `negative`.", where=where, remedy=_FORM)
    sides = [value.get(side) or [] for side in ("positive", "negative")]
    key = value.get("key")
    if not all(isinstance(side, list) and all(isinstance(label, str) for label in side) for side in sides):
        raise InputError("labels must be lists of words.", where=where, remedy=_FORM)
    if key is not None and (not isinstance(key, str) or not key):
        raise InputError("`key` must be the picture's name.", where=where, remedy=_FORM)
    return sides[0], sides[1], key
