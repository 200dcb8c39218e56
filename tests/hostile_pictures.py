"""A folder of damaged, hostile and odd files among good pictures, as the worst disk has them.

`python -m tests.hostile_pictures FOLDER PICTURE...` makes one by hand, around some good pictures.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import socket
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {"quality": 90}),
    "progressive.jpg": ("JPEG", {"progressive": True}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("BMP", {}),
    "avif": ("AVIF", {}),
    "jp2": ("JPEG2000", {}),
    "tga": ("TGA", {}),
    "ico": ("ICO", {}),
}
ANY = frozenset({None, "corrupt", "not_an_image", "too_many_pixels", "unsupported", "empty"})
"""Damage may hit what does not matter: such a file is tagged or refused, but never anything else."""


@dataclass
class Hostile:
    """What was made.

    Args:
        folder: holds all of it.
        good: name below the folder -> the picture it is a copy of.
        expected: name below the folder of every other file that is listed -> the codes it may end with (None: tagged).
    """

    folder: Path
    good: dict[str, Path] = field(default_factory=dict)
    expected: dict[str, frozenset[str | None]] = field(default_factory=dict)

    def put(self, name: str, data: bytes, *codes: str | None) -> None:
        """Write a file and note what it ends with; one code or several."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.expected[name] = frozenset(codes)

    def put_good(self, name: str, picture: Path) -> None:
        """Write a copy of a good picture."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.read_bytes())
        self.good[name] = picture


def make_hostile(folder: Path, pictures: list[Path]) -> Hostile:
    """Make the folder around copies of good pictures."""
    folder.mkdir(parents=True)
    made = Hostile(folder)
    for number, picture in enumerate(pictures):
        made.put_good(f"good/{number:03}{picture.suffix}", picture)
    _damage(made)
    _no_pictures(made)
    _bombs(made)
    _odd_but_usable(made, pictures[0])
    _names(made, pictures[0])
    _not_files(made, pictures[0])
    return made


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    """A picture in which every byte of a file matters."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _damage(made: Hostile) -> None:
    dice = random.Random(0)
    for ending, (kind, options) in FORMATS.items():
        data = encoded(noise(), kind, **options)
        for percent in (1, 5, 20, 50, 80, 95, 99):
            made.put(f"cut/{percent:02}.{ending}", data[: max(1, len(data) * percent // 100)], *ANY)
        for number in range(7):
            flipped = bytearray(data)
            for _ in range(1 + 3 * number):
                flipped[dice.randrange(len(data) if number % 2 else min(len(data), 200))] ^= 1 << dice.randrange(8)
            made.put(f"flipped/{number}.{ending}", bytes(flipped), *ANY)
        made.put(f"zeros/after_the_header.{ending}", data[:64] + bytes(len(data) - 64), *ANY)
        made.put(f"zeros/all.{ending}", bytes(1000), "not_an_image", "corrupt")


def _no_pictures(made: Hostile) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    svg = f'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY l0 "ha">{laughs}]><svg><text>&l11;</text></svg>'.encode()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", bytes(5_000_000))
    made.put("wrong/svg_bomb.jpg", svg, "unsupported")
    made.put("wrong/svg_bomb.png", b"\xef\xbb\xbf" + svg, "unsupported")
    made.put("wrong/svg.webp", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported")
    made.put("wrong/zip_bomb.jpg", zipped.getvalue(), "not_an_image")
    made.put("wrong/zip_bomb.png", zipped.getvalue(), "not_an_image")
    made.put("wrong/gzip_bomb.tif", gzip.compress(bytes(20_000_000)), "not_an_image")
    made.put("wrong/page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image")
    made.put("wrong/paper.png", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not_an_image")
    made.put("wrong/script.gif", b"%!PS-Adobe-3.0\n(x) run\n", "not_an_image")
    made.put("wrong/film.jpg", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "not_an_image")
    made.put("wrong/jxl.jpg", b"\xff\x0a\xfa\x1f" + bytes(50), "unsupported", "corrupt")
    made.put("wrong/telephone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported", "corrupt")
    made.put("wrong/program.bmp", Path(sys.executable).resolve().read_bytes()[:50_000], "not_an_image")
    made.put("wrong/empty.jpg", b"", "empty")
    made.put("wrong/empty.png", b"", "empty")
    for number, byte in enumerate((b"\0", b"\xff", b"\n", b"B")):
        made.put(f"wrong/one_byte_{number}.jpg", byte, "not_an_image", "corrupt")
    for ending, kind in (("jpg", "PNG"), ("png", "JPEG"), ("webp", "GIF"), ("gif", "WEBP"), ("bmp", "TIFF")):
        made.put(f"wrong/{kind.lower()}_called.{ending}", encoded(noise(), kind), None)


def _bombs(made: Hostile) -> None:
    made.put("bombs/60000.png", png(60_000, 60_000, [b""]), "too_many_pixels")
    made.put("bombs/giga.png", png(2**31 - 1, 2**31 - 1, [b""]), "too_many_pixels", "corrupt")
    made.put("bombs/65535.gif", b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\0;", "too_many_pixels")
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 154, 0, 0, 54, 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)
    made.put("bombs/100000.bmp", bmp + bytes(100), "too_many_pixels")
    jpeg = bytearray(encoded(noise(), "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 65_500, 65_500)
    made.put("bombs/65500.jpg", bytes(jpeg), "too_many_pixels")
    webp = bytearray(encoded(noise(), "WEBP", lossless=True))
    place = webp.index(b"VP8L") + 9
    webp[place : place + 4] = struct.pack("<I", 16383 | 16383 << 14)
    made.put("bombs/16384.webp", bytes(webp), "too_many_pixels", "corrupt")
    tiff = bytearray(encoded(Image.new("L", (8, 8)), "TIFF"))
    for tag in (256, 257):
        place = tiff.index(struct.pack("<HH", tag, 4)) + 8
        tiff[place : place + 4] = struct.pack("<I", 3_000_000)
    made.put("bombs/3000000.tif", bytes(tiff), "too_many_pixels", "corrupt")
    inner = png(30_000, 30_000, [b""])
    ico = struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(inner), 22) + inner
    made.put("bombs/inside.ico", ico, "too_many_pixels", "corrupt")
    loop = bytearray(encoded(Image.new("L", (8, 8)), "TIFF"))
    first = struct.unpack("<I", loop[4:8])[0]
    count = struct.unpack("<H", loop[first : first + 2])[0]
    loop[first + 2 + 12 * count : first + 6 + 12 * count] = struct.pack("<I", first)
    made.put("bombs/pages_in_a_circle.tif", bytes(loop), None)
    plain = [b"\0" + bytes(8 * 3)] * 8
    for name, chunk in {
        "profile": (b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000), 9)),
        "text": (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)),
        "text_again": (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(100_000_000), 9)),
    }.items():
        made.put(f"bombs/{name}.png", png(8, 8, plain, [chunk]), None, "corrupt")
    made.put("bombs/many_chunks.png", png(8, 8, plain, [(b"tEXt", b"a\0b")] * 100_000), None, "corrupt")
    for width, height, depth in ((10_000, 10_000, 8), (9_000, 14_000, 8)):  # 100 and 126 megapixels
        rows = (b"\0" + bytes(width * 3 * depth // 8) for _ in range(height))
        made.put(f"bombs/{width}x{height}.png", png(width, height, rows, depth=depth), None)
    made.put("bombs/100_megapixels.jpg", encoded(Image.new("L", (10_000, 10_000), 90), "JPEG"), None)
    made.put("bombs/many_scans.jpg", scan_bomb(1500, 200), None, "corrupt")
    made.put("bombs/last_row_missing.png", png(3000, 3000, [b"\0" + bytes(9000)] * 2999), None, "corrupt")


def scan_bomb(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: each costs a pass over all pixels, but only some bytes."""
    data = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def png(
    width: int, height: int, rows: object, chunks: list[tuple[bytes, bytes]] | None = None, *, depth: int = 8
) -> bytes:
    """An RGB PNG from rows that hold their filter byte, with further chunks."""
    press = zlib.compressobj(1)
    body = b"".join([press.compress(row) for row in rows]) + press.flush()  # type: ignore[attr-defined]
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *(chunks or []), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def _odd_but_usable(made: Hostile, picture: Path) -> None:
    image = noise()
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    made.put("odd/huge_exif.jpg", encoded(image, "JPEG", exif=exif), None)
    made.put("odd/broken_exif.jpg", encoded(image, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"), None)
    orientation = Image.Exif()
    orientation[0x0112] = 9
    made.put("odd/orientation_9.jpg", encoded(image, "JPEG", exif=orientation), None)
    made.put("odd/comment.jpg", encoded(image, "JPEG", comment=b"c" * 65_000), None)
    made.put("odd/huge_text.png", png(8, 8, [b"\0" + bytes(24)] * 8, [(b"tEXt", b"a\0" + b"b" * 5_000_000)]), None)
    made.put("odd/rubbish_after.jpg", encoded(image, "JPEG") + b"rubbish" * 100_000, None)
    made.put("odd/rubbish_after.png", encoded(image, "PNG") + bytes(1_000_000), None)
    for width, height in ((1, 1), (1, 60_000), (60_000, 1), (2, 30_000)):
        made.put(f"odd/{width}x{height}.png", encoded(Image.new("RGB", (width, height), "teal"), "PNG"), None)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16", "I", "F", "CMYK"):
        kind = "TIFF" if mode in ("I", "F", "CMYK") else "PNG"
        shown = image.convert("L").convert(mode) if mode in ("I;16", "I", "F") else image.convert(mode)
        made.put(f"odd/{mode.replace(';', '_')}.{kind.lower()}", encoded(shown, kind), None)
    short = Image.new("P", (8, 8), 200)  # an index beyond the palette
    short.putpalette([255, 0, 0])
    made.put("odd/short_palette.png", encoded(short, "PNG"), None, "corrupt")
    made.put("odd/short_palette.gif", encoded(short, "GIF"), None, "corrupt")
    frames = [noise(seed=seed) for seed in range(30)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "MPO"):
        made.put(f"odd/frames.{kind.lower()}", encoded(image, kind, save_all=True, append_images=frames), None)
    made.put("odd/profile.jpg", encoded(image, "JPEG", icc_profile=b"no profile" * 1000), None)
    made.put_good("odd/a.good.one.png", picture)


def _names(made: Hostile, picture: Path) -> None:
    names = [
        "new\nline.png",
        "tab\t.png",
        "\x1b[31mred.png",
        "-rf.png",
        "--help.png",
        " space .png",
        "*.png",
        "[1].png",
    ]
    names += [
        "😀🏖️.png",
        "日本語.png",
        "e\u0301.png",
        "\u202egnp.png",
        "'quoted'.png",
        '"double".png',
        "back\\slash.png",
    ]
    names += ["$(reboot).png", "a;b.png", "%s%n.png", "{x}.png", ":smile:.png", "[bold]x[/].png", "n" * 251 + ".png"]
    names += [os.fsdecode(b"\xff\xfe.png"), os.fsdecode("ä".encode("latin-1") + b".png"), "UPPER.PNG", "CON.png"]
    for name in names:
        try:
            made.put_good(f"names/{name}", picture)
        except OSError:  # a file system that takes less than Linux's own
            continue


def _not_files(made: Hostile, picture: Path) -> None:
    made.put_good("folders/photo.jpg/inside.png", picture)
    (made.folder / "folders/empty.jpg").mkdir()
    (made.folder / "folders/round").symlink_to(made.folder, target_is_directory=True)
    (made.folder / "folders/up.jpg").symlink_to("..", target_is_directory=True)
    made.put_good("/".join(["folders", *["deep"] * 100, "x.png"]), picture)
    beyond = _too_deep(made.folder / "folders")
    made.expected[beyond] = frozenset({"unreadable", "missing"})
    links = {"itself.png": "itself.png", "one.png": "two.png", "two.png": "one.png", "dangling.jpg": "nowhere.jpg"}
    for name, target in links.items():
        (made.folder / "folders" / name).symlink_to(target)
        made.expected[f"folders/{name}"] = frozenset({"missing", "unreadable"})
    for name, device in {"zero.png": "/dev/zero", "full.jpg": "/dev/full", "random.gif": "/dev/urandom"}.items():
        (made.folder / "folders" / name).symlink_to(device)
        made.expected[f"folders/{name}"] = frozenset({"unreadable"})
    os.mkfifo(made.folder / "folders/pipe.png")
    made.expected["folders/pipe.png"] = frozenset({"unreadable"})
    with socket.socket(socket.AF_UNIX) as listener, _inside(made.folder / "folders"):
        listener.bind("socket.jpg")  # the address has room for some hundred bytes only
    made.expected["folders/socket.jpg"] = frozenset({"unreadable"})
    made.put("folders/shut.png", picture.read_bytes(), "unreadable")
    (made.folder / "folders/shut.png").chmod(0)


def _too_deep(folder: Path) -> str:
    """Folders below each other to beyond the longest path; the one at which a walk must give up."""
    with _inside(folder):
        for _ in range(30):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
    path, relative = str(folder), "folders"
    while len(path.encode()) < os.pathconf("/", "PC_PATH_MAX"):
        path, relative = f"{path}/{'d' * 200}", f"{relative}/{'d' * 200}"
    return relative


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    hostile = make_hostile(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
    print(f"{len(hostile.good)} good and {len(hostile.expected)} other files in {hostile.folder}")
