"""Camera raw -> the picture that the camera put inside for viewing. Develops nothing: that is for raw programs."""

from __future__ import annotations

import io

from PIL import Image

from tagprism.errors import PictureError
from tagprism.images.formats import advice, reads_raw

_TURNS = {3: 3, 5: 8, 6: 6}  # LibRaw's turns -> EXIF's orientations


def preview(data: bytes, where: str | None) -> tuple[bytes, int]:
    """The largest preview inside a camera's raw file.

    Args:
        data: the file's bytes.
        where: its name for messages.

    Returns:
        A JPEG or PPM as bytes, and how it is to be turned, as EXIF counts it.

    Raises:
        PictureError: `unsupported` (rawpy is not installed, or there is no preview) or `corrupt`.
    """
    if not reads_raw():
        raise PictureError("unsupported", advice("camera raw"), where=where)
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            thumb, sizes = raw.extract_thumb(), raw.sizes
            turn = _TURNS.get(sizes.flip, 1)
            wide = sizes.raw_width >= sizes.raw_height  # as the sensor has them
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError) as error:
        message = "This camera raw has no preview inside; export it as JPEG."
        raise PictureError("unsupported", message, where=where) from error
    except rawpy.LibRawFileUnsupportedError as error:
        message = "This camera raw is of a kind that rawpy does not know: pip install -U rawpy, or export it as JPEG."
        raise PictureError("unsupported", message, where=where) from error
    except (rawpy.LibRawError, OSError, ValueError) as error:
        raise PictureError("corrupt", f"The camera raw is damaged ({_text(error)}).", where=where) from error
    if isinstance(thumb.data, bytes):  # a JPEG
        found = thumb.data
    else:
        height, width = thumb.data.shape[:2]
        found = b"P6 %d %d 255\n" % (width, height) + thumb.data.tobytes()
    return found, 1 if turn in (6, 8) and _is_turned(found, wide=wide) else turn


def _is_turned(data: bytes, *, wide: bool) -> bool:
    """Whether a preview stands though the sensor lies; LibRaw adds an orientation to it all the same."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "MPO", "PPM")) as image:
            return (image.width >= image.height) != wide
    except Exception:  # decoding it says what is wrong
        return False


def _text(error: Exception) -> str:
    said = error.args[0] if error.args else error
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
