"""COCO, `coco:DIR`: the official annotations of 2014 or 2017, split 48 seen / 17 unseen categories.

A picture has a label when an object of it is annotated, crowds included. Objects are small (area below 32 x 32), medium
(below 96 x 96) or large, as in the authors' loader, which takes the maximum over the three: all count. `areas=` chooses
bands; an object of another band then counts as absent.

Training pictures are the official training pictures without any unseen object. The test is

- `test=published`: the usual list of 2,729 pictures of val2014, found by number, also in the training file of 2017;
- `test=val`: all official validation pictures. Scored with the image set `labelled`, ZSL is over those with an unseen
  object, GZSL over those with any of the 65.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from tagprism.counted import counted
from tagprism.datasets.coco_file import CocoFile, read_coco
from tagprism.datasets.compact import FilesBelow, Ragged
from tagprism.datasets.official_files import find_files, official_folder
from tagprism.datasets.protocol import Protocol
from tagprism.datasets.table import ImageTable, SkippedPicture
from tagprism.errors import InputError

BANDS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""Areas of objects in square pixels, from the first number to below the second."""

OPTIONS = {
    "year": ("2014", "2017"),
    "test": ("published", "val"),
    "areas": ("small+medium+large", "small", "medium", "large", "small+medium", "medium+large", "small+large"),
}
"""What may follow the folder's name; the default is first (of the years: 2014, or 2017 where that alone is there)."""

_SEEN = """
person, bicycle, car, motorcycle, train, truck, boat, bench, bird, horse, sheep, bear, zebra, giraffe, backpack,
handbag, suitcase, frisbee, skis, kite, surfboard, bottle, fork, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, pizza, donut, chair, bed, toilet, tv, laptop, mouse, remote, microwave, oven, toaster, refrigerator,
book, clock, vase, toothbrush
"""
_UNSEEN = """airplane, bus, cat, dog, cow, elephant, umbrella, tie, snowboard, skateboard, cup, knife, cake, couch,
keyboard, sink, scissors"""
SEEN, UNSEEN = (tuple(name.strip() for name in names.split(",")) for names in (_SEEN, _UNSEEN))
"""48 and 17 categories (Bansal et al., Zero-Shot Object Detection, ECCV 2018); 15 are in neither."""

_SOURCE = (
    "They are in COCO's annotations_trainval2014.zip or annotations_trainval2017.zip (cocodataset.org); unpack it into "
    "this folder."
)


def open_coco(folder: Path, options: Mapping[str, str]) -> ImageTable:
    """Read COCO.

    Args:
        folder: holds `annotations/` and the pictures, `train2014/` and `val2014/` or those of 2017, itself or in
            `images/`.
        options: see `OPTIONS`.

    Returns:
        Its table: pictures with at least one annotated object, training pictures first; those that are not on disk are
        `skipped`. Keys are such as `val2014/COCO_val2014_000000000042.jpg`. The split is its `protocol`.

    Raises:
        InputError: files are absent, or one is damaged; file and entry are named.
    """
    official_folder(folder, "coco")
    year, test = options.get("year"), options.get("test", "published")
    years = [year] if year else ["2014", "2017"]
    forms = [[f"instances_{part}{one}.json" for part in ("train", "val")] for one in years]
    found = find_files(folder, [forms], lambda name: [f"annotations/{name}", name], source=_SOURCE)[0]
    bands = [BANDS[name] for name in options.get("areas", "small+medium+large").split("+")]
    names = [path.stem.removeprefix("instances_") for path in found]
    roots = (root for root in (folder, folder / "images") if any((root / name).is_dir() for name in names))
    root = next(roots, folder)
    parts = [_read_part(root, name, path, bands) for name, path in zip(names, found, strict=True)]
    if parts[0].file.categories != parts[1].file.categories:
        raise InputError(f"its categories differ from those of {found[0].name}.", where=str(found[1]), remedy=_SOURCE)
    return _table(root, parts, parts[0].file.categories, test)


@dataclass(frozen=True)
class _Part:
    """One annotation file and what is on disk of it."""

    name: str  # val2014
    file: CocoFile
    marks: Bool[np.ndarray, "N C"]
    there: Bool[np.ndarray, " N"]

    @property
    def keys(self) -> list[str]:
        return [f"{self.name}/{file}" for file in self.file.files]


def _read_part(root: Path, name: str, path: Path, bands: list[tuple[float, float]]) -> _Part:
    file = read_coco(path)
    strangers = [label for label in (*SEEN, *UNSEEN) if label not in file.categories]
    if strangers:
        raise InputError(f"it has no category '{strangers[0]}'.", where=str(path), remedy=_SOURCE)
    area = file.areas[:, None]
    chosen = ((area >= [low for low, _ in bands]) & (area < [high for _, high in bands])).any(axis=1)
    marks = np.zeros((len(file.ids), len(file.categories)), np.bool_)
    marks[file.rows[chosen], file.columns[chosen]] = True
    there = {one.name for one in (root / name).iterdir()} if (root / name).is_dir() else set()
    return _Part(name, file, marks, np.asarray([one in there for one in file.files], dtype=np.bool_))


def _table(root: Path, parts: list[_Part], categories: tuple[str, ...], test: str) -> ImageTable:
    keys = [key for part in parts for key in part.keys]
    marks, there = (np.concatenate([getattr(part, name) for part in parts]) for name in ("marks", "there"))
    is_test, official = _test_pictures(parts, test)
    column = {name: position for position, name in enumerate(categories)}
    seen, unseen = (marks[:, [column[name] for name in names]].any(axis=1) for names in (SEEN, UNSEEN))
    in_training_file = np.arange(len(keys)) < len(parts[0].file.ids)
    is_train = in_training_file & seen & ~unseen & ~is_test
    kept = [key for key, its in zip(keys, there, strict=True) if its]

    def chosen(which: Bool[np.ndarray, " N"]) -> tuple[str, ...]:
        return tuple(keys[row] for row in np.flatnonzero(which & there))

    remarks = _compared_with_published(parts, marks, column)
    return ImageTable(
        kind="coco",
        files=FilesBelow(root, tuple(kept)),
        keys=tuple(kept),
        labels=categories,
        positive=Ragged.from_rows(np.flatnonzero(row).tolist() for row in marks[there]),
        negative=Ragged(np.zeros(len(kept) + 1, np.int64), np.zeros(0, np.int32)),
        unlisted="negative",
        skipped=_missing(parts),
        protocol=Protocol(
            name=f"COCO {len(SEEN)}/{len(UNSEEN)}, {parts[1].name[3:]} annotations, test={test}",
            seen=SEEN,
            unseen=UNSEEN,
            train=chosen(is_train),
            val=(),
            test=chosen(is_test),
            official={"train": int(is_train.sum()), "test": official},
            remarks=remarks,
        ),
        notes={"published_test_list": remarks[0]},
    )


def _missing(parts: list[_Part]) -> tuple[SkippedPicture, ...]:
    """What is not on disk; a part of which nothing is there counts as one."""
    skipped: list[SkippedPicture] = []
    for part in parts:
        if not part.there.any():
            what = f"None of its {counted(len(part.there), 'picture')} is there."
            skipped.append(SkippedPicture(f"{part.name}/", "missing", what))
            continue
        gone = (key for key, its in zip(part.keys, part.there, strict=True) if not its)
        skipped += [SkippedPicture(key, "missing", "There is no such file.") for key in gone]
    return tuple(skipped)


@cache
def published_test() -> dict[int, tuple[str, ...]]:
    """The usual zero-shot test list: number of a picture of val2014 -> its labels among the 17."""
    text = (resources.files("tagprism.datasets") / "coco_test_2729.txt").read_text(encoding="utf-8")
    rows = (line.partition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {int(number): tuple(labels.split(",")) for number, _, labels in rows}


def _test_pictures(parts: list[_Part], test: str) -> tuple[Bool[np.ndarray, " N"], int]:
    """Which of all pictures test, and how many the list has."""
    if test == "val":
        counts = [len(part.file.ids) for part in parts]
        return np.repeat([False, True], counts), counts[1]
    listed = published_test()
    return np.asarray([number in listed for part in parts for number in part.file.ids], dtype=np.bool_), len(listed)


def _compared_with_published(
    parts: list[_Part], marks: Bool[np.ndarray, "N C"], column: Mapping[str, int]
) -> tuple[str, ...]:
    """Whether the annotations say what the published list says, and which simple rules do not make it."""
    listed = published_test()
    numbers = [number for part in parts for number in part.file.ids]
    unseen = marks[:, [column[name] for name in UNSEEN]]
    found = [row for row, number in enumerate(numbers) if number in listed]
    same = sum(
        {name for name, its in zip(UNSEEN, unseen[row], strict=True) if its} == set(listed[numbers[row]])
        for row in found
    )
    first = len(parts[0].file.ids)
    any_unseen = unseen[first:].any(axis=1)
    any_other = np.delete(marks[first:], [column[name] for name in UNSEEN], axis=1).any(axis=1)
    return (
        f"{len(found)} of the {len(listed)} pictures of the published test list are annotated, {same} of them with the "
        f"labels that it gives",
        f"{int(any_unseen.sum())} pictures of {parts[1].name} have an unseen object, "
        f"{int((any_unseen & ~any_other).sum())} of them no other",
    )
