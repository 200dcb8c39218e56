"""Labels that people and the machine gave to images of Open Images, as pairs of numbers. Knows no files of images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt64

from tagprism.datasets.open_images_csv import KnownLabels, LabelBlock, read_label_file
from tagprism.errors import InputError


@dataclass(frozen=True, eq=False)
class KnownNames:
    """Labels that have a name.

    Args:
        lookup: the protocol's labels first, then others.
        protocol: number of the protocol's labels.
        names: the file that names labels, or None where it is not there.
    """

    lookup: KnownLabels
    protocol: int
    names: Path | None

    @classmethod
    def of(cls, mids: Sequence[str], names: Path | None) -> KnownNames:
        """The protocol's labels, and those that `class-descriptions.csv` names.

        Raises:
            InputError: a row of the file is not an identifier and a name, or an identifier comes twice.
        """
        known = dict.fromkeys([*mids, *(_named(names) if names is not None else ())])
        return cls(KnownLabels(list(known)), len(mids), names)


def _named(path: Path) -> list[str]:
    """Identifiers that `class-descriptions.csv` gives a name."""
    mids: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row, cells in enumerate(csv.reader(file), start=1):
                if cells == ["LabelName", "DisplayName"] and row == 1:
                    continue
                where, remedy = f"{path}, row {row}", "Download it again."
                if len(cells) != 2 or not cells[0].startswith("/") or not cells[1].strip():
                    raise InputError("it is not an identifier and a name.", where=where, remedy=remedy)
                if mids.setdefault(cells[0], row) != row:
                    raise InputError(f"'{cells[0]}' is in row {mids[cells[0]]} too.", where=where, remedy=remedy)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read ({error}).", where=str(path), remedy="Download it again.") from error
    return list(mids)


@dataclass(frozen=True, eq=False)
class ImageLabels:
    """What is known of pairs of image and label; a pair is the image's number in `images` times 2**16 plus the label's.

    Args:
        images: (N,) numbers of all images of the file, ascending.
        positive: (P,) pairs, ascending.
        negative: (Q,) pairs, ascending.
        contradicted: number of pairs that were in both, and are in neither now.
    """

    images: UInt64[np.ndarray, " N"]
    positive: Int64[np.ndarray, " P"]
    negative: Int64[np.ndarray, " Q"]
    contradicted: int

    @classmethod
    def read(cls, path: Path, known: KnownNames) -> ImageLabels:
        """What people said.

        Raises:
            InputError: see `read_label_file`; a label without a name; an answer that is neither yes nor no.
        """
        images, keys, marks = _collected(path, known, least=None)
        positive, negative = _ascending(keys[marks]), _ascending(keys[~marks])
        both = _common(positive, negative)
        if len(both):
            positive, negative = (np.setdiff1d(some, both, assume_unique=True) for some in (positive, negative))
        return cls(images, positive, negative, len(both))

    def with_machine(self, path: Path, known: KnownNames, least: float) -> ImageLabels:
        """The same with the machine's labels of at least a confidence as positives, where people said nothing."""
        more, guessed, _ = _collected(path, known, least=least)
        images = np.union1d(self.images, more)
        guessed = _ascending(_moved(guessed, more, images))
        positive, negative = (_moved(some, self.images, images) for some in (self.positive, self.negative))
        guessed = np.setdiff1d(guessed, negative, assume_unique=True)
        return ImageLabels(images, np.union1d(positive, guessed), negative, self.contradicted)


def _collected(
    path: Path, known: KnownNames, *, least: float | None
) -> tuple[UInt64[np.ndarray, " N"], Int64[np.ndarray, " P"], Bool[np.ndarray, " P"]]:
    """All images of a file, and of each row with a label of the protocol: the pair as in `ImageLabels`, and the answer.

    Of the machine's labels those of at least a confidence are kept. Rows of an image stand together in the official
    files; what is kept of a row is 7 bytes, and 8 of a run of one image.
    """
    runs: list[np.ndarray] = []
    kept: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = ([], [], [])
    count = 0
    for block in read_label_file(path, known.lookup):
        _check_block(block, path, known, people=least is None)
        begins = np.flatnonzero(np.concatenate([[True], block.images[1:] != block.images[:-1]]))
        own = np.repeat(np.arange(len(begins)), np.diff([*begins, len(block.images)])) + count
        runs.append(block.images[begins])
        count += len(begins)
        ours = (block.labels >= 0) & (block.labels < known.protocol)
        ours &= True if least is None else block.confidences >= np.float32(least)
        columns: tuple[np.ndarray, ...] = (own.astype(np.int32), block.labels.astype(np.int16), block.confidences > 0.5)
        for some, values in zip(kept, columns, strict=True):
            some.append(values[ours])
    owner, labels, marks = (np.concatenate(some) for some in kept)
    all_runs = np.concatenate(runs)
    images = _ascending(all_runs)
    number = np.searchsorted(images, all_runs)
    return images, (number[owner] << 16) + labels, marks


def _check_block(block: LabelBlock, path: Path, known: KnownNames, *, people: bool) -> None:
    if known.names is not None and block.unknown is not None:
        row, label = block.unknown
        what = f"the label '{label}' has no name in {known.names.name}."
        raise InputError(what, where=f"{path}, row {row}", remedy="Take both files from one version.")
    odd = (block.confidences != 0) & (block.confidences != 1)
    if people and odd.any():
        what = "the confidence of what people said is neither 0 nor 1."
        where = f"{path}, row {block.first + int(np.argmax(odd))}"
        raise InputError(what, where=where, remedy="Is it the file of the machine's labels?")


def _ascending(keys: Integer[np.ndarray, " all"]) -> Integer[np.ndarray, " P"]:
    """Each once, ascending; `numpy.unique` hashes first, which takes several times as long."""
    keys = np.sort(keys)
    return np.asarray(keys[np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]])


def _common(one: Int64[np.ndarray, " P"], other: Int64[np.ndarray, " Q"]) -> Int64[np.ndarray, " both"]:
    """What two ascending lists have in common."""
    at = np.minimum(np.searchsorted(one, other), len(one) - 1)
    return other[one[at] == other] if len(one) else other[:0]


def _moved(keys: Int64[np.ndarray, " P"], images: np.ndarray, others: np.ndarray) -> Int64[np.ndarray, " P"]:
    """Pairs over a longer list of images."""
    return np.asarray((np.searchsorted(others, images)[keys >> 16] << 16) + (keys & 0xFFFF))
