"""The plain format for everyone, `tagged:DIR`: pictures, and their labels in one JSON file or from Python.

`DIR/images/` holds pictures at any depth. `DIR/labels.json` maps a picture's name below `images/` to a list of labels,
or to `{"positive": [...], "negative": [...]}`. `DIR/dataset.json`, optional, is `{"unlisted": "negative" | "unknown"}`:
what a label means that a picture does not list. Pictures that `labels.json` does not name are not part of the data set.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from tagprism.datasets.compact import FilesBelow, Ragged
from tagprism.datasets.table import ImageTable, SkippedPicture, Unlisted, first_ten
from tagprism.errors import InputError
from tagprism.files import read_json
from tagprism.labels.phrases import normalise_phrase

_FORM = 'Write {"photo.jpg": ["label", ...]} or {"photo.jpg": {"positive": [...], "negative": [...]}}.'
_PYTHON = 'Write [("photo.jpg", ["label", ...]), ...] or [("photo.jpg", [positives], [negatives]), ...].'


def open_tagged(folder: Path) -> ImageTable:
    """Read a folder in the format `tagged:DIR`.

    Args:
        folder: holds `images/`, `labels.json` and perhaps `dataset.json`.

    Returns:
        Its table, pictures in the order of `labels.json`, labels sorted. A picture that is not there, or for which no
        label at all is listed, is among `skipped`.

    Raises:
        InputError: for anything else that is wrong, naming the file and the entry.
    """
    if not folder.is_dir():
        remedy = "Name a folder that holds images/ and labels.json, as tagged:DIR."
        raise InputError("there is no such folder.", where=str(folder), remedy=remedy)
    pictures = folder / "images"
    if not pictures.is_dir():
        raise InputError("there is no folder images/.", where=str(folder), remedy="Put the pictures there.")
    unlisted = read_unlisted(folder / "dataset.json")
    where = folder / "labels.json"
    entries = read_json(where, remedy=_FORM)
    if not isinstance(entries, dict) or not entries:
        raise InputError("it must be an object that names at least one picture.", where=str(where), remedy=_FORM)
    lists = {_checked_key(key, where): _labels_of(value, f"{where}, '{key}'") for key, value in entries.items()}
    return _table("tagged", pictures, lists, unlisted, where=str(where))


def table_of_lists(pictures: Any, folder: Path, unlisted: Unlisted) -> ImageTable:
    """Make the table of pictures that Python names; see `ImageTable.from_labels`."""
    if isinstance(pictures, str | os.PathLike):
        remedy = f'{_PYTHON} A folder with labels.json is opened by open_data("tagged:DIR", "FILE").'
        raise InputError(f"expected files and their labels, found {_shown(pictures)}.", where="pictures", remedy=remedy)
    lists: dict[str, _Lists] = {}
    paths: dict[str, str] = {}
    for number, entry in enumerate(pictures.items() if isinstance(pictures, Mapping) else pictures):
        where = f"pictures[{number}]"
        if isinstance(entry, str) or not isinstance(entry, Sequence) or len(entry) not in (2, 3):
            raise InputError(f"expected a file and its labels, found {_shown(entry)}.", where=where, remedy=_PYTHON)
        file, *sides = entry
        if not isinstance(file, str | os.PathLike):
            raise InputError(f"a file must be a path, found {_shown(file)}.", where=where, remedy=_PYTHON)
        key = Path(os.fsdecode(file)).as_posix()
        first = paths.setdefault(os.path.abspath(folder / key), key)  # noqa: PTH100 (follows no link)
        if key in lists or first != key:
            also = f", also as '{first}'" if first != key else ""
            raise InputError(f"'{key}' is named twice{also}.", where=where, remedy="Keep one of them.")
        if len(sides) == 1 and isinstance(sides[0], Mapping):  # as in labels.json
            value = {side: _as_list(labels) for side, labels in sides[0].items()}
        else:
            value = dict(zip(("positive", "negative"), map(_as_list, sides), strict=False))
        lists[key] = _labels_of(value, f"{where}, '{key}'", _PYTHON)
    if not lists:
        raise InputError("there is no picture.", where="pictures", remedy=_PYTHON)
    return _table("list", folder, lists, unlisted, where="pictures")


def _as_list(labels: Any) -> Any:
    """Any collection of labels as a list; what is none is refused by `_phrases`."""
    return list(labels) if isinstance(labels, Iterable) and not isinstance(labels, str | bytes) else labels


_Lists = tuple[list[str], list[str]]  # positive, negative


def read_unlisted(path: Path) -> Unlisted:
    """What `dataset.json` says of a label that a picture does not list; `negative` where there is no such file."""
    remedy = 'Write {"unlisted": "negative"} or {"unlisted": "unknown"}.'
    if not path.exists():
        return "negative"
    value = read_json(path, remedy=remedy)
    if value == {"unlisted": "negative"}:
        return "negative"
    if value == {"unlisted": "unknown"}:
        return "unknown"
    raise InputError("it must say what an unlisted label means, and nothing else.", where=str(path), remedy=remedy)


def _checked_key(key: str, where: Path) -> str:
    """Refuse names that leave `images/` or that could be written in two ways."""
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts:
        remedy = "Names are relative to images/ and stay in it."
        raise InputError(f"the name '{key}' leads out of images/.", where=str(where), remedy=remedy)
    if str(path) != key or key == ".":
        raise InputError(f"'{key}' is not a plain file name.", where=str(where), remedy=f"Write it as '{path}'.")
    return key


def _labels_of(value: Any, where: str, form: str = _FORM) -> _Lists:
    if isinstance(value, list):
        return _phrases(value, where, form), []
    if not isinstance(value, dict) or not value.keys() <= {"positive", "negative"}:
        raise InputError(f"expected a list of labels, found {_shown(value)}.", where=where, remedy=form)
    positive, negative = (_phrases(value.get(side, []), f"{where}, {side}", form) for side in ("positive", "negative"))
    both = sorted(set(positive) & set(negative))
    if both:
        remedy = "Keep each in one of the two."
        raise InputError(f"labels are both positive and negative: {first_ten(both)}.", where=where, remedy=remedy)
    return positive, negative


def _phrases(value: Any, where: str, form: str) -> list[str]:
    if not isinstance(value, list):
        raise InputError(f"expected a list of labels, found {_shown(value)}.", where=where, remedy=form)
    return list(dict.fromkeys(checked_label(label, where, form) for label in value))


def checked_label(label: Any, where: str, form: str) -> str:
    """A label with its accents of one piece; what is no words is refused."""
    if not isinstance(label, str) or not normalise_phrase(label):
        raise InputError(f"a label must be words, found {_shown(label)}.", where=where, remedy=form)
    return unicodedata.normalize("NFC", label)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _on_disk(folder: Path, key: str) -> str:
    """A picture's name as the disk has it: with accents of one piece or of two, whichever way `key` is written."""
    if key.isascii() or os.path.lexists(folder / key):
        return key
    at = folder
    for part in PurePosixPath(key).parts:
        at /= (
            part if os.path.lexists(at / part) else _by_composed_name(at).get(unicodedata.normalize("NFC", part), part)
        )
    return at.relative_to(folder).as_posix()


@lru_cache(maxsize=64)
def _by_composed_name(folder: Path) -> dict[str, str]:
    try:
        return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}  # noqa: PTH208 (names)
    except OSError:
        return {}


def _reason_to_skip(folder: Path, key: str, name: str, lists: _Lists) -> SkippedPicture | None:
    if not any(lists):
        return SkippedPicture(key, "no_labels", "No label is listed for this picture.")
    try:
        there, is_file = (folder / name).exists(), (folder / name).is_file()
    except OSError as error:
        return SkippedPicture(key, "unreadable", f"The file cannot be looked at ({error.strerror}).")
    if not there:
        return SkippedPicture(key, "missing", f"There is no such file{f' in {folder.name}/' if folder.name else ''}.")
    return None if is_file else SkippedPicture(key, "unreadable", "This is not a file.")


def _label_names(lists: dict[str, _Lists], where: str) -> tuple[str, ...]:
    return label_names(sorted({label for sides in lists.values() for side in sides for label in side}), where)


def label_names(names: list[str], where: str) -> tuple[str, ...]:
    """The names as they are, unless two are spellings of one label.

    Raises:
        InputError: two are.
    """
    written: dict[str, str] = {}
    for name in names:
        other = written.setdefault(normalise_phrase(name), name)
        if other != name:
            remedy = "Write each label in one way."
            raise InputError(f"'{other}' and '{name}' are the same label.", where=where, remedy=remedy)
    return tuple(names)


def _table(kind: str, folder: Path, lists: dict[str, _Lists], unlisted: Unlisted, *, where: str) -> ImageTable:
    _by_composed_name.cache_clear()
    names = {key: _on_disk(folder, key) for key in lists}
    skipped = [reason for key, sides in lists.items() if (reason := _reason_to_skip(folder, key, names[key], sides))]
    labels = _label_names(lists, where)  # also those of skipped pictures only: a split may name them
    unusable = {reason.key for reason in skipped}
    kept = {key: sides for key, sides in lists.items() if key not in unusable}
    if not kept:
        missing = first_ten(f"{reason.key}: {reason.code}" for reason in skipped)
        base = "images/" if kind == "tagged" else f"the folder {folder.absolute()}"
        remedy = f"Names are relative to {base}, with forward slashes."
        raise InputError(f"none of the pictures can be used: {missing}.", where=where, remedy=remedy)
    column = {name: number for number, name in enumerate(labels)}
    positive, negative = (
        Ragged.from_rows(sorted(column[label] for label in sides[side]) for sides in kept.values()) for side in (0, 1)
    )
    keys = tuple(kept)
    files = FilesBelow(folder, tuple(names[key] for key in keys))
    return ImageTable(
        kind,
        files,
        keys,
        labels,
        positive,
        negative,
        unlisted,
        tuple(skipped),
    )
