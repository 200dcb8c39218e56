"""One picture file -> an upright 8-bit picture, mostly sRGB, or one clear error. Knows no networks and no folders."""

from __future__ import annotations

import io
import os
import re
import time
import warnings

from PIL import ExifTags, Image, UnidentifiedImageError

from tagprism.errors import PictureError
from tagprism.images.colour import WHITE_IS_ZERO, Colour, as_stored, has_other_colours, in_srgb
from tagprism.images.damage import (
    PNG,
    WRONG_CHECKSUM,
    empty_share,
    mended_png,
    missing_share,
    remark_on_missing,
    with_end,
)
from tagprism.images.picture_file import (
    MAX_MEMORY,
    Gate,
    bytes_to_decode,
    is_kept_whole,
    kind_of,
    picture_formats,
    pixels_stored,
)
from tagprism.images.picture_file import MAX_PIXELS as MAX_PIXELS
from tagprism.images.picture_file import read_bytes as read_bytes

MAX_SECONDS = 60.0
"""Cap on the processor time of one picture: a JPEG of ten thousand scans and its like decode for hours."""

LARGE = 32_000_000
"""Pictures with more pixels to decode are shrunk before anything copies them, where less is needed."""

REMARK = "remark"
"""Key in `info` of a picture under which stands what is wrong with its file though it could be read."""

_JPEG = ("JPEG", "MPO")
_UPRIGHT_ALREADY = ("TIFF", "HEIF", "JXL")  # their readers turn them, and say the size that they then have
_LINE_BY_LINE = ("PNG", "BMP")  # what is there of a picture that ends early is decoded
_PHOTOMETRIC = 262  # tag of TIFF
_TURNED = range(5, 9)  # EXIF orientations that swap width and height
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_gate = Gate(MAX_MEMORY)


def open_picture(
    source: str | os.PathLike[str] | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    draft_size: tuple[int, int] | None = None,
    where: str | None = None,
    colour: Colour = "srgb",
) -> Image.Image:
    """Decode a picture to upright 8-bit sRGB, the way a person would see it on white paper.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency is laid on white,
    16-bit and float greys are scaled, of an animation the first frame is taken, of a camera raw the preview in it.
    What every viewer shows is read, though its file ends early or has a damaged side part: `info[REMARK]` then says so.
    Pictures that are decoded at the same time take at most `MAX_MEMORY` bytes together; the others wait.

    Args:
        source: path of a picture file, or the bytes of one.
        max_pixels: cap on width x height as stored, twice that for a JPEG with a `draft_size`; above it nothing is
            decoded. Above its default it also raises the cap on memory, in proportion.
        draft_size: (width, height) needed, in pixels: a larger JPEG is decoded at 1/2, 1/4 or 1/8, which is several
            times faster, and any picture above `LARGE` is shrunk as a whole number of times, but never below this
            size. None decodes in full.
        where: name for messages when `source` is bytes.
        colour: `as-stored` passes over colour profiles and transparency, see `images.colour.as_stored`.

    Returns:
        A picture of mode RGB.

    Raises:
        PictureError: with code `missing`, `unreadable`, `empty`, `not_an_image`, `corrupt`, `too_many_pixels`,
            `too_slow` or `unsupported`.
    """
    if isinstance(source, bytes):
        data = source
    else:
        where = os.fsdecode(source)
        data = read_bytes(source)
    turn: int | None = None
    if kind_of(data, where) == "camera raw":
        from tagprism.images.raw import preview  # here, as few pictures are of this kind

        data, turn = preview(data, where)
    data, broken = mended_png(data) if data.startswith(PNG) else (data, False)
    image = _identify(data, max_pixels, draft_size, where)
    try:
        with image:
            stored = image.size
            if draft_size is not None:
                image.draft(None, _as_stored(draft_size, _orientation(image, turn)))
            if is_kept_whole(image, data):
                image.decodermaxblock = 2048  # type: ignore[attr-defined]  # hundreds of scans fit into more
            reduction, held = _cost(image, data, stored, draft_size, turn, max_pixels, where)
            with _gate.holding(held):
                loaded, remark = _loaded(image, data, draft_size, turn)
                if loaded.width * loaded.height > max_pixels:
                    raise _too_many(loaded.width * loaded.height, max_pixels, where)
                orientation = _orientation(loaded, turn)  # after load: some formats turn the picture themselves
                if reduction > 1 or _changes_colours(loaded):
                    loaded = (in_srgb if colour == "srgb" else as_stored)(loaded, reduction)
                picture = loaded.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else loaded
            if said := remark or (WRONG_CHECKSUM if broken else ""):
                picture.info[REMARK] = said
            return picture
    except PictureError:
        raise
    except _TooSlowError as error:
        raise _too_slow(where) from error
    except MemoryError as error:
        message = f"Memory is too small for its {image.width:,} x {image.height:,} pixels; --max-pixels skips such."
        raise PictureError("unreadable", message, where=where) from error
    # Decoders of some twenty formats meet hostile bytes here and raise whatever they stumble over.
    except Exception as error:
        raise PictureError("corrupt", f"The picture is damaged ({_reason(error)}).", where=where) from error


def _cost(
    image: Image.Image,
    data: bytes,
    stored: tuple[int, int],
    draft_size: tuple[int, int] | None,
    turn: int | None,
    max_pixels: int,
    where: str | None,
) -> tuple[int, int]:
    """By how much a picture is shrunk before anything copies it, and the bytes that it then takes.

    Raises:
        PictureError: `too_many_pixels`: it takes too many.
    """
    made = 4.0 * _changes_colours(image) + 4.0 * (_orientation(image, turn) != 1)
    most = int(MAX_MEMORY * max(1.0, max_pixels / MAX_PIXELS))
    reduction, held = 1, bytes_to_decode(image, data, stored, made)
    if draft_size is not None and (image.width * image.height > LARGE or held > most):
        needed = _as_stored(draft_size, _orientation(image, turn)) or draft_size
        reduction = max(1, min(image.width // needed[0], image.height // needed[1]))
        held = bytes_to_decode(image, data, stored, made / reduction**2)
    if held > most:
        size = f"{stored[0]:,} x {stored[1]:,}"
        message = (
            f"Decoding its {size} pixels takes {held >> 20:,} MiB of memory, more than the cap of {most >> 20:,} MiB"
        )
        raise PictureError("too_many_pixels", f"{message}; --max-pixels raises it.", where=where)
    return reduction, held


def _changes_colours(image: Image.Image) -> bool:
    """Whether a picture is another one in sRGB on white paper."""
    profiled = "icc_profile" in image.info
    return image.mode != "RGB" or image.has_transparency_data or (profiled and has_other_colours(image))


def _loaded(
    image: Image.Image, data: bytes, draft_size: tuple[int, int] | None, turn: int | None
) -> tuple[Image.Image, str]:
    """A picture with its pixels, and what is wrong with its file though they could be read."""
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
        image.info[WHITE_IS_ZERO] = True  # Pillow turns those of 8 bits
    try:
        image.load()
        return image, ""
    except OSError as error:
        ended = with_end(data) if image.format in _JPEG else None
        part = image._new(image.im) if image.format in (*_JPEG, *_LINE_BY_LINE) else None
        if "truncated" not in str(error) or part is None:
            raise
        share = empty_share(part)
        if ended is not None:
            with Image.open(_TimedBytes(ended), formats=_JPEG) as again:
                if draft_size is not None:
                    again.draft(None, _as_stored(draft_size, _orientation(again, turn)))
                again.load()
            share, part = missing_share(part, again), again
        if (remark := remark_on_missing(share)) is None:
            raise
        return part, remark


class _TooSlowError(Exception):
    """A picture took more than `MAX_SECONDS`."""


class _TimedBytes(io.BytesIO):
    """Bytes of a picture that end its decoding when it has had its time.

    Decoders that do a lot with few bytes fetch them in small blocks; those that fetch all at once take a time that the
    cap on pixels bounds. Counted is the thread's processor time, so that a busy machine spoils no picture.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._end = time.thread_time() + MAX_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file."""
        if time.thread_time() > self._end:
            raise _TooSlowError
        return super().read(size)


def _identify(data: bytes, max_pixels: int, draft_size: tuple[int, int] | None, where: str | None) -> Image.Image:
    """Read the header only: the format is known and the size is within the cap."""
    _quiet_pillow()
    _raise_pillow_cap(2 * max_pixels)
    try:
        image = Image.open(_TimedBytes(data), formats=picture_formats())
    except Image.DecompressionBombError as error:
        said = re.findall(r"\d+", str(error))
        raise _too_many(int(said[0]) if said else 0, max_pixels, where) from error
    except UnidentifiedImageError as error:
        from tagprism.images.formats import unidentified

        raise unidentified(data, where) from error
    except _TooSlowError as error:
        raise _too_slow(where) from error
    except Exception as error:
        raise PictureError("corrupt", f"The picture is damaged ({_reason(error)}).", where=where) from error
    pixels = pixels_stored(image, data)
    cap = 2 * max_pixels if image.format in _JPEG and draft_size else max_pixels
    if not 0 < pixels <= cap:
        image.close()
        if pixels:
            raise _too_many(pixels, cap, where)
        raise PictureError("corrupt", "The picture is damaged (it has no pixels).", where=where)
    return image


def _too_slow(where: str | None) -> PictureError:
    message = f"Decoding took more than {MAX_SECONDS:.0f} s of processor time and was given up."
    return PictureError("too_slow", message, where=where)


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


def _as_stored(size: tuple[int, int] | None, orientation: int) -> tuple[int, int] | None:
    """An upright (width, height) as the file stores it."""
    return (size[1], size[0]) if size is not None and orientation in _TURNED else size


def _orientation(image: Image.Image, known: int | None = None) -> int:
    """How a picture is to be turned, as EXIF counts it."""
    if known is not None or image.format in _UPRIGHT_ALREADY:
        return known or 1
    try:
        return int(exif_of(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF is no reason to lose the picture
        return 1


def exif_of(image: Image.Image) -> Image.Exif:
    """The EXIF of an opened picture; that of a PNG without its pixels, which Pillow would decode first."""
    return Image.Image.getexif(image) if image.format == "PNG" else image.getexif()


def upright_size(image: Image.Image, known: int | None = None) -> tuple[int, int]:
    """(width, height) of an opened picture when it is turned as it says, or as is known."""
    return (image.height, image.width) if _orientation(image, known) in _TURNED else image.size
