"""Pictures that are versions of one drawing, by name, bytes and look, so that a split can keep them together.

Errs on the safe side: two drawings in one group cost a little freedom, two versions apart would be a leak.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tagprism.labels.phrases import normalise_phrase

SIDE = 24
"""Side in pixels of the thumbnail by which pictures are compared."""

LOOK_ALIKE = 0.97
"""Correlation of two thumbnails from which on they are one drawing (chosen by looking at pairs near it)."""

_ASPECT = 1.1  # look-alikes have the same shape but for this factor
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
    for place in (found.start() for found in re.finditer("_", name)):
        ending = name[place + 1 :]
        if len(ending) >= 3 and any(slug.startswith(ending) for slug in slugs):
            return name[:place]
    return name


def _without_look(name: str) -> str:
    words = re.split("([-_ .])", name)
    return "".join(words[:-2]) if len(words) > 2 and words[-1] in _LOOKS else name


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "24 24 3"]:
    """The picture squashed to a `SIDE` x `SIDE` square."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)


def look_alikes(thumbnails: UInt8[np.ndarray, "N 24 24 3"], shapes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs of pictures that look the same.

    Args:
        thumbnails: (N, 24, 24, 3) of the pictures.
        shapes: N times (width, height) of the pictures in pixels.

    Returns:
        Pairs (i, j), i < j, of the same shape whose thumbnails correlate above `LOOK_ALIKE`. A blank one (one shade of
        grey, or white) is like none.
    """
    pixels = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)
    norms = np.sqrt((pixels**2).sum(axis=1, keepdims=True))
    units = np.divide(pixels, norms, out=np.zeros_like(pixels), where=norms > 0)
    aspect = np.log([width / height for width, height in shapes])
    pairs: list[tuple[int, int]] = []
    for row in range(len(units)):
        alike = units[row + 1 :] @ units[row] > LOOK_ALIKE
        alike &= np.abs(aspect[row + 1 :] - aspect[row]) < np.log(_ASPECT)
        pairs.extend((row, row + 1 + int(other)) for other in np.flatnonzero(alike))
    return pairs


def group(count: int, *, same: Iterable[Sequence[Hashable]], pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Number the groups of things that belong together, directly or through others.

    Args:
        count: N, number of things.
        same: lists of N marks each; equal marks belong together.
        pairs: two places that belong together.

    Returns:
        N group numbers; a group's number is its first place.
    """
    first = list(range(count))

    def root(place: int) -> int:
        while first[place] != place:
            first[place] = first[first[place]]
            place = first[place]
        return place

    def join(one: int, other: int) -> None:
        low, high = sorted((root(one), root(other)))
        first[high] = low

    for marks in same:
        met: dict[Hashable, int] = {}
        for place, mark in enumerate(marks):
            join(place, met.setdefault(mark, place))
    for one, other in pairs:
        join(one, other)
    return [root(place) for place in range(count)]
