"""Pictures that are versions of one another, by bytes, look and name, so that a split can keep them together.

Errs on the safe side: two pictures in one group cost a little freedom, two versions apart would be a leak.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tagprism.datasets.table import ImageTable
from tagprism.errors import PictureError
from tagprism.files import digest_bytes
from tagprism.images.decode import open_picture, read_bytes
from tagprism.labels.phrases import normalise_phrase
from tagprism.progress import Progress, silent

SIDE = 24
"""Side in pixels of the thumbnail by which pictures are compared."""

LOOK_ALIKE = 0.97
"""Correlation of two thumbnails from which on they are one picture.

Chosen by looking at pairs of drawings near it; among the 4,999 photos of Corel-5k it finds two groups, of 3 and 2.
"""

_ASPECT = 1.1  # look-alikes have the same shape but for this factor
_DRAFT = 4 * SIDE  # a JPEG is decoded at no less, which is several times faster
_ROWS_AT_ONCE = 512  # of the table of all correlations
# 01, _2, -03, 01r; a number of three digits counts drawings of a series (smiley001, smiley002)
_COUNTER = re.compile(r"(?<!\d)[-_. ]*\d{1,2}[lr]?$")
# Also the signature of an author of hundreds of drawings whose full name no file states.
_LOOKS = frozenset(
    {
        *("ganson", "bw", "bwh", "black", "white", "blackwhite", "colour", "color", "coloured", "colored", "outline"),
        *("lineart", "silhouette", "gray", "grey", "red", "green", "blue", "yellow", "orange", "pink", "purple"),
        *("violet", "brown", "gold", "golden", "silver", "cyan", "magenta", "lime", "olive", "seagreen"),
    }
)


def drawing_name(key: str, authors: Iterable[str]) -> str:
    """What is left of a file's name without counter, colour words and (shortened) author at its end.

    Args:
        key: file name, with or without folders.
        authors: names of the drawing's authors.

    Returns:
        For `food/apple_jane_doe_bw_02.png` by Jane Doe: `apple`. Never empty.
    """
    slugs = [normalise_phrase(author).replace(" ", "_") for author in authors]
    name = PurePosixPath(key).stem.lower()
    while True:
        shorter = _COUNTER.sub("", name).rstrip("-_. ")
        shorter = _without_look(_without_author(shorter, slugs))
        if not shorter or shorter == name:
            return name
        name = shorter


def _without_author(name: str, slugs: Sequence[str]) -> str:
    """Cut the longest ending that is the beginning of an author's name: names of files were cut at 24 letters."""
    for position in (found.start() for found in re.finditer("_", name)):
        ending = name[position + 1 :]
        if len(ending) >= 3 and any(slug.startswith(ending) for slug in slugs):
            return name[:position]
    return name


def _without_look(name: str) -> str:
    words = re.split("([-_ .])", name)
    return "".join(words[:-2]) if len(words) > 2 and words[-1] in _LOOKS else name


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "24 24 3"]:
    """The picture squashed to a `SIDE` x `SIDE` square."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)


def look_alikes(thumbnails: UInt8[np.ndarray, "N 24 24 3"], shapes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs of pictures that look the same; takes seconds for ten thousand pictures and minutes for a hundred thousand.

    Args:
        thumbnails: (N, 24, 24, 3) of the pictures.
        shapes: N times (width, height) of the pictures in pixels.

    Returns:
        Pairs (i, j), i < j, of the same shape whose thumbnails correlate above `LOOK_ALIKE`. A blank one (one shade of
        grey, or white) is like none.
    """
    pixels = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    norms = np.sqrt((pixels**2).sum(axis=1, keepdims=True))
    pixels /= np.where(norms > 0, norms, 1)
    aspect = np.log([width / height for width, height in shapes])
    pairs: list[tuple[int, int]] = []
    for begin in range(0, len(pixels), _ROWS_AT_ONCE):
        block = pixels[begin : begin + _ROWS_AT_ONCE]
        rows, others = np.nonzero(block @ pixels[begin:].T > LOOK_ALIKE)
        alike = (rows < others) & (np.abs(aspect[begin + rows] - aspect[begin + others]) < np.log(_ASPECT))
        pairs += zip((begin + rows[alike]).tolist(), (begin + others[alike]).tolist(), strict=True)
    return pairs


def near_duplicates(
    table: ImageTable, names: Sequence[str] | None = None, *, progress: Progress = silent
) -> dict[str, str]:
    """For each picture that can be decoded the group of near-duplicates it belongs to, named by the group's first key.

    Args:
        table: N pictures; all are read and decoded.
        names: N names, equal ones for versions of one picture; None where file names say nothing.
        progress: told of every picture.

    Returns:
        key -> key of the first of its group: same bytes, same look, or same name, directly or through others.
    """
    looks: list[tuple[int, _Look]] = []
    with ThreadPoolExecutor() as pool, progress("looking at pictures", len(table)) as advance:
        for row, look in enumerate(pool.map(_look, table.files)):
            if look is not None:
                looks.append((row, look))
            advance(1)
    if not looks:
        return {}
    same: list[list[str]] = [[look.digest for _, look in looks]]
    if names is not None:
        same.append([names[row] for row, _ in looks])
    pairs = look_alikes(np.stack([look.thumbnail for _, look in looks]), [look.size for _, look in looks])
    keys = [table.keys[row] for row, _ in looks]
    return {key: keys[first] for key, first in zip(keys, group(len(keys), same=same, pairs=pairs), strict=True)}


@dataclass(frozen=True)
class _Look:
    """What near-duplicates are told by; `thumbnail` is (24, 24, 3), `size` (width, height) in pixels."""

    digest: str
    thumbnail: UInt8[np.ndarray, "24 24 3"]
    size: tuple[int, int]


def _look(path: Path) -> _Look | None:
    try:
        data = read_bytes(path)
        image = open_picture(data, draft_size=(_DRAFT, _DRAFT), where=str(path))
    except PictureError:
        return None
    return _Look(digest_bytes(data), thumbnail(image), image.size)


def group(count: int, *, same: Iterable[Sequence[Hashable]], pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Number the groups of things that belong together, directly or through others.

    Args:
        count: N, number of things.
        same: lists of N marks each; equal marks belong together.
        pairs: two positions that belong together.

    Returns:
        N group numbers; a group's number is its first place.
    """
    first = list(range(count))

    def root(position: int) -> int:
        while first[position] != position:
            first[position] = first[first[position]]
            position = first[position]
        return position

    def join(one: int, other: int) -> None:
        low, high = sorted((root(one), root(other)))
        first[high] = low

    for marks in same:
        met: dict[Hashable, int] = {}
        for position, mark in enumerate(marks):
            join(position, met.setdefault(mark, position))
    for one, other in pairs:
        join(one, other)
    return [root(position) for position in range(count)]
