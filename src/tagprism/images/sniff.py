"""What a file is that no decoder here opens, so that its owner reads what to do. Looks at its first bytes only."""

from __future__ import annotations

import re

_SVG = re.compile(rb"\s*(?:<\?xml[^>]*>|<!--.*?-->|\s)*(?:<svg|<!DOCTYPE\s+svg|<[\w-]+:svg)", re.DOTALL)
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_ADVICE = {
    "HEIC": 'HEIC: pip install "tagprism[heic]"',
    "AVIF": "AVIF is not read by the Pillow that is installed: pip install -U pillow",
    "JPEG XL": "JPEG XL is not read; export the picture as JPEG.",
    "SVG": "SVG is a drawing, not pixels, and is not read; export it as PNG.",
}
_LOOK = 4096  # bytes


def kind_of(data: bytes) -> str | None:
    """The kind of picture that these bytes begin: `HEIC`, `AVIF`, `JPEG XL` or `SVG`; None for any other."""
    start = data[:_LOOK]
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        return "HEIC" if brand in _HEIC else "AVIF" if brand in (b"avif", b"avis") else None
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    for bom in _BOMS:
        start = start.removeprefix(bom)
    return "SVG" if _SVG.match(start.replace(b"\0", b"")) else None  # UTF-16 has a zero in every letter


def advice(kind: str) -> str:
    """What to do about a picture of this kind that no decoder opens."""
    return _ADVICE[kind]
