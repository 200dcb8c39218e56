"""Files and folders -> the picture files in them, in a stable order. Opens no picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image

from tagprism.images.decode import picture_formats


def find_pictures(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the picture files among files and in folders, each real file once.

    A file that is named is taken whatever its extension, also when it is missing: decoding it says what is wrong.
    Folders are read recursively, entries in byte order of their names; hidden entries (`.thumbnails`, `._photo.jpg`)
    are left out, symbolic links are followed, and a folder already visited is not entered again. A folder that cannot
    be listed comes back itself, so that it is reported like a picture that cannot be read.

    Args:
        paths: files and folders, in the order wanted.

    Returns:
        Paths as reached (not resolved), without those that lead to a file already listed.
    """
    found: list[Path] = []
    seen_files: set[str] = set()
    seen_folders: set[str] = set()
    for start in map(Path, paths):
        for path in _below(start, seen_folders) if start.is_dir() else [start]:
            real = os.path.realpath(path)
            if real not in seen_files:
                seen_files.add(real)
                found.append(path)
    return found


def _below(folder: Path, seen_folders: set[str]) -> Iterator[Path]:
    """Pictures of a folder and its folders; a stack instead of recursion, as trees can be deep."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if not path.is_dir():
            if path.suffix.lower() in picture_extensions():
                yield path
            continue
        real = os.path.realpath(path)
        if real in seen_folders:
            continue
        seen_folders.add(real)
        try:
            names = [name for name in os.listdir(path) if not name.startswith(".")]  # noqa: PTH208 (names, not paths)
        except OSError:
            yield path
            continue
        waiting.extend(path / name for name in sorted(names, key=os.fsencode, reverse=True))


@lru_cache(maxsize=1)
def picture_extensions() -> frozenset[str]:
    """Lower-case file name endings, with the dot, that are taken for pictures in a folder."""
    formats = {*picture_formats(), "MPO"}
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats)
