"""The plain format for everyone, `tagged:DIR`: a folder of pictures and one JSON file of their labels.

`DIR/images/` holds pictures at any depth. `DIR/labels.json` maps a picture's name below `images/` to a list of labels,
or to `{"positive": [...], "negative": [...]}`. `DIR/dataset.json`, optional, is `{"unlisted": "negative" | "unknown"}`:
what a label means that a picture does not list. Pictures that `labels.json` does not name are not part of the data set.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tagprism.datasets.json_file import read_json
from tagprism.datasets.table import FilesBelow, ImageTable, Ragged, SkippedPicture, first_ten
from tagprism.errors import InputError
from tagprism.labels.phrases import normalise_phrase

_FORM = 'Write {"photo.jpg": ["label", ...]} or {"photo.jpg": {"positive": [...], "negative": [...]}}.'


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
    unlisted = _unlisted(folder / "dataset.json")
    where = folder / "labels.json"
    entries = read_json(where, remedy=_FORM)
    if not isinstance(entries, dict) or not entries:
        raise InputError("it must be an object that names at least one picture.", where=str(where), remedy=_FORM)
    read = {_checked_key(key, where): _labels_of(value, f"{where}, '{key}'") for key, value in entries.items()}
    skipped = [reason for key, lists in read.items() if (reason := _reason_to_skip(pictures, key, lists))]
    labels = _label_names(read, where)  # also those of skipped pictures only: a split may name them
    for reason in skipped:
        del read[reason.key]
    if not read:
        names = first_ten(f"{reason.key}: {reason.code}" for reason in skipped)
        remedy = "Names are relative to images/, with forward slashes."
        raise InputError(f"none of the pictures can be used: {names}.", where=str(where), remedy=remedy)
    return _table(pictures, read, labels, unlisted, tuple(skipped))


_Lists = tuple[list[str], list[str]]  # positive, negative


def _unlisted(path: Path) -> Literal["negative", "unknown"]:
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


def _labels_of(value: Any, where: str) -> _Lists:
    if isinstance(value, list):
        return _phrases(value, where), []
    if not isinstance(value, dict) or not value.keys() <= {"positive", "negative"}:
        raise InputError(f"expected a list of labels, found {_shown(value)}.", where=where, remedy=_FORM)
    positive, negative = (_phrases(value.get(side, []), f"{where}, {side}") for side in ("positive", "negative"))
    both = sorted(set(positive) & set(negative))
    if both:
        remedy = "Keep each in one of the two."
        raise InputError(f"labels are both positive and negative: {first_ten(both)}.", where=where, remedy=remedy)
    return positive, negative


def _phrases(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise InputError(f"expected a list of labels, found {_shown(value)}.", where=where, remedy=_FORM)
    for label in value:
        if not isinstance(label, str) or not normalise_phrase(label):
            raise InputError(f"a label must be words, found {_shown(label)}.", where=where, remedy=_FORM)
    return list(dict.fromkeys(value))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _reason_to_skip(pictures: Path, key: str, lists: _Lists) -> SkippedPicture | None:
    if not any(lists):
        return SkippedPicture(key, "no_labels", "No label is listed for this picture.")
    try:
        there, is_file = (pictures / key).exists(), (pictures / key).is_file()
    except OSError as error:
        return SkippedPicture(key, "unreadable", f"The file cannot be looked at ({error.strerror}).")
    if not there:
        return SkippedPicture(key, "missing", "There is no such file in images/.")
    return None if is_file else SkippedPicture(key, "unreadable", "This is not a file.")


def _label_names(read: dict[str, _Lists], where: Path) -> tuple[str, ...]:
    names = sorted({label for lists in read.values() for side in lists for label in side})
    written: dict[str, str] = {}
    for name in names:
        other = written.setdefault(normalise_phrase(name), name)
        if other != name:
            remedy = "Write each label in one way."
            raise InputError(f"'{other}' and '{name}' are the same label.", where=str(where), remedy=remedy)
    return tuple(names)


def _table(
    pictures: Path,
    read: dict[str, _Lists],
    labels: tuple[str, ...],
    unlisted: Literal["negative", "unknown"],
    skipped: tuple[SkippedPicture, ...],
) -> ImageTable:
    column = {name: place for place, name in enumerate(labels)}
    keys = tuple(read)
    return ImageTable(
        kind="tagged",
        files=FilesBelow(pictures, keys),
        keys=keys,
        labels=labels,
        positive=Ragged.from_rows([sorted(column[label] for label in positive) for positive, _ in read.values()]),
        negative=Ragged.from_rows([sorted(column[label] for label in negative) for _, negative in read.values()]),
        unlisted=unlisted,
        skipped=skipped,
    )
