"""The keywords inside a picture file, in every place where programs put them. Decodes no pixels, knows no sidecars."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, IptcImagePlugin

from tagprism.images.decode import read_bytes
from tagprism.images.formats import picture_formats

_KEYWORDS, _CHARACTERS = (2, 25), (1, 90)  # IPTC datasets
_UTF8 = b"\x1b%G"
_PNG, _PNG_XMP = b"\x89PNG\r\n\x1a\n", b"XML:com.adobe.xmp\0"


class Embedded(NamedTuple):
    """What a picture file holds of keywords.

    Args:
        xmp: its XMP packet, perhaps empty.
        iptc: its IPTC keywords.
        windows: EXIF's XPKeywords, as the Windows Explorer writes them.
        charset: of IPTC text beyond ASCII without a stated UTF-8: `UTF8` or `Latin`; else empty.
    """

    xmp: bytes = b""
    iptc: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    charset: str = ""


def read_embedded_keywords(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Read the places inside a picture file that hold keywords; damage there is no error.

    Args:
        path: a picture file.

    Returns:
        The XMP packet, perhaps empty; the keywords of IPTC and of Windows, each once.

    Raises:
        PictureError: the file cannot be read.
    """
    found = embedded(read_bytes(path))
    return found.xmp, tuple(dict.fromkeys((*found.iptc, *found.windows)))


def embedded(data: bytes) -> Embedded:
    """What the bytes of a picture file hold of keywords; damage there is no error."""
    try:
        with Image.open(io.BytesIO(data), formats=picture_formats()) as image:
            xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or _late_png_packet(data)
            iptc = IptcImagePlugin.getiptcinfo(image) or {}
            windows = _windows(image)
    except Exception:  # readers of some twenty formats raise whatever they stumble over
        return Embedded()
    packet = xmp if isinstance(xmp, bytes) else str(xmp).encode()
    values = [value for found in iptc.values() for value in (found if isinstance(found, list) else [found])]
    plain = iptc.get(_CHARACTERS) == _UTF8 or all(map(bytes.isascii, values))
    charset = "" if plain else "UTF8" if all(map(_is_utf8, values)) else "Latin"
    words = iptc.get(_KEYWORDS, [])
    keywords = map(_text, words if isinstance(words, list) else [words])
    return Embedded(packet.strip(b" \t\r\n\0"), tuple(keywords), windows, charset)


def _text(word: bytes) -> str:
    """A word of IPTC: UTF-8 where it is valid UTF-8, stated or not, as no other text looks like it by chance."""
    return word.decode() if _is_utf8(word) else word.decode("cp1252", "replace")


def _is_utf8(word: bytes) -> bool:
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True


def _windows(image: Image.Image) -> tuple[str, ...]:
    try:
        text = bytes(image.getexif().get(ExifTags.Base.XPKeywords, b"")).decode("utf-16-le", "replace")
    except Exception:  # damaged EXIF is no reason to lose the other keywords
        return ()
    return tuple(word.strip() for word in text.rstrip("\0").split(";") if word.strip())


def _late_png_packet(data: bytes) -> bytes:
    """The XMP of a PNG that stands after the pixels, where exiftool puts it and Pillow looks only after decoding."""
    for kind, body in _png_chunks(data):
        if kind == b"iTXt" and body.startswith(_PNG_XMP):
            packed, rest = body[len(_PNG_XMP)], body[len(_PNG_XMP) + 2 :]
            text = rest.split(b"\0", 2)[2]
            return zlib.decompressobj().decompress(text, 2**26) if packed else text
    return b""


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG) if data.startswith(_PNG) else len(data)
    while place + 8 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        yield data[place + 4 : place + 8], data[place + 8 : end]
        place = end + 4  # after the checksum
