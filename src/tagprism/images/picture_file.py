"""The bytes of one picture, in a file or in a shard: read, told what they are, and how many more decoding them takes.

Who finds too little memory free waits for the others. Decodes nothing.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from tagprism.errors import PictureError

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 2**29
"""Cap on a file's size; a picture is read whole, so that its digest and its pixels come from the same bytes."""

MAX_PIXELS = 2 * 89_478_485
"""Default cap on width x height: the one at which Pillow itself refuses (about 179 megapixels). A JPEG that is decoded
at reduced size costs less and may have twice as many: telephones make photos of 200 megapixels."""

MAX_MEMORY = 600_000_000
"""Bytes that decoding one picture may take, whatever its format and mode, and that all pictures which are being decoded
take together: one that finds less free waits."""

# An allow-list: Pillow also "opens" PostScript (by running Ghostscript), video and scientific containers.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "MPO", "PPM", "TGA", "ICO"),
    *("ICNS", "PCX", "DDS", "PSD", "QOI", "SGI", "XBM", "XPM", "JXL"),
)
RAW_NAMES = "3fr arw cr2 cr3 crw dcr dng erf iiq kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf srw x3f"
RAW_ENDINGS = frozenset(f".{RAW_NAMES}".replace(" ", " .").split())
_SVG = re.compile(rb"\s*(?:<\?xml[^>]*>|<!--.*?-->|\s)*(?:<svg|<!DOCTYPE\s+svg|<[\w-]+:svg)", re.DOTALL)
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_BRANDS = dict.fromkeys(_HEIC, "HEIC") | {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "camera raw"}
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
_MAKE, _SUB_FILES, _KIND_OF_FILE, _DNG = 271, 330, 254, 50706  # tags of TIFF, of which many raw formats are a kind
# Bytes a pixel that a decoder holds beside the picture it fills, as measured; tests/attack/test_pictures.py holds them:
# frames in the format's own colours, a second canvas, wide numbers. Formats that are not here go line by line.
_DECODER = {"WEBP": 12.5, "AVIF": 10.0, "HEIF": 6.0, "JPEG2000": 16.0, "JXL": 16.0, "QOI": 6.0, "DDS": 5.0, "SGI": 3.0}
_DECODER |= {"PPM": 4.0, "XPM": 4.0, "GIF": 1.0, "ICO": 8.0, "ICNS": 24.0}
_ONE_BYTE, _TWO_BYTES = ("1", "L", "P"), ("I;16", "I;16L", "I;16B", "I;16N")
_NESTED = ("ICO", "ICNS")  # a picture inside may be larger than their header says
_INSIDE = re.compile(rb"\x89PNG\r\n\x1a\n.{4}IHDR(.{8})|ihdr(.{8})|\xff\x4f\xff\x51.{4}(.{8})", re.DOTALL)
_PARTS = 48_000_000  # bytes of the parts in which a picture is converted, and of what the allocator keeps of them
_COEFFICIENT = 2  # bytes
_TILES, _ROWS, _BITS = (322, 323), 278, 258  # tags of TIFF


@dataclass(frozen=True)
class StoredPicture(os.PathLike[str]):
    """A picture that a shard holds; `os.fspath` names it as `SHARD/KEY`, for people and for caches.

    Args:
        shard: the file that it is in.
        key: its name in the data set.
        first, second: where it is in the shard, as its format counts.
    """

    shard: Path
    key: str
    first: int
    second: int

    def __fspath__(self) -> str:
        """`SHARD/KEY`; no file lies there."""
        return f"{os.fspath(self.shard)}/{self.key}"

    __str__ = __fspath__

    @property
    def name(self) -> str:
        """The last part of its key."""
        return PurePosixPath(self.key).name

    def absolute(self) -> StoredPicture:
        """With the whole path of its shard."""
        return replace(self, shard=self.shard.absolute())

    def stat(self) -> os.stat_result:
        """Size and time of its shard, by which a later change is told."""
        return self.shard.stat()

    def read(self, most: int) -> bytes:
        """Its bytes.

        Args:
            most: cap on their number.

        Raises:
            PictureError: the shard is gone, was cut short, or holds more than `most` bytes for it.
        """
        where = os.fspath(self)
        try:
            data = self._stored(most)
        except FileNotFoundError as error:
            raise PictureError("missing", "The shard is not there.", where=where) from error
        except (OSError, ValueError, IndexError) as error:  # the errors of pyarrow are among them
            reason = getattr(error, "strerror", None) or error
            raise PictureError("unreadable", f"The shard cannot be read ({reason}).", where=where) from error
        if not data:
            raise PictureError("empty", "The picture has zero bytes.", where=where)
        check_size(len(data), most, where)
        return data

    def _stored(self, most: int) -> bytes | None:
        """The bytes as they are in the shard; a format that knows their number refuses more than `most` unread."""
        raise NotImplementedError


def check_size(size: int, most: int, where: str) -> None:
    """Refuse a picture of more than so many bytes.

    Raises:
        PictureError: `unsupported`.
    """
    if size > most:
        message = f"The file has {size / 2**20:,.0f} MiB; at most {most // 2**20:,} MiB are read."
        raise PictureError("unsupported", message, where=where)


PictureFile: TypeAlias = Path | StoredPicture
"""What a data set lists: a picture file, or a picture in a shard."""


def read_bytes(path: str | os.PathLike[str], most: int = MAX_BYTES) -> bytes:
    """Read a picture file whole, never waiting on a pipe.

    Args:
        path: a regular file (or a link to one), or a picture in a shard.
        most: cap on its size, in bytes.

    Returns:
        The file's bytes, at least one.

    Raises:
        PictureError: `missing`, `unreadable` (permission, folder, pipe, device), `empty` or `unsupported` (too large).
    """
    where = os.fsdecode(path)
    if isinstance(path, StoredPicture):
        return path.read(most)
    try:
        # Opened without blocking: a plain open of a named pipe waits for a writer for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
                raise PictureError("unreadable", f"This is {kind}, not a picture file.", where=where)
            check_size(status.st_size, most, where)
            data = file.read(status.st_size + 1)  # not to its end: another program may be writing it
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError("missing", "There is no such file.", where=where) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise PictureError("unreadable", f"The file cannot be read ({reason}).", where=where) from error
    if not data:
        raise PictureError("empty", "The file has zero bytes.", where=where)
    return data


@lru_cache(maxsize=1)
def picture_formats() -> tuple[str, ...]:
    """Names of the picture formats that are read, as Pillow calls them."""
    from PIL import Image  # here, as a data set is listed without it

    Image.init()
    # pillow-heif is pi-heif with an encoder, and the one of the two that still gets new versions.
    for name in ("pillow_heif", "pi_heif"):
        with suppress(ImportError):
            __import__(name, fromlist=["register_heif_opener"]).register_heif_opener()
            break
    with suppress(ImportError):  # the extra `jxl` is not installed
        import pylibjxl

        pylibjxl.register_pillow()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def kind_of(data: bytes, name: str | None = None) -> str | None:
    """The kind that a file is of: `HEIC`, `AVIF`, `JPEG XL`, `SVG` or `camera raw`; None for any other.

    Args:
        data: its bytes, or the first of them.
        name: of the file, where it is known: some raw formats are told from TIFF by nothing else.
    """
    start = data[:4096]
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12])
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


def bytes_to_decode(image: Image.Image, data: bytes, size: tuple[int, int], result: float) -> int:
    """Bytes that are held at most while a picture is decoded and brought to sRGB.

    Args:
        image: opened, not loaded; with the size at which its decoder gives it.
        data: its file.
        size: (width, height) in the file.
        result: bytes that are made of each decoded pixel.
    """
    pixels = pixels_stored(image, data)
    stored = 1 if image.mode in _ONE_BYTE else 2 if image.mode in _TWO_BYTES else 4
    held = min(_PARTS, 16 * pixels) + len(data) + pixels * (stored + _DECODER.get(image.format or "", 0.0) + result)
    return int(held) + (_coefficients(image, size) if is_kept_whole(image, data) else _strip(image))


def _strip(image: Image.Image) -> int:
    """Bytes of a part of a TIFF that is unpacked at once, which may be all of it."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return 0
    width, height = (tags.get(tag) for tag in _TILES)
    if not (isinstance(width, int) and isinstance(height, int)):
        rows = tags.get(_ROWS)
        width, height = image.width, min(rows if isinstance(rows, int) else image.height, image.height)
    bits = tags.get(_BITS, (8,))
    return 2 * width * height * sum(bits if isinstance(bits, tuple) else (bits,)) // 8


def is_kept_whole(image: Image.Image, data: bytes) -> bool:
    """Whether a JPEG's decoder holds all of it at full size, whatever the size asked for: several scans make it up."""
    layers = getattr(image, "layer", None)
    if not layers:
        return False
    if image.info.get("progressive"):
        return True
    position = data.find(b"\xff\xda")  # the first scan; one of all components is decoded line by line
    return position > 0 and data[position + 4 : position + 5] != bytes([len(layers)])


def _coefficients(image: Image.Image, size: tuple[int, int]) -> int:
    layers = image.layer  # type: ignore[attr-defined]
    across, down = max(layer[1] for layer in layers), max(layer[2] for layer in layers)
    share = sum(layer[1] * layer[2] for layer in layers) / (across * down)
    return int(size[0] * size[1] * share * _COEFFICIENT)


def pixels_stored(image: Image.Image, data: bytes) -> int:
    """Pixels of an opened picture; of an icon those of the largest PNG or JPEG 2000 in it, if they are more."""
    own: int = image.width * image.height
    if image.format not in _NESTED:
        return own
    found = [b"".join(sides for sides in match.groups() if sides) for match in _INSIDE.finditer(data)]
    return max([own, *(int(width * height) for width, height in map(struct.Struct(">II").unpack, found))])


class Gate:
    """Lets pictures in as long as all that are inside take no more than so many bytes; in the order of their coming.

    Args:
        limit: bytes; a picture that takes more is let in alone.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self._held = limit, 0
        self._first, self._less = threading.Lock(), threading.Condition()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Wait until so many bytes are free, and hold them in the block."""
        with self._first, self._less:  # the others queue at the lock, so that a large one comes to its turn
            self._less.wait_for(lambda: not self._held or self._held + size <= self.limit)
            self._held += size
        try:
            yield
        finally:
            with self._less:
                self._held -= size
                self._less.notify()
