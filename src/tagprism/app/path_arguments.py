"""Paths of the command line: files, folders, patterns and lists on stdin. Opens no picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from tagprism.errors import NothingToDoError
from tagprism.images.walk import each_picture, expand_pattern


class Inputs:
    """The pictures that a command was given; every pass over it looks for them again, so that none is held in memory.

    Args:
        paths: files, folders, patterns, and `-` for the paths listed on stdin, which is read at once.
        null: whether that list is separated by zero bytes instead of line ends.

    Attributes:
        count: how many pictures there are.

    Raises:
        NothingToDoError: there are none.
    """

    def __init__(self, paths: list[str], *, null: bool = False) -> None:
        self._paths, self._null = paths, null
        self._listed = sys.stdin.buffer.read() if "-" in paths else b""
        self.count = sum(1 for _ in self)
        if not self.count:
            raise NothingToDoError("there are no pictures.", where=", ".join(paths))

    def __iter__(self) -> Iterator[str]:
        return each_picture(self.named())

    def named(self) -> Iterator[str]:
        """Files and folders as they were given, patterns expanded."""
        for path in self._paths:
            if path == "-":
                yield from self._from_list()
            else:
                yield from expand_pattern(path)

    def _from_list(self) -> Iterator[str]:
        """Paths on stdin, taken as they are: `[1].jpg` is a name there and no pattern."""
        separator, start = b"\0" if self._null else b"\n", 0
        while start < len(self._listed):  # not split at once: a million strings take several times the list
            end = self._listed.find(separator, start)
            end = end if end >= 0 else len(self._listed)
            line = self._listed[start:end]
            if path := line if self._null else line.removesuffix(b"\r"):
                yield os.fsdecode(path)
            start = end + 1
