"""Any mode of picture -> 8-bit sRGB: profiles, transparency, deep greys. Knows no files."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert a decoded picture of any mode to RGB as a person would see it on white paper.

    Args:
        image: a loaded picture; its embedded colour profile is used when there is one.

    Returns:
        A picture of mode RGB.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _scaled_grey(image)
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size, "white")
        image.paste(rgba, mask=rgba.getchannel("A"))
    transform = _icc_transform(profile, image.mode) if isinstance(profile, bytes) else None
    if transform is not None:
        if image.mode != transform.input_mode:
            image = image.convert(transform.input_mode)
        return transform.apply(image)
    return image.convert("RGB")


@lru_cache(maxsize=64)  # the pictures of one camera or program share their profile
def _icc_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform to sRGB, or None where the profile is damaged, does not fit the picture or is sRGB already."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        description = opened.profile.profile_description or ""
        input_mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space)
        if input_mode is None or (input_mode == "CMYK") != (mode == "CMYK") or description.startswith("sRGB"):
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(opened, srgb, input_mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _scaled_grey(image: Image.Image) -> Image.Image:
    """Bring 16-bit, 32-bit and float greys to 8 bits.

    0..65535 becomes black..white, for floats 0..1; where a picture has values outside of it, the range is widened to
    take them in. Values that are not finite count as 0.
    """
    values = np.asarray(image)
    step = max(1, 2**20 // image.width)  # rows at a time: in float64 a large picture would take gigabytes
    blocks = [slice(top, top + step) for top in range(0, image.height, step)]
    low, high = 0.0, 1.0 if image.mode == "F" else 65535.0
    for block in blocks:
        finite = _finite(values[block])
        low, high = min(low, finite.min()), max(high, finite.max())
    grey = np.empty(values.shape, np.uint8)
    for block in blocks:
        grey[block] = np.round((_finite(values[block]) - low) * (255.0 / (high - low)))
    return Image.fromarray(grey)


def _finite(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.float64)
    return np.where(np.isfinite(wide), wide, 0.0)
