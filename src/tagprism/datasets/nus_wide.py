"""NUS-WIDE, `nus-wide:DIR`: the official distribution with 1000 Flickr tags and 81 concepts, split 925 / 81.

925 seen labels are the 1000 tags minus those among the 81 concepts. The 81 unseen ones have the labels that people gave
or, with `labels=flickr`, the Flickr tags. Each matrix is taken from the first of its forms that is there:

- tags: `Train_Tags1k.dat` and `Test_Tags1k.dat`, else `AllTags1k.txt`;
- labels by people: `AllLabels/`, else `TrainTestLabels/`, one file of which has a flaw;
- Flickr tags of the concepts, in the order of `Concepts81.txt`: `Train_Tags81.txt` and `Test_Tags81.txt`, else
  `AllTags81.txt`.

Those of all pictures are in the order of `Imagelist.txt`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int32, Int64

from tagprism.counted import counted
from tagprism.datasets.compact import FilesBelow, Ragged
from tagprism.datasets.nus_wide_files import read_column, read_lines, read_matrix
from tagprism.datasets.official_files import find_files, official_folder
from tagprism.datasets.protocol import Protocol
from tagprism.datasets.table import ImageTable, SkippedPicture
from tagprism.errors import InputError

OPTIONS = {"labels": ("human", "flickr")}
"""What may follow the folder's name; the default is first."""

_SAME = """animal/animals bear/bears birds/bird boats/boat bridge/bridges buildings/building cars/car cat/cats
clouds/cloud cow/cows dog/dogs flags/flag flowers/flower garden/gardens horses/horse house/houses lake/lakes leaf/leaves
map/maps mountain/mountains plants/plant reflection/reflections rocks/rock sign/signs sports/sport street/streets
toy/toys tree/trees valley/valleys waterfall/waterfalls window/windows"""
SAME_LABEL = frozenset((pair.partition("/")[0], pair.partition("/")[2]) for pair in _SAME.split())
"""31 pairs (unseen concept, seen tag) that are one label by our rules and that the protocol holds on both sides."""

_SOURCE = (
    "They are in NUS-WIDE's archives ImageList.zip, NUS_WID_Tags.zip, Groundtruth.zip and ConceptsList.zip (Lab for "
    "Media Search, National University of Singapore); unpack them into this folder."
)
_FOLDERS = ("ImageList", "NUS_WID_Tags", "Groundtruth", "ConceptsList", ".")
_ROOTS = (".", "NUS-WIDE")
_PICTURES = ("Flickr", "images", "image", "Images")


def open_nus_wide(folder: Path, options: Mapping[str, str]) -> ImageTable:
    """Read NUS-WIDE.

    Args:
        folder: holds the unpacked archives and the pictures: `Flickr/`, `images/` or `image/`, with a folder per
            concept as in the official lists, or all pictures in one.
        options: `labels`: `human` (the default) or `flickr`.

    Returns:
        Its table, official training pictures first, then test pictures; those that are not on disk are `skipped`. Keys
        are the official names with forward slashes. The split is its `protocol`.

    Raises:
        InputError: files are absent, or one is damaged; file and row are named.
    """
    source = _Source.open(official_folder(folder, "nus-wide"), flickr=options.get("labels") == "flickr")
    seen = np.asarray([tag not in set(source.concepts) for tag in source.tags])
    names = tuple(tag for tag, kept in zip(source.tags, seen, strict=True) if kept)
    rows = _joined(source.tag_rows(), seen, source.concept_rows())
    root, paths = _on_disk(folder, source.keys)
    there = [row for row, path in enumerate(paths) if path is not None]
    missing = (key for key, path in zip(source.keys, paths, strict=True) if path is None)
    kept = tuple(source.keys[row] for row in there)
    train = sum(row < source.train for row in there)
    labels = "Flickr tags" if source.flickr else "labels by people"
    return ImageTable(
        kind="nus-wide",
        files=FilesBelow(root, tuple(path for path in paths if path is not None)),
        keys=kept,
        labels=(*names, *source.concepts),
        positive=Ragged.from_rows(rows[row].tolist() for row in there),
        negative=Ragged(np.zeros(len(kept) + 1, np.int64), np.zeros(0, np.int32)),
        unlisted="negative",
        skipped=tuple(SkippedPicture(key, "missing", f"There is no such file in {root.name}/.") for key in missing),
        protocol=Protocol(
            name=f"NUS-WIDE {len(names)}/{len(source.concepts)}, {labels}",
            seen=names,
            unseen=tuple(source.concepts),
            train=kept[:train],
            val=(),
            test=kept[train:],
            official={"train": source.train, "test": len(source.keys) - source.train},
            same_label=SAME_LABEL & {(concept, tag) for concept in source.concepts for tag in names},
        ),
    )


@dataclass(frozen=True)
class _Source:
    """The files, and which picture each row of them is about."""

    keys: list[str]  # official training pictures, then test pictures
    train: int  # how many of them are training pictures
    tags: list[str]
    concepts: list[str]
    tag_files: list[Path]
    concept_files: list[Path]
    flickr: bool

    @classmethod
    def open(cls, folder: Path, *, flickr: bool) -> _Source:
        lists = [[["TrainImagelist.txt"]], [["TestImagelist.txt"]], [["TagList1k.txt"]], [["Concepts81.txt"]]]
        tags = [["Train_Tags1k.dat", "Test_Tags1k.dat"], ["AllTags1k.txt", "Imagelist.txt"]]
        people = [["AllLabels", "Imagelist.txt"], ["TrainTestLabels"]]
        tags81 = [["Train_Tags81.txt", "Test_Tags81.txt"], ["AllTags81.txt", "Imagelist.txt"]]
        wanted = [*lists, tags, tags81 if flickr else people]
        found = find_files(folder, wanted, _candidates, source=_SOURCE)
        train, test = (_image_list(found[position][0]) for position in (0, 1))
        both = sorted(set(train) & set(test))
        if both:
            raise InputError(f"'{both[0]}' is a training picture too.", where=str(found[1][0]), remedy=_SOURCE)
        names, concepts = read_lines(found[2][0]), read_lines(found[3][0])
        return cls([*train, *test], len(train), names, concepts, found[4], found[5], flickr)

    def tag_rows(self) -> list[Int64[np.ndarray, " _"]]:
        """Per picture, which of the tags it has."""
        return self._matrix(self.tag_files, len(self.tags))

    def concept_rows(self) -> list[Int64[np.ndarray, " _"]]:
        """Per picture, which of the concepts it has."""
        if self.flickr:
            return self._matrix(self.concept_files, len(self.concepts))
        folder = self.concept_files[0]
        ends = (".txt",) if len(self.concept_files) == 2 else ("_Train.txt", "_Test.txt")
        forms = [[[f"Labels_{concept}{end}" for end in ends]] for concept in self.concepts]
        files = find_files(folder, forms, lambda name: [name], source=_SOURCE)
        marks = np.zeros((len(self.keys), len(self.concepts)), np.bool_)
        order = self._order(self.concept_files)
        for column, parts in enumerate(files):
            sizes = [len(order)] if len(parts) == 1 else [self.train, len(self.keys) - self.train]
            cells = np.concatenate([read_column(path, size) for path, size in zip(parts, sizes, strict=True)])
            marks[order[order >= 0], column] = cells[order >= 0]
        return [np.flatnonzero(row) for row in marks]

    def _matrix(self, files: list[Path], columns: int) -> list[Int64[np.ndarray, " _"]]:
        """Rows of a matrix in two files, or of one over all pictures with the list of them."""
        order = self._order(files)
        whole = files[1].name.lower() == "imagelist.txt"
        sizes = [len(order)] if whole else [self.train, len(self.keys) - self.train]
        rows: list[Int64[np.ndarray, " _"]] = [np.zeros(0, np.int64)] * len(self.keys)
        read = (row for path, size in zip(files, sizes, strict=False) for row in read_matrix(path, size, columns))
        for position, row in zip(order.tolist(), read, strict=True):
            if position >= 0:
                rows[position] = row
        return rows

    def _order(self, files: Sequence[Path]) -> Int64[np.ndarray, " rows"]:
        """For each row of files, which picture it is; -1 for one that is in no part."""
        if files[-1].name.lower() != "imagelist.txt":
            return np.arange(len(self.keys))
        position = {key: row for row, key in enumerate(self.keys)}
        listed = _image_list(files[-1])
        order = np.asarray([position.get(key, -1) for key in listed])
        lacking = sorted(position.keys() - set(listed))
        if lacking:
            what = f"lacks {counted(len(lacking), 'picture')} of the training and test lists, such as '{lacking[0]}'."
            raise InputError(what, where=str(files[-1]), remedy=_SOURCE)
        return order


def _candidates(name: str) -> list[str]:
    """Where a file may lie. Copies that circulate write `ImageList` for `Imagelist`, and `.txt` for `.dat`."""
    names = dict.fromkeys((name, name.replace("magelist", "mageList"), name.replace(".dat", ".txt")))
    return [f"{root}/{folder}/{one}" for folder in _FOLDERS for root in _ROOTS for one in names]


def _image_list(path: Path) -> list[str]:
    """Names with forward slashes; the official lists have backslashes."""
    return [line.replace("\\", "/") for line in read_lines(path)]


def _joined(
    tags: list[Int64[np.ndarray, " _"]], seen: Bool[np.ndarray, " T"], concepts: list[Int64[np.ndarray, " _"]]
) -> list[Int32[np.ndarray, " _"]]:
    """Per picture, the positions of its labels: seen tags first, then concepts."""
    column = np.where(seen, np.cumsum(seen) - 1, -1)
    count = int(seen.sum())
    return [
        np.concatenate([column[own][seen[own]], count + named]).astype(np.int32)
        for own, named in zip(tags, concepts, strict=True)
    ]


def _on_disk(folder: Path, keys: Sequence[str]) -> tuple[Path, list[str | None]]:
    """The folder of the pictures, and each picture's path below it, or None where it is not there."""
    root = next((folder / name for name in _PICTURES if (folder / name).is_dir()), None)
    if root is None:
        remedy = "Put the pictures into Flickr/ (a folder per concept) or images/."
        raise InputError(f"none of the folders {', '.join(_PICTURES)} is there.", where=str(folder), remedy=remedy)
    there = set(_files_below(root))
    paths = (next((path for path in (key, key.rpartition("/")[2]) if path in there), None) for key in keys)
    return root, list(paths)


def _files_below(root: Path) -> Iterator[str]:
    """Names of files in a folder and in its folders: one look at each folder, not at each of 269,648 files."""
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir():
                with os.scandir(entry.path) as inner:
                    yield from (f"{entry.name}/{one.name}" for one in inner)
            else:
                yield entry.name
