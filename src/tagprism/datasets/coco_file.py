"""One `instances_*.json` of COCO, read entry by entry so that its polygons are never all in memory. Knows no splits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from tagprism.errors import InputError

_SPACE = (" ", "\n", "\t", "\r")
_AGAIN = "Download and unpack its archive again."


@dataclass(frozen=True, eq=False)
class CocoFile:
    """What image-level labels need of the file.

    Args:
        ids: N numbers of the images with an annotated object, in the file's order of images.
        files: N file names.
        categories: names, in the file's order.
        rows: (A,) which of the N images each object is in.
        columns: (A,) which category it has.
        areas: (A,) in square pixels.
    """

    ids: tuple[int, ...]
    files: tuple[str, ...]
    categories: tuple[str, ...]
    rows: Int64[np.ndarray, " A"]
    columns: Int64[np.ndarray, " A"]
    areas: Float64[np.ndarray, " A"]


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file.

    Raises:
        InputError: it is not such a file or is cut off, an annotation names an image or category that is not in it, an
            image comes twice, a field is absent or of a wrong type; the file and the entry are named.
    """
    images: dict[int, str] = {}
    categories: dict[int, str] = {}
    objects: list[tuple[int, int, float]] = []
    met = set()
    for section, number, entry in _entries(path):
        where = f"{path}, {section}[{number}]"
        if section == "images":
            _add(images, _field(entry, "id", int, where), _field(entry, "file_name", str, where), where)
        elif section == "categories":
            _add(categories, _field(entry, "id", int, where), _field(entry, "name", str, where), where)
        elif section == "annotations":
            image, category = (_field(entry, name, int, where) for name in ("image_id", "category_id"))
            objects.append((image, category, float(_field(entry, "area", (int, float), where))))
        met.add(section)
    for section in ("images", "annotations", "categories"):
        if section not in met:
            raise InputError(f"it has no '{section}'.", where=str(path), remedy=_AGAIN)
    return _checked(path, images, categories, objects)


def _checked(
    path: Path, images: dict[int, str], categories: dict[int, str], objects: list[tuple[int, int, float]]
) -> CocoFile:
    for number, (image, category, _) in enumerate(objects):
        if image not in images or category not in categories:
            what = f"image {image}" if image not in images else f"category {category}"
            where = f"{path}, annotations[{number}]"
            raise InputError(f"it is about {what}, which is not in the file.", where=where, remedy=_AGAIN)
    for names, kind in ((images, "images"), (categories, "categories")):
        if len(set(names.values())) != len(names):
            raise InputError(f"two {kind} have one name.", where=str(path), remedy=_AGAIN)
    annotated = {image for image, _, _ in objects}
    ids = tuple(image for image in images if image in annotated)
    row, column = ({one: position for position, one in enumerate(some)} for some in (ids, categories))
    return CocoFile(
        ids,
        tuple(images[image] for image in ids),
        tuple(categories.values()),
        np.asarray([row[image] for image, _, _ in objects], dtype=np.int64),
        np.asarray([column[category] for _, category, _ in objects], dtype=np.int64),
        np.asarray([area for _, _, area in objects], dtype=np.float64),
    )


def _add(known: dict[int, str], number: int, name: str, where: str) -> None:
    if number in known:
        raise InputError(f"the number {number} comes twice.", where=where, remedy=_AGAIN)
    known[number] = name


def _field(entry: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"its '{name}' is {value!r:.40}.", where=where, remedy=_AGAIN)
    return value


def _entries(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Entries of all lists of the outermost object, one at a time: (list, position, entry)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}).", where=str(path), remedy=_AGAIN) from error
    except UnicodeDecodeError as error:
        raise InputError("is not text.", where=str(path), remedy=_AGAIN) from error
    decode = json.JSONDecoder().raw_decode
    reached = "its start"
    try:
        at, mark = _mark(text, 0, "{")
        while mark != "}":
            name, at = decode(text, at)
            reached = f"'{name}'"
            at, _ = _mark(text, at, ":")
            if text[at] != "[":
                _, at = decode(text, at)
            else:
                at, number = _after_space(text, at + 1), 0
                at, mark = (at + 1, "]") if text[at] == "]" else (at, ",")
                while mark == ",":
                    reached = f"{name}[{number}]"
                    entry, at = decode(text, at)
                    yield name, number, entry
                    at, mark = _mark(text, at, ",]")
                    number += 1
            at, mark = _mark(text, at, ",}")
    except (json.JSONDecodeError, IndexError, RecursionError) as error:
        raise InputError(f"it is cut off or damaged at {reached}.", where=str(path), remedy=_AGAIN) from error


def _mark(text: str, at: int, allowed: str) -> tuple[int, str]:
    """Pass white space, one of some marks, and white space; the new position and the mark."""
    at = _after_space(text, at)
    if text[at] not in allowed:
        raise IndexError
    return _after_space(text, at + 1), text[at]


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACE:
        at += 1
    return at
