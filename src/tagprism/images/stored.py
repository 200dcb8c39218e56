"""A picture inside a larger file, such as a tar: named like a file, read by `read_bytes`. Knows no such format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias


@dataclass(frozen=True)
class StoredPicture(os.PathLike[str]):
    """A picture that a shard holds; `os.fspath` names it as `SHARD/KEY`, for people and for caches.

    Args:
        shard: the file that it is in.
        key: its name in the data set.
        first, second: where it is in the shard, as its format counts.
    """

    shard: Path
    key: str
    first: int
    second: int

    def __fspath__(self) -> str:
        """`SHARD/KEY`; no file lies there."""
        return f"{os.fspath(self.shard)}/{self.key}"

    __str__ = __fspath__

    @property
    def name(self) -> str:
        """The last part of its key."""
        return PurePosixPath(self.key).name

    def absolute(self) -> StoredPicture:
        """With the whole path of its shard."""
        return replace(self, shard=self.shard.absolute())

    def stat(self) -> os.stat_result:
        """Size and time of its shard, by which a later change is told."""
        return self.shard.stat()

    def read(self, most: int) -> bytes:
        """Its bytes.

        Args:
            most: cap on their number.

        Raises:
            PictureError: the shard is gone, was cut short, or holds more than `most` bytes for it.
        """
        raise NotImplementedError


PictureFile: TypeAlias = Path | StoredPicture
"""What a data set lists: a picture file, or a picture in a shard."""


def reading_order(files: Sequence[PictureFile]) -> Sequence[int]:
    """Places in a list of pictures, in the order in which reading them is cheapest: pictures of one shard together."""
    if not files or isinstance(files[0], Path):
        return range(len(files))
    places = [(str(one.shard), one.first, one.second) for one in files if isinstance(one, StoredPicture)]
    return sorted(range(len(files)), key=places.__getitem__)
