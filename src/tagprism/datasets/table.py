"""What every data set becomes: pictures with positive, negative and unknown labels. Opens no picture.

Labels are kept as ragged rows, never as a dense pictures x labels array: Open Images has 9 million x 7,600.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Int8, Int64, Integer

from tagprism.datasets.compact import ImageIds, PackedNames, Ragged
from tagprism.datasets.protocol import Protocol
from tagprism.errors import InputError
from tagprism.images.picture_file import PictureFile
from tagprism.labels.phrases import listed

_File: TypeAlias = str | os.PathLike[str]
_Labels: TypeAlias = Iterable[str]
Unlisted: TypeAlias = Literal["negative", "unknown"]
_NAMES_AT_ONCE = 100_000  # joined for the digest


def first_ten(names: Iterable[str]) -> str:
    """Names for a message: the first ten in quotes, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
    return ", ".join(f"'{name}'" for name in listed[:10]) + more


@dataclass(frozen=True)
class SkippedPicture:
    """A picture the data set names that cannot be used.

    Args:
        key: its name in the data set.
        code: short stable word: `missing`, `unreadable`, `no_labels`.
        message: the sentence for people.
    """

    key: str
    code: str
    message: str


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Pictures and what is known of their labels; `ImageTable.from_labels` makes one of your own.

    Args:
        kind: the data set's kind, as in `tagged:DIR`.
        files: N paths, or pictures in shards.
        keys: N unique names of the pictures, as split files use them (relative, forward slashes).
        labels: L unique label names.
        positive: per picture, the numbers in `labels` of those it has.
        negative: per picture, the numbers of those it surely has not.
        unlisted: what a label in neither list means: absent (`negative`) or not looked for (`unknown`).
        skipped: pictures that the data set names and that cannot be used.
        protocol: the published division that comes with the data set.
        notes: what else there is to know of it, for people and for JSON.

    Raises:
        InputError: the parts do not fit each other, or a picture or label is named twice.

    Example:
        >>> import tagprism
        >>> pictures = [("coffee.jpg", ["cup"]), ("chelsea.jpg", ["cat"])]
        >>> table = tagprism.ImageTable.from_labels(pictures, folder="tests/photos")
        >>> len(table), table.labels
        (2, ('cat', 'cup'))
        >>> table.targets(table.rows_of(["chelsea.jpg"]), ["cat", "cup"])  # 1 has it, 0 has it not, -1 unknown
        array([[1, 0]], dtype=int8)
    """

    kind: str
    files: Sequence[PictureFile]
    keys: Sequence[str]
    labels: tuple[str, ...]
    positive: Ragged
    negative: Ragged
    unlisted: Unlisted
    skipped: Sequence[SkippedPicture] = ()
    protocol: Protocol | None = None
    notes: Mapping[str, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a table whose parts do not fit each other."""
        sizes = {len(self.files), len(self.keys), len(self.positive), len(self.negative)}
        if len(sizes) != 1:
            raise InputError(f"files, keys, positive and negative differ in length: {sorted(sizes)}.", where=self.kind)
        if self.unlisted not in get_args(Unlisted):
            raise InputError(f"unlisted must be 'negative' or 'unknown', not {self.unlisted!r:.60}.", where=self.kind)
        for name, names in (("pictures", self.keys), ("labels", self.labels)):
            if not isinstance(names, ImageIds | PackedNames) and len(set(names)) != len(names):
                twice = [one for one, times in Counter(names).items() if times > 1]
                raise InputError(f"{name} are named twice: {first_ten(twice)}.", where=self.kind)
        for columns in (self.positive.columns, self.negative.columns):
            if len(columns) and not 0 <= columns.min() <= columns.max() < len(self.labels):
                raise InputError(f"a label column is outside 0..{len(self.labels) - 1}.", where=self.kind)

    @classmethod
    def from_labels(
        cls,
        pictures: Mapping[str, _Labels | Mapping[str, _Labels]]
        | Iterable[tuple[_File, _Labels] | tuple[_File, _Labels, _Labels]],
        *,
        unlisted: Unlisted = "negative",
        folder: _File = ".",
    ) -> ImageTable:
        """A table of your own pictures.

        Args:
            pictures: for each its file and its labels, and, where it is known, the labels that it surely has not; or
                what a `labels.json` holds, file -> labels.
            unlisted: what a label in neither list means: absent (`negative`) or not looked for (`unknown`).
            folder: what the files are relative to; a picture's key is its file as given, with forward slashes.

        Returns:
            Its table, pictures in the given order, labels sorted. A picture that is not there, or for which no label at
            all is listed, is among `skipped`.

        Raises:
            InputError: a file is named twice, labels are no list of words or on both sides, or no picture can be used.

        Example:
            >>> from tagprism import ImageTable
            >>> pictures = [("coffee.jpg", ["cup"]), ("chelsea.jpg", ["cat"], ["cup"]), ("lost.jpg", ["cup"])]
            >>> table = ImageTable.from_labels(pictures, unlisted="unknown", folder="tests/photos")
            >>> table.targets([0, 1], ["cat", "cup"]).tolist()
            [[-1, 1], [1, 0]]
            >>> [(picture.key, picture.code) for picture in table.skipped]
            [('lost.jpg', 'missing')]
        """
        from tagprism.datasets.tagged import table_of_lists

        return table_of_lists(pictures, Path(folder), unlisted)

    def __repr__(self) -> str:
        """One line: its numbers, not its contents."""
        return f"ImageTable({self.kind!r}, {len(self)} pictures, {len(self.labels)} labels)"

    def __len__(self) -> int:
        """Number of pictures N."""
        return len(self.keys)

    @cached_property
    def row(self) -> Callable[[str], int | None]:
        """The row of a picture by its key, None for one that is not in the table."""
        if isinstance(self.keys, ImageIds | PackedNames):
            return self.keys.row
        return {key: row for row, key in enumerate(self.keys)}.get

    @cached_property
    def _column(self) -> dict[str, int]:
        return {label: column for column, label in enumerate(self.labels)}

    def rows_of(self, keys: Sequence[str]) -> Int64[np.ndarray, " R"]:
        """Rows of pictures by key.

        Raises:
            InputError: for keys that are not in the table, naming ten.
        """
        keys = keys if isinstance(keys, ImageIds | PackedNames) else listed(keys, "keys")
        rows = [self.row(key) for key in keys]
        unknown = [key for key, row in zip(keys, rows, strict=True) if row is None]
        if unknown:
            raise InputError(f"no such pictures: {first_ten(unknown)}.", where=self.kind)
        return np.asarray(rows, dtype=np.int64)

    def columns_of(self, labels: Sequence[str]) -> Int64[np.ndarray, " C"]:
        """Numbers in `labels` of labels by name.

        Raises:
            InputError: for labels that are not in the table, naming ten.
        """
        labels = listed(labels, "labels")
        unknown = [label for label in labels if label not in self._column]
        if unknown:
            raise InputError(f"no such labels: {first_ten(unknown)}.", where=self.kind)
        return np.asarray([self._column[label] for label in labels], dtype=np.int64)

    def targets(
        self, rows: Sequence[int] | Integer[np.ndarray, " R"], labels: Sequence[str]
    ) -> Int8[np.ndarray, "R C"]:
        """What is known of some labels in some pictures.

        Args:
            rows: R rows of the table, any order.
            labels: C label names, each once.

        Returns:
            (R, C) int8: 1 has it, 0 has it not, -1 unknown.

        Raises:
            InputError: for an unknown label or one asked twice.
        """
        return Targets(self, rows, labels)[:]

    def label_counts(
        self, keys: Sequence[str] | None = None, labels: Sequence[str] | None = None
    ) -> Int64[np.ndarray, " C"]:
        """Number of pictures that have each label, (C,).

        Args:
            keys: pictures to count; all of them when absent.
            labels: C labels; all L when absent.

        Raises:
            InputError: a picture or label that is not in the table.
        """
        columns = self.positive.columns if keys is None else self.positive.gather(self.rows_of(keys))[1]
        counts = np.bincount(columns, minlength=len(self.labels)).astype(np.int64)
        return counts if labels is None else counts[self.columns_of(labels)]

    def info(self) -> dict[str, int | float | str]:
        """Counts that describe the data set, ready for JSON."""
        per_picture = np.diff(self.positive.starts)
        per_label = self.label_counts()
        return {
            "kind": self.kind,
            "pictures": len(self),
            "labels": len(self.labels),
            "positives": len(self.positive.columns),
            "negatives": len(self.negative.columns),
            "unlisted": self.unlisted,
            "positives_per_picture": float(per_picture.mean()) if len(self) else 0.0,
            "pictures_without_positive": int((per_picture == 0).sum()),
            "labels_without_positive": int((per_label == 0).sum()),
            "smallest_label": int(per_label.min(initial=len(self))),
            "largest_label": int(per_label.max(initial=0)),
            "skipped": len(self.skipped),
            **self.notes,
            "digest": self.digest,
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over keys, labels and targets (not over the pictures' bytes), 64 hex digits."""
        digest = hashlib.sha256(f"table 1\0{self.unlisted}\0{len(self)}\0{len(self.labels)}".encode())
        for names in (self.keys, self.labels):
            for begin in range(0, len(names), _NAMES_AT_ONCE):
                text = "\0".join(names[begin : begin + _NAMES_AT_ONCE])
                digest.update(("\0" * (begin > 0) + text).encode("utf-8", "surrogatepass"))
        for ragged in (self.positive, self.negative):
            digest.update(ragged.starts.astype("<i8").tobytes())
            digest.update(ragged.columns.astype("<i4").tobytes())
        return digest.hexdigest()


class Targets:
    """Targets of some pictures over some labels, made for those asked: 9 million x 7,186 at once would be 65 GB.

    Args:
        table: the data set.
        rows: n rows of it, any order.
        labels: C label names, each once.

    Raises:
        InputError: for an unknown label or one asked twice.
    """

    def __init__(
        self, table: ImageTable, rows: Sequence[int] | Integer[np.ndarray, " n"], labels: Sequence[str]
    ) -> None:
        columns = table.columns_of(labels)
        if len(set(labels)) != len(labels):
            raise InputError("a label is asked for twice.", where=table.kind)
        self._table, self._rows, self._count = table, np.asarray(rows, dtype=np.int64), len(columns)
        self._labels = tuple(labels)
        self._asked = np.full(len(table.labels), -1, dtype=np.int64)
        self._asked[columns] = np.arange(len(columns))

    def __len__(self) -> int:
        """Number of pictures n."""
        return len(self._rows)

    def __getitem__(self, positions: slice | Integer[np.ndarray, " R"]) -> Int8[np.ndarray, "R C"]:
        """(R, C) int8 of some of the n pictures: 1 has it, 0 has it not, -1 unknown."""
        table, wanted = self._table, self._rows[positions]
        found = np.full((len(wanted), self._count), 0 if table.unlisted == "negative" else -1, dtype=np.int8)
        for ragged, value in ((table.negative, 0), (table.positive, 1)):
            owners, values = ragged.gather(wanted)
            column = self._asked[values]
            found[owners[column >= 0], column[column >= 0]] = value
        return found

    def over(self, columns: Sequence[int] | Integer[np.ndarray, " K"]) -> Targets:
        """Targets of the same pictures over some of the labels, in the order asked."""
        return Targets(self._table, self._rows, [self._labels[column] for column in columns])

    def holds(self, value: int) -> bool:
        """Whether any target has this value; stops at the first thousands of pictures that have it."""
        return any((self[begin : begin + 4096] == value).any() for begin in range(0, len(self), 4096))
