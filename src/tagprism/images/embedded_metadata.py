"""What a picture file itself says about its keywords: its XMP packet and its IPTC keywords. Decodes no pixels."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, IptcImagePlugin

from tagprism.images.decode import picture_formats, read_bytes

_KEYWORDS, _CHARACTERS = (2, 25), (1, 90)  # IPTC datasets
_UTF8 = b"\x1b%G"


def embedded_metadata(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Read the keywords' places of a picture file; damage there is no error, as the picture is fine without.

    Args:
        path: a picture file.

    Returns:
        The XMP packet, perhaps empty; the IPTC keywords.

    Raises:
        PictureError: the file cannot be read.
    """
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data), formats=picture_formats()) as image:
            xmp = image.info.get("xmp", b"")
            iptc = IptcImagePlugin.getiptcinfo(image) or {}
    except Exception:  # as in `decode`: readers of some twenty formats raise whatever they stumble over
        return b"", ()
    words = iptc.get(_KEYWORDS, [])
    encoding = "utf-8" if iptc.get(_CHARACTERS) == _UTF8 else "latin-1"
    keywords = (word.decode(encoding, "replace") for word in (words if isinstance(words, list) else [words]))
    packet = xmp if isinstance(xmp, bytes) else str(xmp).encode()
    return packet.strip(b" \t\r\n\0"), tuple(keywords)
