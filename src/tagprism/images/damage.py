"""What is wrong with pictures that every viewer shows though they are not quite whole, and how they are mended."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image, ImageChops

PNG = b"\x89PNG\r\n\x1a\n"
WRONG_CHECKSUM = "a part of the file that is not the picture is damaged, and was left out"
_NOTES = (b"eXIf", b"iTXt", b"tEXt", b"zTXt", b"tIME")
_END_OF_JPEG = b"\xff\xd9"
_MOST = 0.5  # share of a picture that may be missing


def mended_png(data: bytes) -> tuple[bytes, bool]:
    """A PNG as its reader wants it, and whether a side chunk had a wrong checksum, which is then left out.

    Notes that stand behind the pixels come before them, so that reading them does not mean decoding the picture.
    """
    before, pixels = [PNG], list[bytes]()
    position, broken, moved = len(PNG), False, False
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, end = data[position + 4 : position + 8], position + 12 + length
        if end > len(data) or not kind.isalpha():  # no more chunks: nothing is looked for in what is left
            break
        if kind[0] & 0x20 and zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            broken = True
        elif pixels and kind not in _NOTES:
            pixels.append(data[position:end])
        else:
            moved |= bool(pixels)
            (pixels if kind == b"IDAT" else before).append(data[position:end])
        position = end
    return (b"".join((*before, *pixels, data[position:])), broken) if broken or moved else (data, False)


def with_end(data: bytes) -> bytes | None:
    """A JPEG with the end mark that it lacks; None where it has one."""
    return None if data.endswith(_END_OF_JPEG) else data + _END_OF_JPEG


def missing_share(decoded: Image.Image, mended: Image.Image) -> float:
    """How much of a JPEG that ends early is not there, 0 to 1.

    The decoder fills the lines for which it has no data evenly, and without the end mark it leaves them untouched.

    Args:
        decoded: without the end mark, black below the last line that is there.
        mended: with it.
    """
    box = ImageChops.difference(decoded, mended).getbbox()
    if box is None:
        return 0.0
    lines = np.asarray(mended.resize((min(64, mended.width), mended.height), Image.Resampling.NEAREST))
    filled = (lines == lines[-1, -1]).reshape(mended.height, -1).all(axis=1)[::-1]
    even = mended.height if filled.all() else int(np.argmin(filled))
    return min(mended.height - box[1], even) / mended.height


def remark_on_missing(share: float) -> str | None:
    """What is said of a picture of which such a share is missing; None where too little is there."""
    if share > _MOST:
        return None
    return "the file ends early" + (f"; {share:.0%} of the picture is blank" if share >= 0.01 else "")


def empty_share(image: Image.Image) -> float:
    """How much of a picture is still as it was before its decoder began, at its first or last lines, 0 to 1."""
    box = image.getbbox()
    return 1.0 if box is None else 1 - (box[3] - box[1]) / image.height
