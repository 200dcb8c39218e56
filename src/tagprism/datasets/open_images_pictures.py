"""The pictures of Open Images on disk: which are there, where, and which are missing, for millions. Knows no labels."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import UInt64

from tagprism.datasets.compact import ImageIds
from tagprism.datasets.table import SkippedPicture

_PICTURE = re.compile("[0-9a-f]{16}[.]jpg")


def find_pictures(folder: Path, part: str) -> tuple[str, UInt64[np.ndarray, " n"]]:
    """The folder of a part's pictures, and the numbers of those in it.

    Args:
        folder: of the data set.
        part: `train`, `validation` or `test`.

    Returns:
        Pattern of the folder, with `{first}` for the first digit of a picture's number where there are 16 folders, as
        the official archives unpack; and the numbers, in no order.
    """
    for base in (folder, folder / "images"):
        sixteen = [base / f"{part}_{digit}" for digit in "0123456789abcdef"]
        for pattern, folders in ((f"{base}/{part}_{{first}}", sixteen), (f"{base}/{part}", [base / part])):
            numbers = _numbers_in([one for one in folders if one.is_dir()])
            if len(numbers):
                return pattern, numbers
    return f"{folder}/{part}", np.zeros(0, np.uint64)


def _numbers_in(folders: Sequence[Path]) -> UInt64[np.ndarray, " n"]:
    names = (entry.name for folder in folders for entry in os.scandir(folder))
    return np.fromiter((int(name[:16], 16) for name in names if _PICTURE.fullmatch(name)), np.uint64)


@dataclass(frozen=True)
class PartFiles(Sequence[Path]):
    """Paths from keys when they are asked for."""

    keys: ImageIds
    folders: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, position: int) -> Path: ...
    @overload
    def __getitem__(self, position: slice) -> PartFiles: ...
    def __getitem__(self, position: int | slice) -> Path | PartFiles:
        if isinstance(position, slice):
            return PartFiles(self.keys[position], self.folders)
        part, _, name = self.keys[position].partition("/")
        return Path(self.folders[part].replace("{first}", name[0]), name)


@dataclass(frozen=True)
class Missing(Sequence[SkippedPicture]):
    """Reasons made when they are asked for; a part of which nothing is there counts as one."""

    keys: ImageIds
    empty: tuple[SkippedPicture, ...]

    def __len__(self) -> int:
        return len(self.keys) + len(self.empty)

    @overload
    def __getitem__(self, position: int) -> SkippedPicture: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[SkippedPicture]: ...
    def __getitem__(self, position: int | slice) -> SkippedPicture | Sequence[SkippedPicture]:
        if isinstance(position, slice):
            return [self[one] for one in range(len(self))[position]]
        position = range(len(self))[position]
        if position >= len(self.keys):
            return self.empty[position - len(self.keys)]
        return SkippedPicture(self.keys[position], "missing", "There is no such file.")
