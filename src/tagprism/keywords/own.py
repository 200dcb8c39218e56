"""The keywords that people gave a photo, wherever they stand: in the file and in its sidecars. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from tagprism.errors import PictureError
from tagprism.images.metadata import read_embedded_keywords
from tagprism.images.metadata_beside import names_beside
from tagprism.keywords.merge import Keywords
from tagprism.keywords.sidecar import Naming, named, read_keywords, sidecar_path
from tagprism.keywords.xml_tree import XmlError
from tagprism.keywords.xmp_lists import XmpLists


def own_keywords(photo: Path) -> tuple[str, ...]:
    """Keywords that people gave a photo, also all levels of hierarchical ones; those that tagprism found are left out.

    Args:
        photo: a picture file.

    Returns:
        Those of its sidecars, then those inside it, each once. What is damaged holds none.

    Raises:
        PictureError: the photo cannot be read.
    """
    packet, iptc = read_embedded_keywords(photo)
    inside = Keywords()
    if packet:
        try:
            inside = Keywords.of(XmpLists(packet))
        except XmlError:
            inside = Keywords()  # no program reads keywords from it either
    sources = [*_sidecars(photo), inside]
    ours = {word for source in sources for word in source.still_ours}
    words = [word for source in sources for word in source.yours]
    return tuple(dict.fromkeys(word.strip() for word in (*words, *iptc) if word.strip() and word not in ours))


def keywords_stamp(photo: Path) -> str:
    """What tells whether a photo's keywords, or what is said of it beside it, may have changed: sizes and times."""
    files = [_size_and_time(path) for path in (photo, *_sidecar_paths(photo))]
    return ";".join([*files, *filter(None, map(_size_and_time, names_beside(str(photo))))])


def keywords_stamps(photos: Iterable[str]) -> Iterator[str]:
    """The stamp of each of many photos.

    All that may lie beside a photo ends in `.xmp` or `.json`. Where a folder holds nothing of that kind, the dozen
    looks at the disk for each of its photos, nine tenths of the time, are spared.
    """
    alone = {"": False}
    for photo in photos:
        folder = os.path.dirname(photo)  # noqa: PTH120 (texts)
        if folder not in alone:
            alone[folder] = _holds_pictures_alone(folder)
        none = ";" * len(get_args(Naming))
        yield _size_and_time(photo) + none if alone[folder] else keywords_stamp(Path(photo))


def _holds_pictures_alone(folder: str) -> bool:
    try:
        names = os.listdir(folder)  # noqa: PTH208 (texts)
    except OSError:
        return False
    return not any(name.lower().endswith((".xmp", ".json")) for name in names)


def _size_and_time(path: str | Path) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 (texts)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size},{status.st_mtime_ns}"


def _sidecar_paths(photo: Path) -> Iterator[Path]:
    for naming in get_args(Naming):
        if not os.path.lexists(path := named(photo, naming)):
            yield path  # whether another picture would share it takes 150 looks at the disk to say
            continue
        try:
            yield sidecar_path(photo, naming)
        except PictureError:  # it would be another picture's too
            continue


def _sidecars(photo: Path) -> Iterator[Keywords]:
    for naming in get_args(Naming):
        if not os.path.lexists(named(photo, naming)):
            continue
        try:
            yield read_keywords(photo, naming)
        except PictureError:  # damaged, or another picture's too
            continue
