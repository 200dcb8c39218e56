"""Write photographs of animals, tools and buildings with nobody in them, which tell where no person is.

  python recipes/photos_lite/nobody.py INTO

They come inside a package of Debian, which is downloaded, each free under a licence of its own. Nearly all caption
photos show a person, and Corel-5k's are small. No head trains on these; the probabilities are fitted on them too.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from tagprism.app import console
from tagprism.datasets.debian_packages import unpack_packages
from tagprism.errors import InputError
from tagprism.files import replaced_whole

PACKAGE, RESOURCES = "gcompris-qt-data", "usr/share/gcompris-qt/rcc"
PATTERNS = (  # of paths within the files of the package; the rest are drawings, or show somebody
    "*/categorization/*/fishes/*.webp",
    "*/categorization/*/monuments/*.webp",
    "*/categorization/*/others/*.webp",
    "*/categorization/*/tools/*.webp",
    "*/erase/resource/*.webp",
    "*/explore_farm_animals/*/animals/*.webp",
    "*/explore_monuments/resource/*/*.webp",
    "*/explore_world_animals/*/animals/*.webp",
)
PHOTOS = 217  # that the patterns find in the package this was written for
_FOLDER, _COMPRESSED, _ZSTD = 2, 1, 4  # flags of an entry


def resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of a resource file of Qt (`rcc --binary`); what zstd compressed is left out."""
    magic, version, tree, contents, names = struct.unpack_from(">4s4I", data)
    assert magic == b"qres", magic
    size = 14 if version < 2 else 22

    def entries(number: int, above: str) -> Iterator[tuple[str, bytes]]:
        name, flags = struct.unpack_from(">IH", data, tree + number * size)
        (length,) = struct.unpack_from(">H", data, names + name)
        path = above + data[names + name + 6 : names + name + 6 + 2 * length].decode("utf-16-be") if number else ""
        if flags & _FOLDER:
            count, first = struct.unpack_from(">II", data, tree + number * size + 6)
            for child in range(first, first + count):
                yield from entries(child, f"{path}/" if path else "")
        elif not flags & _ZSTD:
            (start,) = struct.unpack_from(">I", data, tree + number * size + 10)
            (length,) = struct.unpack_from(">I", data, contents + start)
            content = data[contents + start + 4 : contents + start + 4 + length]
            yield path, zlib.decompress(content[4:]) if flags & _COMPRESSED else content

    yield from entries(0, "")


def main() -> None:
    """Download, unpack and write."""
    into, count = Path(sys.argv[1]), 0
    with tempfile.TemporaryDirectory() as place, replaced_whole(into) as beside:
        unpacked = Path(place) / "package"
        unpack_packages([PACKAGE], unpacked, what="photographs with nobody in them", remedy="Run this on Debian.")
        beside.mkdir()
        for file in sorted((unpacked / RESOURCES).glob("*.rcc")):
            for path, content in resources(file.read_bytes()):
                if any(fnmatchcase(path, pattern) for pattern in PATTERNS):
                    (beside / path.replace("/", "_")).write_bytes(content)
                    count += 1
        if count < PHOTOS:
            what = f"is another version: of the {PHOTOS} photographs {count} are in it and not packed with zstd."
            raise InputError(what, where=PACKAGE, remedy="Run this on Debian 12.")
    console.say(f"{count} photos in {into}")


if __name__ == "__main__":
    sys.exit(console.run(main))
