"""Which files in a folder are taken for pictures, and what to do about kinds that are not read. Decodes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec

from PIL import Image

from tagprism.errors import PictureError
from tagprism.images.picture_file import FORMATS, RAW_ENDINGS, RAW_NAMES, kind_of, picture_formats

_OF_TELEPHONES = frozenset({".heic", ".heif", ".hif", ".avif"})
"""Listed also where nothing installed reads them, so that each is reported with the reason."""

_NOT_READ_NAMES = {
    "camera raw": RAW_NAMES,
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
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
_SIGNATURES = (*_STARTS, b"RIFF", b"\0\0\0\x0cjP  ")


_KINDS = {"MPO": "jpeg", "HEIF": "heic", "DIB": "bmp"}
KINDS = frozenset({"raw", *(_KINDS.get(name, name.lower()) for name in FORMATS)})
"""Kinds of picture files, as people call them: `jpeg`, `heic`, `raw` ..."""


def kind_of_format(name: str) -> str:
    """One of `KINDS` for a format as Pillow calls it."""
    return _KINDS.get(name, name.lower())


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
