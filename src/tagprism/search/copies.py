"""Copies of found pictures in a folder, or links to them. Nothing that is there is ever replaced. Knows no queries."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4

from tagprism.errors import PictureError
from tagprism.files import digest_file, machine_errors
from tagprism.rename import place_new


class Copied(NamedTuple):
    """What became of one picture.

    Args:
        source: its file.
        target: where it is now, or why it is nowhere.
        new: whether it was not there already.
    """

    source: Path
    target: Path | PictureError
    new: bool


def copy_or_link(pictures: Iterable[Path], folder: Path, how: Literal["copy", "link"]) -> Iterator[Copied]:
    """Bring pictures into a folder, one after the other, under their names; a name that is taken gets a number.

    Args:
        pictures: absolute paths of files.
        folder: made when absent.
        how: copies keep their time; links are symbolic.

    Yields:
        A row per picture, in order. What the folder holds already (the same bytes, a link to the same file) stays as it
        is, so that an interrupted run can be given again.

    Raises:
        MachineError: the folder cannot be written, or the disk is full.
    """
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for source in pictures:
        try:
            source.open("rb").close()
        except OSError as error:
            reason = f"The file cannot be read ({os.strerror(error.errno or 0)})."
            yield Copied(source, PictureError("unreadable", reason, where=os.fsdecode(source)), new=False)
        else:
            yield Copied(source, *(_copied(source, folder) if how == "copy" else _linked(source, folder)))


def _copied(source: Path, folder: Path) -> tuple[Path, bool]:
    size, digest = source.stat().st_size, ""
    for target in _names(source, folder):
        if target.is_file() and target.stat().st_size == size:
            digest = digest or digest_file(source)
            if digest_file(target) == digest:
                return target, False
        if os.path.lexists(target):
            continue
        part = folder / f".tagprism-{uuid4().hex[:12]}.part"
        try:
            with machine_errors(target):
                shutil.copy2(source, part)
                if place_new(part, target):
                    return target, True
        finally:
            part.unlink(missing_ok=True)
    raise AssertionError("names have no end")


def _linked(source: Path, folder: Path) -> tuple[Path, bool]:
    for target in _names(source, folder):
        with machine_errors(target):
            try:
                target.symlink_to(source)
            except FileExistsError:
                if target.is_symlink() and target.readlink() == source:
                    return target, False
            else:
                return target, True
    raise AssertionError("names have no end")


def _names(source: Path, folder: Path) -> Iterator[Path]:
    yield folder / source.name
    for number in count(2):
        yield folder / f"{source.stem} ({number}){source.suffix}"
