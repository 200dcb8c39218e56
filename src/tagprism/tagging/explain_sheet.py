"""Draw an explanation: the picture, and beside it each tag's places as a heat map. Knows no files and no model."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageColor, ImageDraw, ImageFont

from tagprism.tagging.explain import Explanation, TagExplanation

MOST_TAGS = 11  # with the picture itself three rows of four
PANEL, GAP, CAPTION, COLUMNS = 300, 20, 104, 4  # pixels; the longer side of a panel's picture
# Okabe and Ito's vermilion and blue: told apart by people with any kind of colour blindness, and in a grey print by
# the numbers beside them.
FOR, AGAINST, NOWHERE = "#D55E00", "#0072B2", "#777777"
INK, PALE, PAPER = "#222222", "#B8B8B8", "#FFFFFF"
_Point: TypeAlias = tuple[int | float, int | float]
_MOST_VECTORS = 8  # more get bars, but no numbers
_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")


def draw_sheet(explanation: Explanation) -> Image.Image:
    """One picture with a panel for itself and for each of its first tags.

    The colours of all panels have one scale, so that they can be compared: full colour is the largest contribution
    of a place among the tags shown.

    Args:
        explanation: at least one tag; those after the first `MOST_TAGS` are left out.

    Returns:
        Mode RGB, about 300 pixels a panel.
    """
    tags = explanation.tags[:MOST_TAGS]
    thumbnail = explanation.picture.copy()
    thumbnail.thumbnail((PANEL, PANEL), Image.Resampling.LANCZOS)
    columns = min(COLUMNS, _ceil_root(len(tags) + 1))
    width, height = PANEL + GAP, thumbnail.height + CAPTION + GAP
    rows = -(-(len(tags) + 1) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    _paste_framed(sheet, thumbnail, GAP, GAP)
    _draw_legend(sheet, GAP, GAP + thumbnail.height, os.fsdecode(explanation.path.name))
    scale = max(float(np.abs(tag.places).max()) for tag in tags) or 1.0
    lowest, highest = (f([v for tag in tags for v in (*tag.vectors, 0.0)]) for f in (min, max))
    for number, tag in enumerate(tags, start=1):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        _paste_framed(sheet, overlay(thumbnail, tag.places, explanation.frame, scale), left, top)
        if tag.view is not None:
            x0, y0, x1, y1 = (share * side for share, side in zip(tag.view, 2 * thumbnail.size, strict=True))
            ImageDraw.Draw(sheet).rectangle((left + x0, top + y0, left + x1 - 1, top + y1 - 1), outline=INK, width=2)
        _draw_caption(sheet, left, top + thumbnail.height, tag, lowest, highest)
    return sheet


def _ceil_root(number: int) -> int:
    return next(root for root in range(1, number + 1) if root * root >= number)


def overlay(
    picture: Image.Image, places: Float32[np.ndarray, "h w"], frame: tuple[float, float, float, float], scale: float
) -> Image.Image:
    """Lay a grid of contributions over a grey version of a picture.

    Args:
        picture: mode RGB.
        places: (h, w) contributions.
        frame: where the grid lies over the picture, as in `Explanation`.
        scale: the contribution that gets full colour.

    Returns:
        The picture in grey, orange where a place speaks for the label, blue where against it; what the network did not
        look at is pale.
    """
    values, seen = spread(places, frame, picture.size)
    strength = np.clip(np.abs(values) / scale, 0, 1)[..., None] ** 0.7 * 0.85  # (H, W, 1): weak ones stay visible
    grey = np.asarray(picture.convert("L"), np.float32)[..., None] * 0.72 + 64  # light, so that colours stay clear
    grey = np.where(seen[..., None], grey, grey * 0.3 + 255 * 0.7)
    colours = np.array([ImageColor.getrgb(FOR), ImageColor.getrgb(AGAINST)], np.float32)
    mixed = grey * (1 - strength) + colours[(values < 0).astype(int)] * strength
    return Image.fromarray(np.round(mixed).clip(0, 255).astype(np.uint8))


def spread(
    places: Float32[np.ndarray, "h w"], frame: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "H W"], np.ndarray]:
    """A grid of contributions as a smooth map in the pixels of a picture.

    Args:
        places: (h, w).
        frame: where the grid lies, in shares of the picture.
        size: (width, height) of the picture in pixels.

    Returns:
        (H, W) values, 0 outside of the frame; (H, W) booleans: what lies in the frame.
    """
    left, top, right, bottom = frame
    h, w = places.shape
    inside = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
    source = (
        (inside[0] - left) / (right - left) * w,
        (inside[1] - top) / (bottom - top) * h,
        (inside[2] - left) / (right - left) * w,
        (inside[3] - top) / (bottom - top) * h,
    )
    x0, y0 = (min(round(share * side), side - 1) for share, side in zip(inside[:2], size, strict=True))
    x1, y1 = (max(round(share * side), low + 1) for share, side, low in zip(inside[2:], size, (x0, y0), strict=True))
    part = Image.fromarray(places).resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, box=source)
    values, seen = np.zeros(size[::-1], np.float32), np.zeros(size[::-1], np.bool_)
    values[y0:y1, x0:x1], seen[y0:y1, x0:x1] = np.asarray(part), True
    return values, seen


def _paste_framed(sheet: Image.Image, picture: Image.Image, left: int, top: int) -> None:
    """Paste with a fine line around, as drawings are white to their edges."""
    box = (left - 1, top - 1, left + picture.width, top + picture.height)
    ImageDraw.Draw(sheet).rectangle(box, outline=PALE)
    sheet.paste(picture, (left, top))


def _draw_legend(sheet: Image.Image, left: int, top: int, name: str) -> None:
    pen = ImageDraw.Draw(sheet)
    _write(pen, (left, top + 8), name, 17, INK)
    lines = (
        (FOR, "places that speak for the tag"),
        (AGAINST, "places that speak against it"),
        (NOWHERE, "share of the score without a place"),
        (INK, "score by the vector that won; pale: by the others"),
    )
    for row, (colour, text) in enumerate(lines):
        y = top + 33 + 18 * row
        pen.rectangle((left, y + 1, left + 12, y + 13), fill=colour)
        _write(pen, (left + 20, y), text, 12, INK)


def _draw_caption(sheet: Image.Image, left: int, top: int, tag: TagExplanation, lowest: float, highest: float) -> None:
    pen = ImageDraw.Draw(sheet)
    name = tag.label if tag.spelling == tag.label else f"{tag.label} ({tag.spelling})"
    _write(pen, (left, top + 8), name, 17, INK)
    for_it, against = (abs(float(part.sum())) for part in (tag.places.clip(min=0), tag.places.clip(max=0)))
    x = _write(pen, (left, top + 32), f"score {tag.score:.2f}  =  ", 13, INK)
    parts = ((f"+{for_it:.2f}", FOR), (f"-{against:.2f}", AGAINST), (f"{tag.without_place:+.2f}", NOWHERE))
    for text, colour in parts:
        x = _write(pen, (x, top + 32), f"{text}   ", 13, colour)
    _draw_vectors(pen, left, top + 54, tag, lowest, highest)


def _draw_vectors(
    pen: ImageDraw.ImageDraw, left: int, top: int, tag: TagExplanation, lowest: float, highest: float, tall: int = 26
) -> None:
    """A bar per principal vector: the score it alone would give, the winner in dark."""
    M = len(tag.vectors)
    wide = PANEL / M
    zero = top + tall * highest / ((highest - lowest) or 1.0)
    pen.line((left, zero, left + PANEL - 1, zero), fill=PALE)
    for m, value in enumerate(tag.vectors):
        end = zero - tall * value / ((highest - lowest) or 1.0)
        colour = INK if m == tag.vector else PALE
        start = left + m * wide + (2 if wide > 6 else 0)  # of many vectors the bars touch
        stop = max(start, left + (m + 1) * wide - (3 if wide > 6 else 1))
        pen.rectangle((start, min(zero, end), stop, max(zero, end)), fill=colour)
        if M <= _MOST_VECTORS:
            _write(pen, (left + m * wide + 2, top + tall + 5), f"{value:.1f}", 12, INK if m == tag.vector else NOWHERE)


def _write(pen: ImageDraw.ImageDraw, at: _Point, text: str, size: int, colour: str) -> float:
    """Write one line, cut to the panel's width; the x where it ends."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    font = _font(size, shown.isascii())
    while pen.textlength(shown, font) > PANEL:
        shown = shown.rstrip("…")[:-1] + "…"
    pen.text(at, shown, fill=colour, font=font)
    return at[0] + float(pen.textlength(shown, font))


@lru_cache(maxsize=16)
def _font(size: int, ascii_only: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which knows ASCII alone; for other letters a font of the system, where there is one."""
    for name in () if ascii_only else _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
