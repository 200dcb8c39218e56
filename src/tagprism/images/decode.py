"""One picture file -> an upright 8-bit sRGB picture, or one clear error. Knows nothing of networks or folders."""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from functools import lru_cache

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from tagprism.errors import PictureError

MAX_PIXELS = 2 * 89_478_485
"""Default cap on width x height: the one at which Pillow itself refuses (about 179 megapixels)."""

MAX_BYTES = 2**30
"""Cap on a file's size; a picture is read whole, so that its digest and its pixels come from the same bytes."""

# An allow-list: Pillow also "opens" PostScript (by running Ghostscript), video and scientific containers.
# HEIF is read where a Pillow plugin for it has been registered.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "MPO", "PPM", "TGA", "ICO"),
    *("ICNS", "PCX", "DDS", "PSD", "QOI", "SGI", "XBM", "XPM"),
)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP  ")
_TURNED = range(5, 9)  # EXIF orientations that swap width and height


def picture_formats() -> list[str]:
    """Names of the picture formats that are read, as Pillow calls them."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a picture file whole, never waiting on a pipe.

    Args:
        path: a regular file (or a link to one) of at most `MAX_BYTES`.

    Returns:
        The file's bytes, at least one.

    Raises:
        PictureError: `missing`, `unreadable` (permission, folder, pipe, device), `empty` or `unsupported` (too large).
    """
    where = os.fsdecode(path)
    try:
        # Opened without blocking: a plain open of a named pipe waits for a writer for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
                raise PictureError("unreadable", f"This is {kind}, not a picture file.", where=where)
            if status.st_size > MAX_BYTES:
                size = f"{status.st_size / 2**30:.1f} GiB"
                raise PictureError("unsupported", f"The file has {size}; at most 1 GiB is read.", where=where)
            data = file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError("missing", "There is no such file.", where=where) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise PictureError("unreadable", f"The file cannot be read ({reason}).", where=where) from error
    if not data:
        raise PictureError("empty", "The file has zero bytes.", where=where)
    return data


def open_picture(
    source: str | os.PathLike[str] | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    draft_size: tuple[int, int] | None = None,
    where: str | None = None,
) -> Image.Image:
    """Decode a picture to upright 8-bit sRGB, the way a person would see it on white paper.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency is laid on white,
    16-bit and float greys are scaled, of an animation the first frame is taken.

    Args:
        source: path of a picture file, or the bytes of one.
        max_pixels: cap on width x height as stored; above it nothing is decoded.
        draft_size: (width, height) needed, in pixels: a larger JPEG is decoded at 1/2, 1/4 or 1/8, which is several
            times faster, but never below this size. None decodes in full.
        where: name for messages when `source` is bytes.

    Returns:
        A picture of mode RGB.

    Raises:
        PictureError: with code `missing`, `unreadable`, `empty`, `not_an_image`, `corrupt`, `too_many_pixels` or
            `unsupported`.
    """
    if isinstance(source, bytes):
        data = source
    else:
        where = os.fsdecode(source)
        data = read_bytes(source)
    image = _identify(data, max_pixels, where)
    with image:
        try:
            _draft(image, draft_size)
            image.load()
            return _to_srgb(_upright(image))
        # Decoders of some twenty formats meet hostile bytes here and raise whatever they stumble over.
        except Exception as error:
            raise PictureError("corrupt", f"The picture is damaged ({_reason(error)}).", where=where) from error


def _identify(data: bytes, max_pixels: int, where: str | None) -> Image.Image:
    """Read the header only: the format is known and the size is within the cap."""
    _quiet_pillow()
    _raise_pillow_cap(max_pixels)
    try:
        image = Image.open(io.BytesIO(data), formats=picture_formats())
    except Image.DecompressionBombError as error:
        pixels = re.findall(r"\d+", str(error))
        raise _too_many(int(pixels[0]) if pixels else 0, max_pixels, where) from error
    except UnidentifiedImageError as error:
        if data.startswith(_SIGNATURES):
            raise PictureError("corrupt", "The picture is damaged (its header cannot be read).", where=where) from error
        message = "The file is not a picture in a format that is read."
        raise PictureError("not_an_image", message, where=where) from error
    except Exception as error:
        raise PictureError("corrupt", f"The picture is damaged ({_reason(error)}).", where=where) from error
    pixels_stored = image.width * image.height
    if pixels_stored > max_pixels:
        image.close()
        raise _too_many(pixels_stored, max_pixels, where)
    return image


def _too_many(pixels: int, cap: int, where: str | None) -> PictureError:
    message = f"The picture has {pixels:,} pixels, more than the cap of {cap:,}; --max-pixels raises it."
    return PictureError("too_many_pixels", message, where=where)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _quiet_pillow() -> None:
    # Once per filter list and never undone: `warnings.catch_warnings` is not safe in the decoding threads.
    if not any(entry[0] == "ignore" and entry[3] == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)


_PILLOW = re.compile(r"PIL\.")


def _raise_pillow_cap(max_pixels: int) -> None:
    # Pillow refuses above twice this number, before we see the size; it is raised only when someone asks for more.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2


def _draft(image: Image.Image, draft_size: tuple[int, int] | None) -> None:
    if draft_size is not None:
        width, height = draft_size
        image.draft(None, (height, width) if _orientation(image) in _TURNED else (width, height))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF is no reason to lose the picture
        return 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as above; transposing needs the whole EXIF block to be writable again
        return image


def _to_srgb(image: Image.Image) -> Image.Image:
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
    values = np.asarray(image, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    low, high = min(0.0, values.min()), max(1.0 if image.mode == "F" else 65535.0, values.max())
    return Image.fromarray(np.round((values - low) * (255.0 / (high - low))).astype(np.uint8))
