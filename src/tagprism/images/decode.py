"""One picture file -> an upright 8-bit sRGB picture, or one clear error. Knows nothing of networks or folders."""

from __future__ import annotations

import io
import os
import re
import stat
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from PIL import ExifTags, Image, UnidentifiedImageError

from tagprism.errors import PictureError
from tagprism.images.colour import to_srgb
from tagprism.images.sniff import advice, kind_of

MAX_PIXELS = 2 * 89_478_485
"""Default cap on width x height: the one at which Pillow itself refuses (about 179 megapixels). A JPEG that is decoded
at reduced size costs less and may have twice as many: telephones make photos of 200 megapixels."""

MAX_BYTES = 2**30
"""Cap on a file's size; a picture is read whole, so that its digest and its pixels come from the same bytes."""

MAX_SECONDS = 60.0
"""Cap on the processor time of one picture: a JPEG of ten thousand scans and its like decode for hours."""

LARGE = 32_000_000
"""Pictures with more pixels to decode take turns, so that the memory needed does not grow with the threads."""

# An allow-list: Pillow also "opens" PostScript (by running Ghostscript), video and scientific containers.
# HEIF is read where a Pillow plugin for it has been registered.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "MPO", "PPM", "TGA", "ICO"),
    *("ICNS", "PCX", "DDS", "PSD", "QOI", "SGI", "XBM", "XPM"),
)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP  ")
_JPEG = ("JPEG", "MPO")
_NESTED = ("ICO", "ICNS")  # the picture inside may be larger than the header says
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
_turn = threading.Lock()


@lru_cache(maxsize=1)
def picture_formats() -> tuple[str, ...]:
    """Names of the picture formats that are read, as Pillow calls them."""
    Image.init()
    try:
        import pillow_heif
    except ImportError:  # the extra `heic` is not installed
        pass
    else:
        pillow_heif.register_heif_opener()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


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
            data = file.read(status.st_size + 1)  # not to its end: another program may be writing it
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
        max_pixels: cap on width x height as stored, twice that for a JPEG with a `draft_size`; above it nothing is
            decoded.
        draft_size: (width, height) needed, in pixels: a larger JPEG is decoded at 1/2, 1/4 or 1/8, which is several
            times faster, and any picture above `LARGE` is shrunk as a whole number of times, but never below this
            size. None decodes in full.
        where: name for messages when `source` is bytes.

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
    image = _identify(data, max_pixels, draft_size, where)
    try:
        with image, _taking_turns(image, draft_size):
            image.load()
            if image.width * image.height > max_pixels:
                raise _too_many(image.width * image.height, max_pixels, where)
            orientation = _orientation(image)  # after load: some formats turn the picture themselves
            return to_srgb(_upright(_shrunk(image, _as_stored(draft_size, orientation)), orientation))
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
        pixels = re.findall(r"\d+", str(error))
        raise _too_many(int(pixels[0]) if pixels else 0, max_pixels, where) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data, where) from error
    except _TooSlowError as error:
        raise _too_slow(where) from error
    except Exception as error:
        raise PictureError("corrupt", f"The picture is damaged ({_reason(error)}).", where=where) from error
    pixels_stored = image.width * image.height
    cap = 2 * max_pixels if image.format in _JPEG and draft_size else max_pixels
    if not 0 < pixels_stored <= cap:
        image.close()
        if pixels_stored:
            raise _too_many(pixels_stored, cap, where)
        raise PictureError("corrupt", "The picture is damaged (it has no pixels).", where=where)
    return image


def _unidentified(data: bytes, where: str | None) -> PictureError:
    kind = kind_of(data)
    if kind is not None and {"HEIC": "HEIF"}.get(kind, kind) not in picture_formats():
        return PictureError("unsupported", advice(kind), where=where)
    if kind is not None or data.startswith(_SIGNATURES):
        return PictureError("corrupt", "The picture is damaged (its header cannot be read).", where=where)
    return PictureError("not_an_image", "The file is not a picture in a format that is read.", where=where)


@contextmanager
def _taking_turns(image: Image.Image, draft_size: tuple[int, int] | None) -> Iterator[None]:
    """Choose a reduced size where the format has one; one large picture is decoded at a time."""
    stored = image.width * image.height
    if draft_size is not None:
        image.draft(None, _as_stored(draft_size, _orientation(image)))
    if image.info.get("progressive"):
        # All scans are kept in memory at full size, whatever the size asked for, and each may take long.
        image.decodermaxblock = 8192  # type: ignore[attr-defined]
    else:
        stored = image.width * image.height
    if stored <= LARGE and image.format not in _NESTED:
        yield
    else:
        with _turn:
            yield


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


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF is no reason to lose the picture
        return 1


def _shrunk(image: Image.Image, draft_size: tuple[int, int] | None) -> Image.Image:
    """A large picture at half, a third ... of its size before anything copies it, as a JPEG is by its decoder."""
    if draft_size is None or image.width * image.height <= LARGE or image.mode not in _SHRINKABLE:
        return image
    factor = min(image.width // draft_size[0], image.height // draft_size[1])
    return image.reduce(factor) if factor > 1 else image


_SHRINKABLE = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F")


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
