"""Files, folders and patterns -> the picture files in them, in a stable order. Opens no picture."""

# ruff: noqa: PTH112, PTH114, PTH118, PTH122, PTH207
# Paths are strings here: a million `Path`s take a gigabyte, and joining them more time than listing the folders.

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

from tagprism.errors import NothingToDoError
from tagprism.images.formats import RAW_ENDINGS, not_read, picture_extensions, say_not_read

_BESIDE_RAW = frozenset({".jpg", ".jpeg", ".heic", ".heif", ".hif"})
"""Endings of the picture that a camera or telephone saves together with a raw file or a film, under the same name."""

PassedOver: TypeAlias = Callable[[str, str], None]
"""Told of (path, kind) of every file in a folder that is a picture or a film of a kind that is not read."""


def find_pictures(paths: Iterable[str | os.PathLike[str]], passed: PassedOver | None = None) -> list[Path]:
    """List the picture files that `each_picture` finds."""
    return [Path(path) for path in each_picture(paths, passed)]


def each_picture(paths: Iterable[str | os.PathLike[str]], passed: PassedOver | None = None) -> Iterator[str]:
    """Find the picture files among files and in folders, each real file once.

    A file that is named is taken whatever its extension, also when it is missing: decoding it says what is wrong.
    Folders are read recursively, entries in byte order of their names; hidden entries (`.thumbnails`, `._photo.jpg`)
    are left out, symbolic links are followed, and a folder already visited is not entered again. A folder that cannot
    be listed comes back itself, so that it is reported like a picture that cannot be read.

    A raw file beside a JPEG or HEIC of the same name is the same picture and does not come a second time, and the short
    film that a telephone saves beside a photo is no film of its own.

    Memory grows with the number of folders, links and named files, and with the names in the folders that lead to
    where the walk is; not with the number of pictures.

    Args:
        paths: files and folders, in the order wanted; fetched one by one.
        passed: told of what is not read.

    Yields:
        Paths as reached (not resolved), without those that lead to a file that came before, or that a folder already
        entered gives.
    """
    walk = _Walk(passed)
    for path in paths:
        yield from walk.below(os.fspath(path))


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
        found = [name for name in found if _is_picture_name(name) and not os.path.isdir(name)]
    return found or [path]


class PictureList:
    """The pictures that were asked for; every pass over it looks for them again, so that none is held in memory.

    Args:
        paths: files, folders, patterns, and `-` for the listed ones.
        listed: paths that are taken as they are: `[1].jpg` is a name there and no pattern.
        null: whether these are separated by zero bytes instead of line ends.

    Attributes:
        count: how many pictures there are.
        not_read: kind -> how many files in the folders are of a kind that is not read.

    Raises:
        NothingToDoError: there are none.
    """

    def __init__(self, paths: Sequence[str], listed: bytes = b"", *, null: bool = False) -> None:
        self._paths, self._listed, self._null = paths, listed, null
        self.not_read: Counter[str] = Counter()
        self.count = sum(1 for _ in each_picture(self.named(), lambda path, kind: self.not_read.update([kind])))
        if not self.count:
            raise NothingToDoError("there are no pictures.", where=", ".join(paths), remedy=say_not_read(self.not_read))

    def __iter__(self) -> Iterator[str]:
        return each_picture(self.named())

    def named(self) -> Iterator[str]:
        """Files and folders as they were given, patterns expanded."""
        for path in self._paths:
            yield from self._each_listed() if path == "-" else expand_pattern(path)

    def _each_listed(self) -> Iterator[str]:
        separator, start = b"\0" if self._null else b"\n", 0
        while start < len(self._listed):  # not split at once: a million strings take several times the list
            end = self._listed.find(separator, start)
            end = end if end >= 0 else len(self._listed)
            line = self._listed[start:end]
            if path := line if self._null else line.removesuffix(b"\r"):
                yield os.fsdecode(path)
            start = end + 1


@dataclass
class _Folder:
    """A folder under way.

    Args:
        path: as reached.
        real: resolved.
        names: entries left to do, the next one last.
        special: those that are folders (True) or links (False).
    """

    path: str
    real: str
    names: list[str]
    special: dict[str, bool]


class _Walk:
    """What was met so far: folders entered, and files that no entered folder accounts for."""

    def __init__(self, passed: PassedOver | None) -> None:
        self._passed = passed
        self._folders: set[bytes] = set()
        self._files: set[bytes] = set()

    def below(self, start: str) -> Iterator[str]:
        """A named file, or the pictures of a folder and its folders."""
        if not os.path.isdir(start):
            if self._is_new(start):
                yield start
            return
        waiting: list[_Folder] = []  # a stack instead of recursion, as trees can be deep
        yield from self._enter(start, waiting)
        while waiting:
            folder = waiting[-1]
            if not folder.names:
                waiting.pop()
                continue
            name = folder.names.pop()
            path = os.path.join(folder.path, name)
            if name not in folder.special:
                if _key(os.path.join(folder.real, name)) not in self._files:
                    yield path
            elif folder.special[name] or os.path.isdir(path):
                yield from self._enter(path, waiting)
            elif _is_picture_name(name) and self._is_new(path):
                yield path

    def _enter(self, path: str, waiting: list[_Folder]) -> Iterator[str]:
        real = os.path.realpath(path)
        key = _key(real)
        if key in self._folders or key in self._files:
            return
        names: list[str] = []
        special: dict[str, bool] = {}
        others: list[str] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if is_folder or entry.is_symlink():
                        special[entry.name] = is_folder
                    elif not _is_picture_name(entry.name):
                        others.append(entry.name)
                        continue
                    names.append(entry.name)
        except OSError:
            self._files.add(key)
            yield path
            return
        self._folders.add(key)
        names = self._without_pairs(path, names, others)
        names.sort(key=os.fsencode, reverse=True)
        waiting.append(_Folder(path, real, names, special))

    def _without_pairs(self, folder: str, names: list[str], others: list[str]) -> list[str]:
        """Names without the raw files that belong to a photo; what is not read and belongs to none is told."""
        photos = {stem for stem, ending in map(_parts, names) if ending in _BESIDE_RAW}
        for name in others if self._passed is not None else ():
            kind = not_read(name)
            if self._passed and kind and not (kind in ("camera raw", "video") and _parts(name)[0] in photos):
                self._passed(os.path.join(folder, name), kind)
        return [name for name in names if not (_parts(name)[1] in RAW_ENDINGS and _parts(name)[0] in photos)]

    def _is_new(self, path: str) -> bool:
        """Whether a link or a named file leads to a file that did not come yet and that no entered folder gives."""
        real = os.path.realpath(path)
        key = _key(real)
        folder, name = os.path.split(real)
        given = not name.startswith(".") and _is_picture_name(name) and _key(folder) in self._folders
        if key in self._files or (given and os.path.lexists(real) and not os.path.islink(real)):
            return False
        self._files.add(key)
        return True


def _key(path: str) -> bytes:
    return blake2b(os.fsencode(path), digest_size=16).digest()  # half the memory of the path


def _parts(name: str) -> tuple[str, str]:
    """A file's name as cameras pair it, and its ending."""
    stem, ending = os.path.splitext(name)
    return stem.casefold(), ending.lower()


def _is_picture_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in picture_extensions()
