"""Pictures made to take memory: of any format and mode, decoding one takes at most 600 MB, and so do several together.

The peak is that of a process of its own, which a small shell starts: a process begins with the peak of its parent.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagprism.images import picture_file
from tagprism.images.decode import MAX_PIXELS
from tagprism.images.picture_file import picture_formats
from tests.images.made import encoded, smooth

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no getrusage")
MOST = 600  # megabytes
LOOK = """
import resource, sys, threading
from pathlib import Path
from tagprism.errors import PictureError
from tagprism.images.decode import open_picture, picture_formats
from tests.images.made import encoded, smooth
picture_formats()
open_picture(encoded(smooth(), "PNG"), draft_size=(448, 448))
per_unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * per_unit
data, side, before = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), peak()
said = []
def look():
    try:
        said.append(f"read {open_picture(data, draft_size=(side, side) if side else None).mode}")
    except PictureError as error:
        said.append(error.code)
workers = [threading.Thread(target=look) for _ in range(int(sys.argv[3]))]
[one.start() for one in workers]
[one.join() for one in workers]
print((peak() - before) // 1_000_000, *sorted(set(said)), sep=",")
"""


def looked_at(folder: Path, data: bytes, *, side: int = 448, threads: int = 1) -> tuple[int, str]:
    """Megabytes by which a process grew that looked at a picture, and what came of it."""
    path = folder / "picture"
    path.write_bytes(data)
    shell = ["sh", "-c", '"$0" "$@"; exit $?', sys.executable, "-c", LOOK, str(path), str(side), str(threads)]
    root = Path(__file__).parents[2]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    megabytes, said = done.stdout.strip().split(",", 1)
    return int(megabytes), said


def png(width: int, height: int, *, depth: int, colour: int, further: bytes = b"") -> bytes:
    """An empty PNG of any size in a few bytes.

    Args:
        depth: bits of a sample.
        colour: PNG's colour type.
        further: chunks before the pixels.
    """
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    press, row = zlib.compressobj(1), bytes(1 + (width * depth * samples + 7) // 8)
    body = b"".join(press.compress(row) for _ in range(height)) + press.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + further + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg_of_size(width: int, height: int, **options: object) -> bytes:
    """A JPEG whose header promises more than there is: decoders then fill it up."""
    data = bytearray(encoded(smooth(64, 64), "JPEG", **options))
    place = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def icon(width: int, height: int) -> bytes:
    """An icon of 256 pixels by its header, with a larger picture inside."""
    inside = png(width, height, depth=8, colour=6)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(inside), 22) + inside


CLEAR = chunk(b"tRNS", b"\0\0")
PALETTE = chunk(b"PLTE", bytes(768)) + chunk(b"tRNS", bytes(256))
SIDE = int(MAX_PIXELS**0.5)  # of the largest picture that may be decoded
HUGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "png of 1 bit with transparency": (lambda: png(SIDE, SIDE, depth=1, colour=0, further=CLEAR), "read RGB"),
    "png with a palette": (lambda: png(SIDE, SIDE, depth=1, colour=3, further=PALETTE), "read RGB"),
    "png of one line": (lambda: png(SIDE * SIDE, 1, depth=1, colour=0, further=CLEAR), "too_many_pixels"),
    "png of 16 bits": (lambda: png(12_000, 12_000, depth=16, colour=0), "read RGB"),
    "png with alpha": (lambda: png(11_500, 11_500, depth=8, colour=6), "read RGB"),
    "png with alpha, too large": (lambda: png(SIDE, SIDE, depth=8, colour=6), "too_many_pixels"),
    "gif": (lambda: encoded(Image.new("P", (11_000, 11_000)), "GIF", transparency=0), "read RGB"),
    "progressive jpeg": (lambda: jpeg_of_size(9_000, 9_000, progressive=True, subsampling=0), "read RGB"),
    "progressive jpeg, too large": (
        lambda: jpeg_of_size(18_000, 18_000, progressive=True, subsampling=0),
        "too_many_pixels",
    ),
    "jpeg of 324 megapixels": (lambda: jpeg_of_size(18_000, 18_000), "read RGB"),
    "icon with a larger picture inside": (lambda: icon(20_000, 20_000), "too_many_pixels"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE)
def test_a_picture_made_to_take_memory_takes_at_most_600_megabytes(tmp_path: Path, name: str) -> None:
    make, expected = HUGE[name]
    megabytes, said = looked_at(tmp_path, make())
    assert said == expected
    assert megabytes <= (MOST if said.startswith("read") else 100)


# Megapixels near the largest that each format may have; what its decoder holds beside the picture decides.
DECODERS = {
    "WEBP": (30, {"lossless": True, "quality": 0, "method": 0}),
    "AVIF": (38, {"speed": 10}),
    "HEIF": (54, {"quality": 20}),
    "JPEG2000": (27, {}),
    "JXL": (27, {"effort": 3}),
    "TIFF": (54, {"compression": "tiff_lzw", "strip_size": 1 << 30}),
    "SGI": (54, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DECODERS)
def test_what_a_decoder_holds_is_counted(tmp_path: Path, kind: str) -> None:
    if kind in ("HEIF", "JXL"):
        pytest.importorskip({"HEIF": "pillow_heif", "JXL": "pylibjxl"}[kind])
    megapixels, options = DECODERS[kind]
    picture_formats()  # registers them, for writing too
    side = int((megapixels * 1e6) ** 0.5)
    image = Image.fromarray(np.tile(np.arange(side, dtype=np.uint8)[:, None, None], (1, side, 3)))
    megabytes, said = looked_at(tmp_path, encoded(image, kind, **options))
    assert said == "read RGB"
    assert megabytes <= MOST


@pytest.mark.slow
def test_pictures_decoded_at_the_same_time_share_the_memory(tmp_path: Path) -> None:
    data = png(8_000, 8_000, depth=8, colour=6)  # 256 MB each as it is decoded
    megabytes, said = looked_at(tmp_path, data, threads=4)
    assert said == "read RGB"
    assert megabytes <= MOST


@pytest.mark.slow
def test_without_a_smaller_size_in_mind_the_whole_picture_is_counted(tmp_path: Path) -> None:
    megabytes, said = looked_at(tmp_path, png(8_000, 8_000, depth=8, colour=6), side=0)
    assert (said, megabytes <= MOST) == ("read RGB", True)
    assert looked_at(tmp_path, png(11_000, 11_000, depth=8, colour=6), side=0)[1] == "too_many_pixels"


def test_the_gate_lets_in_what_fits_and_what_is_too_large_alone() -> None:
    gate, inside, most, order = picture_file.Gate(100), 0, 0, []
    count = threading.Lock()

    def enter(size: int) -> None:
        nonlocal inside, most
        with gate.holding(size):
            with count:
                inside += size
                most = max(most, inside)
                order.append(size)
            time.sleep(0.01)
            with count:
                inside -= size

    for sizes, expected in (([40] * 6, 80), ([150] * 3, 150), ([100, 30, 30, 30], 100)):
        most = 0
        workers = [threading.Thread(target=enter, args=(size,)) for size in sizes]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert most <= expected
    assert len(order) == 13


def test_several_scans_are_recognised_whatever_the_header_calls_them() -> None:
    """A sequential JPEG may have its colours one after the other too; its decoder then holds all of it."""
    for options, whole in (({}, False), ({"progressive": True}, True)):
        data = encoded(smooth(), "JPEG", **options)
        with Image.open(io.BytesIO(data)) as image:
            assert picture_file.is_kept_whole(image, data) is whole
    apart = bytearray(encoded(smooth(), "JPEG"))
    apart[apart.index(b"\xff\xda") + 4] = 1
    with Image.open(io.BytesIO(apart)) as image:
        assert picture_file.is_kept_whole(image, bytes(apart))
