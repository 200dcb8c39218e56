"""Several views of a picture: the whole of it and parts of it, each prepared for a network as a picture of its own.

The parts find what is small in the picture or beyond the middle square that a network looks at. Knows no networks.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32
from PIL import Image

from tagprism.errors import InputError
from tagprism.images.colour import Colour
from tagprism.images.preprocess import Preprocess

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) in shares of a picture's width and height."""

_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_CENTRE: Box = (0.2, 0.2, 0.8, 0.8)
# Parts overlap, so that what lies on the line between two of them is whole in one.
_QUARTERS: tuple[Box, ...] = (
    *((0.0, 0.0, 0.6, 0.6), (0.4, 0.0, 1.0, 0.6)),
    *((0.0, 0.4, 0.6, 1.0), (0.4, 0.4, 1.0, 1.0)),
)
_NINTHS: tuple[Box, ...] = (
    *((0.0, 0.0, 0.4, 0.4), (0.3, 0.0, 0.7, 0.4), (0.6, 0.0, 1.0, 0.4)),
    *((0.0, 0.3, 0.4, 0.7), (0.3, 0.3, 0.7, 0.7), (0.6, 0.3, 1.0, 0.7)),
    *((0.0, 0.6, 0.4, 1.0), (0.3, 0.6, 0.7, 1.0), (0.6, 0.6, 1.0, 1.0)),
)
_ENDS: tuple[Box, ...] = ((0.0, 0.0, 0.6, 1.0), (0.4, 0.0, 1.0, 1.0))  # of the longer side
_PARTS: dict[int, tuple[Box, ...]] = {
    1: (),
    2: (_CENTRE,),
    3: _ENDS,
    5: _QUARTERS,
    6: (_CENTRE, *_QUARTERS),
    10: _NINTHS,
    15: (_CENTRE, *_QUARTERS, *_NINTHS),
}
VIEWS = tuple(_PARTS)
"""Numbers of views that there are: the whole picture, and with it the middle (2), the two ends of the longer side (3),
halves both ways (5), these and the middle (6), thirds both ways (10), or all of these but the ends (15)."""


def check_views(views: int) -> int:
    """The number itself.

    Raises:
        InputError: there is no such set of views.
    """
    if views not in _PARTS:
        numbers = ", ".join(map(str, VIEWS))
        what = f"there are no {views} views of a picture, but {numbers}."
        raise InputError(what, where="--views", remedy="Docs: `docs/foreign_models.md` says what each of them is.")
    return views


def view_boxes(views: int, width: int, height: int) -> list[Box]:
    """Which parts of a picture its views are, the whole one first.

    Args:
        views: one of `VIEWS`.
        width: of the picture.
        height: of the picture.
    """
    parts = _PARTS[check_views(views)]
    if parts == _ENDS and height > width:
        parts = tuple((top, left, bottom, right) for left, top, right, bottom in parts)
    return [_WHOLE, *parts]


class ViewedPreprocess:
    """Prepares all views of a picture, where `Preprocess` prepares the picture; their channels follow one another.

    Args:
        each: what is done to each view.
        views: V, one of `VIEWS`.
    """

    def __init__(self, each: Preprocess, views: int) -> None:
        self.each, self.views = each, check_views(views)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3 V, H, W) of what `apply` gives."""
        channels, height, width = self.each.shape
        return self.views * channels, height, width

    @property
    def colour(self) -> Colour:
        """As `Preprocess.colour`."""
        return self.each.colour

    @property
    def draft_size(self) -> tuple[int, int]:
        """As `Preprocess.draft_size`, for the smallest of the views."""
        narrowest = min(right - left for left, _, right, _ in view_boxes(self.views, 1, 1))
        width, height = self.each.draft_size
        return math.ceil(width / narrowest), math.ceil(height / narrowest)

    def apply(self, image: Image.Image) -> Float32[np.ndarray, "C H W"]:
        """(3 V, H, W) of a picture of mode RGB and any size."""
        pixels = np.empty(self.shape, np.float32)
        self.apply_into(image, pixels)
        return pixels

    def apply_into(self, image: Image.Image, pixels: Float32[np.ndarray, "C H W"]) -> None:
        """As `apply`, into memory that is there."""
        for number, box in enumerate(view_boxes(self.views, *image.size)):
            self.each.apply_into(cut(image, box), pixels[3 * number : 3 * number + 3])

    def frame(self, image: Image.Image) -> Box:
        """Where the views lie over a picture: they cover it."""
        return _WHOLE


def cut(image: Image.Image, box: Box) -> Image.Image:
    """A part of a picture, to whole pixels and at least one."""
    if box == _WHOLE:
        return image
    left, top = (min(int(share * side), side - 1) for share, side in zip(box[:2], image.size, strict=True))
    right, bottom = (
        max(math.ceil(share * side), low + 1) for share, side, low in zip(box[2:], image.size, (left, top), strict=True)
    )
    return image.crop((left, top, min(right, image.width), min(bottom, image.height)))
