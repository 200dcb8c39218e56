"""Open Images V4, `open-images:DIR`: image-level labels, split 7,186 seen / 400 unseen by identifier.

A label is positive (people said yes), negative (people said no) or, where nobody looked, unknown. What people said both
ways counts as unknown. `machine=0.9` adds the machine's labels of at least that confidence to the training pictures as
positives where people said nothing; without it, as BiAM's instructions have it, only what people said is used.

Names come from the package. 112 names belong to several identifiers; such a label is called `Bat (/m/01h44)`, and word
vectors are looked up without what is in the parentheses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from tagprism.counted import counted
from tagprism.datasets.compact import ImageIds, Ragged
from tagprism.datasets.official_files import find_file, find_files, official_folder
from tagprism.datasets.open_images_labels import ImageLabels, KnownNames
from tagprism.datasets.open_images_pictures import Missing, PartFiles, find_pictures
from tagprism.datasets.protocol import Protocol
from tagprism.datasets.table import ImageTable, SkippedPicture
from tagprism.labels.phrases import normalise_phrase

OPTIONS = {"machine": ("none", *(f"0.{digit}" for digit in range(5, 10)), "1")}
"""What may follow the folder's name; the default is first."""

SAME_LABEL = frozenset(
    {
        ("Rings", "Ring"),
        ("Lamborghini (/m/04mtl)", "Lamborghini (/m/0h5x4j3)"),
        ("Snowshoe (/m/03c_kl)", "Snowshoe (/m/0l_yv)"),
    }
)
"""Pairs (unseen, seen) that are one label by our rules and that the protocol holds on both sides."""

_SOURCE = (
    "The files are listed on the Open Images page (V4, folder 2018_04: train/, validation/, test/); put them into this "
    "folder or such folders in it."
)
_PARTS = ("train", "validation", "test")
_PREFIXES = ("", "oidv6-", "oidv7-")
_FOLDERS = (".", "{part}", "2018_04/{part}", "2018_04", "annotations", "labels")


@cache
def official_labels() -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Seen and unseen labels: (identifier, name), each name once."""
    lists = []
    for file in ("open_images_seen_7186.txt", "open_images_unseen_400.txt"):
        text = (resources.files("tagprism.datasets") / file).read_text(encoding="utf-8")
        lists.append([tuple(line.split("\t")) for line in text.splitlines()])
    times = Counter(normalise_phrase(name) for rows in lists for _, name in rows)
    seen, unseen = (
        tuple((mid, name if times[normalise_phrase(name)] == 1 else f"{name} ({mid})") for mid, name in rows)
        for rows in lists
    )
    return seen, unseen


def label_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the seen and of the unseen labels."""
    seen, unseen = (tuple(name for _, name in side) for side in official_labels())
    return seen, unseen


def open_open_images(folder: Path, options: Mapping[str, str]) -> ImageTable:
    """Read Open Images.

    Args:
        folder: holds the label files and the pictures: `train/`, `validation/`, `test/` (or `train_0/` to `train_f/`),
            itself or in `images/`.
        options: `machine`: least confidence of the machine's labels in training, or `none`.

    Returns:
        Its table: pictures of the label files that are on disk, training first, then validation, then test. Keys are
        such as `train/000060e3121c7305.jpg`. The split is its `protocol`.

    Raises:
        InputError: files are absent, or one is damaged; file and row are named.
    """
    official_folder(folder, "open-images")
    machine = options.get("machine", "none")
    human = {part: f"{part}-annotations-human-imagelabels.csv" for part in _PARTS}
    parts = [part for part in _PARTS if part != "validation" or find_file(folder, _candidates(human[part]))]
    wanted = [human[part] for part in parts]
    if machine != "none":
        wanted.append("train-annotations-machine-imagelabels.csv")
    files = [found[0] for found in find_files(folder, [[[name]] for name in wanted], _candidates, source=_SOURCE)]
    labels = [label for side in official_labels() for label in side]
    names = find_file(folder, _candidates("class-descriptions.csv"))
    known = KnownNames.of([mid for mid, _ in labels], names)
    read = [ImageLabels.read(path, known) for path in files[: len(parts)]]
    if machine != "none":
        read[0] = read[0].with_machine(files[-1], known, float(machine))
    return _table(folder, [_Part.of(folder, part, one) for part, one in zip(parts, read, strict=True)], machine)


def _candidates(name: str) -> list[str]:
    """Where a file may lie; later versions have other beginnings, and validation is short in V7."""
    part = name.partition("-")[0]
    names = dict.fromkeys((name, name.replace("validation-", "val-")))
    folders = [folder.format(part=part) for folder in _FOLDERS]
    return [
        f"{folder}/{start}{one}{end}"
        for folder in folders
        for start in _PREFIXES
        for one in names
        for end in ("", ".gz")
    ]


@dataclass(frozen=True, eq=False)
class _Part:
    """One part of the data set, and what is on disk of it."""

    name: str
    labels: ImageLabels
    folder: str  # pattern of the pictures' folder, with {first} for the first digit of their number
    there: Bool[np.ndarray, " N"]

    @classmethod
    def of(cls, folder: Path, name: str, labels: ImageLabels) -> _Part:
        pattern, numbers = find_pictures(folder, name)
        return cls(name, labels, pattern, np.isin(labels.images, numbers))

    def rows(self, keys: Int64[np.ndarray, " P"]) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of the pictures that are there: row among those, label."""
        kept = keys[self.there[keys >> 16]]
        return np.cumsum(self.there)[kept >> 16] - 1, kept & 0xFFFF


def _table(folder: Path, parts: list[_Part], machine: str) -> ImageTable:
    seen, unseen = label_names()
    split = {part.name: ImageIds([(f"{part.name}/", part.labels.images[part.there])]) for part in parts}
    keys = ImageIds([pair for part in split.values() for pair in part.parts])
    gone = [(f"{part.name}/", part.labels.images[~part.there]) for part in parts if part.there.any()]
    empty = (part for part in parts if not part.there.any())
    source = "labels by people" + (f" and by the machine from {machine} in training" if machine != "none" else "")
    return ImageTable(
        kind="open-images",
        files=PartFiles(keys, {part.name: part.folder for part in parts}),
        keys=keys,
        labels=(*seen, *unseen),
        positive=_ragged(parts, "positive"),
        negative=_ragged(parts, "negative"),
        unlisted="unknown",
        skipped=Missing(
            ImageIds(gone),
            tuple(
                SkippedPicture(
                    f"{part.name}/", "missing", f"None of its {counted(len(part.there), 'picture')} is there."
                )
                for part in empty
            ),
        ),
        protocol=Protocol(
            name=f"Open Images V4 {len(seen)}/{len(unseen)}, {source}",
            seen=seen,
            unseen=unseen,
            train=split["train"],
            val=split.get("validation", ()),
            test=split["test"],
            official={("val" if one.name == "validation" else one.name): len(one.there) for one in parts},
            same_label=SAME_LABEL,
        ),
        notes={"contradicted": sum(part.labels.contradicted for part in parts)},
    )


def _ragged(parts: list[_Part], sign: Literal["positive", "negative"]) -> Ragged:
    """Rows of all parts end to end; pairs are in order, so their labels are the columns."""
    counts, columns = [], []
    for part in parts:
        rows, labels = part.rows(getattr(part.labels, sign))
        counts.append(np.bincount(rows, minlength=int(part.there.sum())))
        columns.append(labels.astype(np.int32))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return Ragged(starts, np.concatenate(columns))
