"""RGB pictures, or views of them -> arrays that a network takes. Knows no files, no networks; travels with weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageChops
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tagprism.files import digest_json
from tagprism.images.colour import Colour
from tagprism.images.views import WHOLE, Box, check_views, view_boxes

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SHORTEST: dict[str, Callable[[float], int]] = {"shortest": round, "shortest_floor": math.floor}
_SAME = 8  # grey levels within which a border counts as one colour: JPEG and antialiasing are not exact
_Side = Annotated[int, Field(ge=1, le=4096)]
_Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_Deviation = Annotated[float, Field(ge=1e-6, le=1e6)]  # pixels stay finite
_Byte = Annotated[int, Field(ge=0, le=255)]


class Preprocess(BaseModel):
    """How a picture becomes pixels: size, way of resizing, and normalisation `(pixel / 255 - mean) / std`.

    Args:
        height: output height in pixels.
        width: output width in pixels.
        resize: `squash` ignores the aspect ratio (the authors' way), `crop` fills the output and cuts the middle out,
            `shortest` does so to the pixel as torchvision's Resize and CenterCrop do, and `shortest_floor` as the
            transformers library does, both for a square output; `pad` fits the whole picture in and fills the rest
            with `pad_color`.
        crop_pct: part of the resized picture that is kept, the middle of it; 1.0 keeps all. Not for `pad`.
        interpolation: filter of the resize, always antialiased.
        mean: per channel, in 0..1.
        std: per channel, above 0, same scale; (1, 1, 1) with mean (0, 0, 0) gives plain 0..1 pixels.
        pad_color: RGB 0..255 around a padded picture.
        trim: first cut off a border of one colour, as drawings on an empty page have it.
        colour: how the picture is to be opened, see `open_picture`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    height: _Side
    width: _Side
    resize: Literal["squash", "crop", "shortest", "shortest_floor", "pad"] = "squash"
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[_Fraction, _Fraction, _Fraction]
    std: tuple[_Deviation, _Deviation, _Deviation]
    pad_color: tuple[_Byte, _Byte, _Byte] = (128, 128, 128)
    trim: bool = False
    colour: Colour = "srgb"

    @model_validator(mode="after")
    def _pad_keeps_all(self) -> Preprocess:
        if self.resize == "pad" and self.crop_pct != 1.0:
            raise ValueError("crop_pct must be 1.0 when resize is 'pad', which keeps the whole picture")
        if self.resize in _SHORTEST and self.height != self.width:
            raise ValueError(f"height and width must be equal when resize is '{self.resize}'")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, height, width) of what `apply` gives."""
        return 3, self.height, self.width

    @property
    def draft_size(self) -> tuple[int, int]:
        """(width, height) below which a picture must not be decoded, for `open_picture`.

        Twice what the resize needs: the decoder's own shrinking is rougher than the filter that follows it.
        """
        return math.ceil(2 * self.width / self.crop_pct), math.ceil(2 * self.height / self.crop_pct)

    @property
    def digest(self) -> str:
        """SHA-256 over every setting; features computed under different digests are different."""
        settings = self.model_dump(mode="json")
        if self.colour == "srgb":  # so that features computed before this setting are found
            del settings["colour"]
        return digest_json(settings)

    def resized(self, image: Image.Image) -> Image.Image:
        """The resized and cropped or padded picture, before it becomes numbers (augmentation starts here)."""
        if self.trim:
            image = image.crop(_drawn(image))
        size = (self.width, self.height)
        if self.resize == "pad":
            left, top, *inner = self._inside(image.width, image.height)
            padded = Image.new("RGB", size, self.pad_color)
            padded.paste(image.resize((inner[0], inner[1]), _FILTERS[self.interpolation]), (left, top))
            return padded
        # Only the part that is kept is resized: a 1 x 100,000 strip, cropped after a resize, would fill the memory.
        return image.resize(size, _FILTERS[self.interpolation], box=self._kept(image.width, image.height))

    def frame(self, image: Image.Image) -> tuple[float, float, float, float]:
        """Where the network's input lies over a picture.

        Args:
            image: the picture that `apply` was given.

        Returns:
            (left, top, right, bottom) as shares of the picture's width and height: 0, 0, 1, 1 is the picture itself, a
            cropped or trimmed input covers a part of it, a padded one reaches beyond.
        """
        left, top, right, bottom = _drawn(image) if self.trim else (0, 0, image.width, image.height)
        width, height = right - left, bottom - top
        kept = self._kept(width, height)
        if self.resize == "pad":
            x, y, inner_width, inner_height = self._inside(width, height)
            across, down = width / inner_width, height / inner_height
            kept = -x * across, -y * down, (self.width - x) * across, (self.height - y) * down
        return (
            (left + kept[0]) / image.width,
            (top + kept[1]) / image.height,
            (left + kept[2]) / image.width,
            (top + kept[3]) / image.height,
        )

    def _inside(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Position and size (left, top, width, height) of a padded picture in the output."""
        scale = min(self.width / width, self.height / height)
        inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
        return (self.width - inner_width) // 2, (self.height - inner_height) // 2, inner_width, inner_height

    def _kept(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Box (left, top, right, bottom) of the source that ends up in the output."""
        if self.resize in _SHORTEST:
            return self._shortest(width, height)
        if self.resize == "squash":
            kept_width, kept_height = width * self.crop_pct, height * self.crop_pct
        else:
            scale = max(self.width / width, self.height / height) / self.crop_pct
            kept_width, kept_height = min(self.width / scale, width), min(self.height / scale, height)
        left, top = (width - kept_width) / 2, (height - kept_height) / 2
        return left, top, min(left + kept_width, width), min(top + kept_height, height)

    def _shortest(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The box that is kept where the longer side is rounded down, and the position of the crop to a whole pixel."""
        whole = _SHORTEST[self.resize]
        side, short = round(self.width / self.crop_pct), min(width, height)
        across, down = (side * length // short for length in (width, height))
        left, top = whole((across - self.width) / 2), whole((down - self.height) / 2)
        x, y = width / across, height / down
        return left * x, top * y, min((left + self.width) * x, width), min((top + self.height) * y, height)

    def normalised(self, image: Image.Image) -> Float32[np.ndarray, "3 H W"]:
        """Pixels of a picture that has the output size already, normalised, channels first."""
        pixels = np.empty((3, self.height, self.width), np.float32)
        self._normalise_into(image, pixels)
        return pixels

    def _normalise_into(self, image: Image.Image, pixels: Float32[np.ndarray, "3 H W"]) -> None:
        for channel, band in enumerate(image.split()):
            pixels[channel] = np.asarray(band)
            pixels[channel] *= np.float32(1.0 / (255.0 * self.std[channel]))
            pixels[channel] += np.float32(-self.mean[channel] / self.std[channel])

    def apply(self, image: Image.Image) -> Float32[np.ndarray, "3 H W"]:
        """Turn one picture into the network's input.

        Args:
            image: mode RGB, any size.

        Returns:
            (3, height, width) float32, normalised, red first.
        """
        return self.normalised(self.resized(image))

    def apply_into(self, image: Image.Image, pixels: Float32[np.ndarray, "3 H W"]) -> None:
        """As `apply`, into memory that is there: fresh memory costs as much time as the arithmetic."""
        self._normalise_into(self.resized(image), pixels)


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
        return WHOLE


def cut(image: Image.Image, box: Box) -> Image.Image:
    """A part of a picture, to whole pixels and at least one."""
    if box == WHOLE:
        return image
    left, top = (min(int(share * side), side - 1) for share, side in zip(box[:2], image.size, strict=True))
    right, bottom = (
        max(math.ceil(share * side), low + 1) for share, side, low in zip(box[2:], image.size, (left, top), strict=True)
    )
    return image.crop((left, top, min(right, image.width), min(bottom, image.height)))


def _drawn(image: Image.Image) -> tuple[int, int, int, int]:
    """Box of the part of a picture that differs from its top left corner; all of it when nothing does."""
    corner = image.getpixel((0, 0))
    assert isinstance(corner, tuple)  # mode RGB
    difference = ImageChops.difference(image, Image.new("RGB", image.size, corner)).convert("L")
    box = difference.point([255 if value > _SAME else 0 for value in range(256)]).getbbox()
    return box or (0, 0, image.width, image.height)
