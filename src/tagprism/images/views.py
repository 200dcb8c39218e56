"""Several views of a picture: which parts of it are looked at beside the whole. Knows neither pixels nor networks.

The parts find what is small in the picture or beyond the middle square that a network looks at.
"""

from __future__ import annotations

from typing import TypeAlias

from tagprism.errors import InputError

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) in shares of a picture's width and height."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
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
    return [WHOLE, *parts]
