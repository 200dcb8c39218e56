"""Pictures as they are named on a command line: files, folders, patterns, lists. Opens no picture."""

# ruff: noqa: PTH112, PTH207
# Paths are strings here, as in `walk`.

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence

from tagprism.errors import InputError, NothingToDoError
from tagprism.images.formats import say_not_read
from tagprism.images.walk import WalkReport, each_picture, is_picture_name


def expand_pattern(path: str) -> list[str]:
    """What a pattern stands for that no shell has expanded.

    Args:
        path: a path; one that is not there and has `*`, `?` or `[` in it is a pattern (`**`: folders at any depth).

    Returns:
        What fits the pattern, in byte order; where `**` is in it, only what has a picture's name. The path itself when
        it is no pattern or fits nothing.
    """
    if not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    found = sorted(glob.iglob(path, recursive=True), key=os.fsencode)
    if "**" in path:  # it finds folders and everything in them
        found = [name for name in found if is_picture_name(name) and not os.path.isdir(name)]
    return found or [path]


def why_none(report: WalkReport) -> str | None:
    """What there is instead of pictures: what was left out, and what is of kinds that are not read."""
    left_out = f"Left out: {report}." if str(report) else None
    return " ".join(filter(None, (left_out, say_not_read(report.not_read)))) or None


def refuse_absent(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse what was named where none of it is there; listed paths are left to whoever reads them.

    Raises:
        InputError: none is there.
    """
    names = [os.fspath(path) for path in paths]
    if names and "-" not in names and not any(map(os.path.lexists, named_paths(names))):
        raise InputError("is not there.", where=", ".join(names), remedy="Name files or folders that are there.")


class PictureList:
    """The pictures that were asked for; every pass over it looks for them again, so that none is held in memory.

    Args:
        paths: files, folders, patterns, and `-` for the listed ones.
        listed: paths that are taken as they are: `[1].jpg` is a name there and no pattern.
        null: whether these are separated by zero bytes instead of line ends.
        exclude: as for `each_picture`.

    Attributes:
        count: how many pictures there are.
        report: what is left out of them.

    Raises:
        InputError: none of the paths is there; one beside others is a picture that cannot be used.
        NothingToDoError: there are none.
    """

    def __init__(
        self, paths: Sequence[str], listed: bytes = b"", *, null: bool = False, exclude: Sequence[str] = ()
    ) -> None:
        self._paths, self._listed, self._null, self._exclude = paths, listed, null, exclude
        refuse_absent(paths)
        self.report = WalkReport()
        self.count = sum(1 for _ in each_picture(self.named(), exclude=exclude, report=self.report))
        if not self.count:
            raise NothingToDoError("there are no pictures.", where=", ".join(paths), remedy=why_none(self.report))

    def __iter__(self) -> Iterator[str]:
        return each_picture(self.named(), exclude=self._exclude)

    def named(self) -> Iterator[str]:
        """Files and folders as they were given, patterns expanded."""
        return named_paths(self._paths, self._listed, null=self._null)


def named_paths(paths: Sequence[str], listed: bytes = b"", *, null: bool = False) -> Iterator[str]:
    """Files and folders as they were given, patterns expanded; arguments as for `PictureList`."""
    for path in paths:
        yield from _each_listed(listed, b"\0" if null else b"\n") if path == "-" else expand_pattern(path)


def _each_listed(listed: bytes, separator: bytes) -> Iterator[str]:
    start = 0
    while start < len(listed):  # not split at once: a million strings take several times the list
        end = listed.find(separator, start)
        end = end if end >= 0 else len(listed)
        line = listed[start:end]
        if path := line if separator == b"\0" else line.removesuffix(b"\r"):
            yield os.fsdecode(path)
        start = end + 1
