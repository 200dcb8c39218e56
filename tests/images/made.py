"""Pictures for tests, made on the spot: smooth colours, and a camera's raw file around a preview."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(width: int = 64, height: int = 48) -> Image.Image:
    """A picture that lossy formats keep nearly as it is; every corner has its own colour."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray(np.stack([255 * x, 255 * y, 128 + 0 * x], axis=-1).astype(np.uint8))


def profile_bytes() -> bytes:
    """An RGB profile with exchanged red and blue: built from sRGB's by renaming its colorant tags."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    for entry in range(count):
        place = 132 + 12 * entry
        tag = bytes(data[place : place + 4])
        data[place : place + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(tag, tag)
    return bytes(data)


def dng(preview: bytes | None, *, orientation: int = 1, taken: str = "2021:05:06 07:08:09", side: int = 64) -> bytes:
    """A DNG as a camera writes it: the mosaic of its sensor, and a JPEG preview in a part of its own.

    Args:
        preview: a JPEG; None leaves it out.
        orientation: of the camera, as EXIF counts it.
        taken: when, as EXIF writes it.
        side: of the mosaic, which is twice as wide as high.
    """
    mosaic = np.random.default_rng(0).integers(0, 4000, (side, 2 * side), dtype=np.uint16).tobytes()
    width, height = Image.open(io.BytesIO(preview)).size if preview else (0, 0)
    blobs, place = [], 8
    parts: list[list[tuple[int, int, tuple[int, ...] | bytes]]] = []

    def put(data: bytes) -> int:
        nonlocal place
        blobs.append(data + bytes(len(data) % 2))
        place += len(blobs[-1])
        return place - len(blobs[-1])

    matrix = struct.pack("<18i", *(value for one in np.eye(3).ravel() for value in (int(one * 10000), 10000)))
    parts.append(
        [
            (254, 4, (0,)), (256, 4, (2 * side,)), (257, 4, (side,)), (258, 3, (16,)), (259, 3, (1,)),
            (262, 3, (32803,)), (271, 2, b"Maker\0"), (272, 2, b"Maker One\0"), (273, 4, (put(mosaic),)),
            (274, 3, (orientation,)), (277, 3, (1,)), (278, 4, (side,)), (279, 4, (len(mosaic),)),
            (306, 2, b"2022:01:01 00:00:00\0"), (33421, 3, (2, 2)), (33422, 1, b"\0\1\1\2"),
            (50706, 1, b"\1\4\0\0"), (50708, 2, b"Maker One\0"), (50721, 10, matrix),
        ]
    )  # fmt: skip
    exif = [(36867, 2, taken.encode() + b"\0")]
    if preview is not None:
        parts.append(
            [
                (254, 4, (1,)), (256, 4, (width,)), (257, 4, (height,)), (258, 3, (8, 8, 8)), (259, 3, (7,)),
                (262, 3, (6,)), (273, 4, (put(preview),)), (277, 3, (3,)), (278, 4, (height,)),
                (279, 4, (len(preview),)),
            ]
        )  # fmt: skip

    def directory(entries: list[tuple[int, int, tuple[int, ...] | bytes]]) -> int:
        sizes, letters, body = {1: 1, 2: 1, 3: 2, 4: 4, 10: 8}, {3: "H", 4: "I"}, b""
        for tag, kind, values in sorted(entries):
            data = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{letters[kind]}", *values)
            held = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", put(data))
            body += struct.pack("<HHI", tag, kind, len(data) // sizes[kind]) + held
        return put(struct.pack("<H", len(entries)) + body + bytes(4))

    further = [directory(one) for one in parts[1:]]
    first = [*parts[0], (34665, 4, (directory(exif),))]
    if further:
        first.append((330, 4, tuple(further)))
    start = directory(first)
    return b"II*\0" + struct.pack("<I", start) + b"".join(blobs)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says that it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
