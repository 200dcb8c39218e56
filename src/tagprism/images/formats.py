"""Which kinds of picture are read, and what to do about those that are not. Looks at names and first bytes only."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec

from PIL import Image

from tagprism.errors import PictureError

# An allow-list: Pillow also "opens" PostScript (by running Ghostscript), video and scientific containers.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "MPO", "PPM", "TGA", "ICO"),
    *("ICNS", "PCX", "DDS", "PSD", "QOI", "SGI", "XBM", "XPM", "JXL"),
)
_RAW_NAMES = "3fr arw cr2 cr3 crw dcr dng erf iiq kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf srw x3f"
RAW_ENDINGS = frozenset(f".{name}" for name in _RAW_NAMES.split())
_OF_TELEPHONES = frozenset({".heic", ".heif", ".hif", ".avif"})
"""Listed also where nothing installed reads them, so that each is reported with the reason."""

_NOT_READ_NAMES = {
    "camera raw": _RAW_NAMES,
    "JPEG XL": "jxl",
    "video": "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts webm wmv",
    "SVG": "svg svgz",
    "project of a drawing program": "ai afphoto clip cpt eps kra ora psb xcf",
    "high dynamic range": "exr hdr jxr wdp",
    "PDF": "pdf",
}
_NOT_READ = {f".{name}": kind for kind, names in _NOT_READ_NAMES.items() for name in names.split()}
_REMEDIES = {"camera raw": "pip install rawpy", "JPEG XL": "pip install pylibjxl"}
_ADVICE = {
    "HEIC": "HEIC is not read by what is installed: pip install pi-heif",
    "AVIF": "AVIF is not read by the Pillow that is installed: pip install -U pillow",
    "JPEG XL": "JPEG XL is read after: pip install pylibjxl",
    "camera raw": "Camera raw is read after: pip install rawpy",
    "SVG": "SVG is a drawing, not pixels, and is not read; export it as PNG.",
}
_SVG = re.compile(rb"\s*(?:<\?xml[^>]*>|<!--.*?-->|\s)*(?:<svg|<!DOCTYPE\s+svg|<[\w-]+:svg)", re.DOTALL)
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
_MAKE, _SUB_FILES, _KIND_OF_FILE, _DNG = 271, 330, 254, 50706  # tags of TIFF, of which many raw formats are a kind
_LOOK = 4096  # bytes
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
_SIGNATURES = (*_STARTS, b"RIFF", b"\0\0\0\x0cjP  ")


_KINDS = {"MPO": "jpeg", "HEIF": "heic", "DIB": "bmp"}
KINDS = frozenset({"raw", *(_KINDS.get(name, name.lower()) for name in _FORMATS)})
"""Kinds of picture files, as people call them: `jpeg`, `heic`, `raw` ..."""


def kind_of_format(name: str) -> str:
    """One of `KINDS` for a format as Pillow calls it."""
    return _KINDS.get(name, name.lower())


@lru_cache(maxsize=1)
def picture_formats() -> tuple[str, ...]:
    """Names of the picture formats that are read, as Pillow calls them."""
    Image.init()
    # pillow-heif is pi-heif with an encoder, and the one of the two that still gets new versions.
    for name in ("pillow_heif", "pi_heif"):
        try:
            __import__(name, fromlist=["register_heif_opener"]).register_heif_opener()
            break
        except ImportError:
            continue
    try:
        import pylibjxl
    except ImportError:  # the extra `jxl` is not installed
        pass
    else:
        pylibjxl.register_pillow()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@lru_cache(maxsize=1)
def picture_extensions() -> frozenset[str]:
    """Lower-case file name endings, with the dot, that are taken for pictures in a folder."""
    formats = {*picture_formats(), "MPO"}
    found = {ending for ending, name in Image.registered_extensions().items() if name in formats}
    return _OF_TELEPHONES | found | (RAW_ENDINGS if reads_raw() else frozenset())


def reads_raw() -> bool:
    """Whether previews inside camera raw can be read."""
    return find_spec("rawpy") is not None


def not_read(name: str) -> str | None:
    """The kind of a file in a folder that is a picture or a film and is passed over; None for any other file."""
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a text)
    return None if ending in picture_extensions() else _NOT_READ.get(ending)


def say_not_read(counts: Mapping[str, int]) -> str:
    """A sentence about files in the folders that are of kinds that are not read; empty where there are none.

    Args:
        counts: kind -> how many files.
    """
    kinds = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    parts = [f"{count:,} {kind}" + (f" ({_REMEDIES[kind]})" if kind in _REMEDIES else "") for kind, count in kinds]
    return f"Not read, as they are of other kinds: {', '.join(parts)}." if parts else ""


def begins_like_a_picture(path: str) -> bool:
    """Whether the first bytes of a file are those of the formats that telephones, cameras and pages make."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a text)
            start = file.read(16)
    except OSError:
        return False
    webp = start.startswith(b"RIFF") and start[8:12] == b"WEBP"
    return webp or start.startswith(_STARTS) or kind_of(start) in ("HEIC", "AVIF", "JPEG XL")


def kind_of(data: bytes, name: str | None = None) -> str | None:
    """The kind that a file is of: `HEIC`, `AVIF`, `JPEG XL`, `SVG` or `camera raw`; None for any other.

    Args:
        data: its bytes, or the first of them.
        name: of the file, where it is known: some raw formats are told from TIFF by nothing else.
    """
    start = data[:_LOOK]
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        others = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "camera raw"}
        return "HEIC" if brand in _HEIC else others.get(brand)
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    if start.startswith(_RAW) or (start[:4] in (b"II*\0", b"MM\0*") and _is_raw_tiff(data, name)):
        return "camera raw"
    for bom in _BOMS:
        start = start.removeprefix(bom)
    return "SVG" if _SVG.match(start.replace(b"\0", b"")) else None  # UTF-16 has a zero in every letter


def _is_raw_tiff(data: bytes, name: str | None) -> bool:
    if name is not None and os.path.splitext(name)[1].lower() in RAW_ENDINGS:  # noqa: PTH122
        return True
    order = "<" if data[:2] == b"II" else ">"
    try:
        (first,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, first)
        tags = {struct.unpack_from(f"{order}H", data, first + 2 + 12 * one)[0] for one in range(count)}
    except struct.error:
        return False
    return data[8:10] == b"CR" or _DNG in tags or {_MAKE, _SUB_FILES, _KIND_OF_FILE} <= tags


def advice(kind: str) -> str:
    """What to do about a picture of this kind that nothing installed opens."""
    return _ADVICE[kind]


def unidentified(data: bytes, where: str | None) -> PictureError:
    """Why a file cannot be opened that no reader of Pillow knows."""
    kind = kind_of(data)
    if kind is not None and {"HEIC": "HEIF", "JPEG XL": "JXL"}.get(kind, kind) not in picture_formats():
        return PictureError("unsupported", advice(kind), where=where)
    if kind is not None or data.startswith(_SIGNATURES):
        return PictureError("corrupt", "The picture is damaged (its header cannot be read).", where=where)
    return PictureError("not_an_image", "The file is not a picture in a format that is read.", where=where)
