"""Any mode of picture -> 8-bit RGB, sRGB or as it is stored: profiles, transparency, deep greys. Knows no files."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"RGB": ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr"), "GRAY": ("1", "L", "LA", "I", "F"), "CMYK": ("CMYK",)}
_INPUTS = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SAME = 3  # levels by which a profile may differ from sRGB and still be it: HP's and Google's round differently
_SHRINKABLE = ("L", "RGB", "CMYK", "YCbCr")
_TILE = 1024  # pixels a side: a picture is converted in parts, so that the parts alone are in memory twice
Colour: TypeAlias = Literal["srgb", "as-stored"]
"""What an embedded colour profile and transparency are: used, or, as in most training code, passed over."""

WHITE_IS_ZERO = "white_is_zero"
"""Key in `info` of a deep grey picture whose zero is white."""


def in_srgb(image: Image.Image, reduction: int = 1) -> Image.Image:
    """Convert a decoded picture of any mode to RGB as a person would see it on white paper.

    Args:
        image: a loaded picture; its embedded colour profile is used when there is one that fits it.
        reduction: by how much the result is to be smaller, as a whole number.

    Returns:
        A picture of mode RGB, of the size of `image` divided by `reduction` and rounded up.
    """
    return _by_tiles(image, reduction, partial(_to_srgb, range_of_greys=_greys(image)))


def as_stored(image: Image.Image, reduction: int = 1) -> Image.Image:
    """Convert a decoded picture to RGB by its numbers alone, as Pillow's `convert("RGB")` does.

    A profile is not used and transparency is dropped; deep greys alone are scaled, which Pillow would cut off.

    Args:
        image, reduction: as for `in_srgb`.

    Returns:
        As `in_srgb`.
    """
    if image.mode == "RGB" and reduction == 1:
        return image
    return _by_tiles(image, reduction, partial(_as_stored, range_of_greys=_greys(image)))


def _by_tiles(image: Image.Image, reduction: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    if max(image.size) <= _TILE and reduction == 1:
        return convert(image)
    result = Image.new("RGB", (math.ceil(image.width / reduction), math.ceil(image.height / reduction)))
    step = max(1, _TILE // reduction) * reduction
    for box in _boxes(image, step):
        tile = image.crop(box)
        if reduction > 1 and image.mode in _SHRINKABLE and not image.has_transparency_data:
            part = convert(tile.reduce(reduction))
        else:
            part = convert(tile)
            part = part.reduce(reduction) if reduction > 1 else part
        result.paste(part, (box[0] // reduction, box[1] // reduction))
    return result


def has_other_colours(image: Image.Image) -> bool:
    """Whether the profile of a picture fits it, and is another one than sRGB."""
    return _transform_of(image.info, image.mode) is not None


def _to_srgb(image: Image.Image, range_of_greys: tuple[float, float] | None) -> Image.Image:
    transform = _transform_of(image.info, image.mode)
    if range_of_greys is not None:
        image = _scaled_grey(image, *range_of_greys)
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size, "white")
        image.paste(rgba, mask=rgba.getchannel("A"))
    if transform is not None:
        if image.mode != transform.input_mode:
            image = image.convert(transform.input_mode)
        return transform.apply(image)
    return image.convert("RGB")


def _as_stored(image: Image.Image, range_of_greys: tuple[float, float] | None) -> Image.Image:
    return (image if range_of_greys is None else _scaled_grey(image, *range_of_greys)).convert("RGB")


def _greys(image: Image.Image) -> tuple[float, float] | None:
    """The values of black and white of a deep grey picture."""
    return _range_of_greys(image) if _is_deep(image) else None


def _transform_of(info: dict[str | tuple[int, int], object], mode: str) -> ImageCms.ImageCmsTransform | None:
    profile = info.get("icc_profile")
    return _icc_transform(profile, "I" if mode.startswith("I") else mode) if isinstance(profile, bytes) else None


@lru_cache(maxsize=64)  # the pictures of one camera or program share their profile
def _icc_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform to sRGB, or None where the profile is damaged, does not fit the picture or is sRGB already."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if mode not in _SPACES.get(space, ()):
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(opened, srgb, _INPUTS[space], "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if space != "CMYK" and _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB, whatever it is called: asked of a grid of colours."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(16, -1, 3)
    colours = Image.fromarray(grid if transform.input_mode == "RGB" else levels[None])
    wanted = np.asarray(colours.convert("RGB"), np.int16)
    return bool((np.abs(np.asarray(transform.apply(colours), np.int16) - wanted) <= _SAME).all())


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _boxes(image: Image.Image, step: int = _TILE) -> Iterator[tuple[int, int, int, int]]:
    """Parts of a picture, each of at most so many pixels a side."""
    for top in range(0, image.height, step):
        for left in range(0, image.width, step):
            yield left, top, min(left + step, image.width), min(top + step, image.height)


def _range_of_greys(image: Image.Image) -> tuple[float, float]:
    """The values of black and white: 0 and 65535, for floats 0 and 1; wider where the picture has values outside."""
    low, high = 0.0, 1.0 if image.mode == "F" else 65535.0
    for box in _boxes(image):
        finite = _finite(np.asarray(image.crop(box)))
        low, high = min(low, finite.min()), max(high, finite.max())
    return low, high


def _scaled_grey(image: Image.Image, low: float, high: float) -> Image.Image:
    """Bring 16-bit, 32-bit and float greys to 8 bits; values that are not finite count as 0."""
    grey = np.round((_finite(np.asarray(image)) - low) * (255.0 / (high - low))).astype(np.uint8)
    return Image.fromarray(255 - grey if image.info.get(WHITE_IS_ZERO) else grey)


def _finite(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.float64)
    return np.where(np.isfinite(wide), wide, 0.0)
