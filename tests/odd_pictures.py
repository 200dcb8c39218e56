"""One picture file of every kind that goes wrong, or that looks as if it might."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

DAMAGED = {
    "corrupt.png": "corrupt",
    "truncated.jpg": "corrupt",
    "empty.jpg": "empty",
    "text.jpg": "not_an_image",
    "huge.png": "too_many_pixels",
}
"""Files that cannot be used, with the code of the error."""

USABLE = ("one_pixel.png", "cmyk.jpg", "sixteen_bit.png", "moving.gif")
"""Files that can."""


def draw_odd_pictures(folder: Path) -> list[Path]:
    """Write all of them; in the order of `DAMAGED` and `USABLE`."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    plain = Image.fromarray(noise)
    (folder / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n" + noise.tobytes())
    plain.save(folder / "truncated.jpg")
    whole = (folder / "truncated.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "huge.png").write_bytes(_png_of(60_000, 60_000))
    plain.crop((0, 0, 1, 1)).save(folder / "one_pixel.png")
    plain.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "sixteen_bit.png")
    plain.save(folder / "moving.gif", save_all=True, append_images=[plain.rotate(90), plain.rotate(180)])
    return [folder / name for name in (*DAMAGED, *USABLE)]


def _png_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
