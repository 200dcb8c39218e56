"""Open Clip Art: drawings of Debian's packages with the keywords of their authors. `python -m` of it draws its split.

A drawing is a PNG that is a file of its own (1,221 are links to one in another folder) and whose SVG, at the same
relative path, names keywords. Left out are `shapes/` and `computer/icons/` (thousands of nearly equal stars and theme
icons) and 16 drawings of more than 25 megapixels, which would take three quarters of all decoding time. What is left of
the keywords after the rules of `keywords.py` are the labels; drawings without any are left out.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

from tagprism.datasets.compact import FilesBelow, Ragged
from tagprism.datasets.debian_packages import unpack_packages
from tagprism.datasets.draw_split import divide_pictures
from tagprism.datasets.keywords import clean_keywords
from tagprism.datasets.near_duplicates import drawing_name, near_duplicates
from tagprism.datasets.splits import Split, load_split, seeded_draw
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError, MachineError
from tagprism.files import cache_dir, write_text

LEFT_OUT = ("shapes/", "computer/icons/")
"""Folders that are left out."""

MAX_PIXELS = 25_000_000
"""Drawings of more pixels are left out."""

LEAST_DRAWINGS = 8
"""Number of drawings that a label needs."""

SEED = 0
UNSEEN_LABELS = 40
UNSEEN_LEAST = {"drawings": 15, "groups": 10}
"""An unseen label has at least this many drawings, in so many groups of near-duplicates; rarer ones measure little."""

PARTS = {"train": 0.6, "val": 0.1, "test": 0.3}
"""Parts of the drawings, of all and of those of each label, as far as groups allow."""

PACKAGES = ("openclipart-png", "openclipart-svg")
_INSTALLED = Path("/usr/share/openclipart")
_OVERRIDE = "TAGPRISM_OPENCLIPART"
_INSTEAD = "Use your own pictures with --data tagged:DIR."
SPLIT_FILE = "openclipart_split.json"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"


@dataclass(frozen=True)
class Drawing:
    """One drawing as its author left it.

    Args:
        key: name of the PNG below `png/`, with forward slashes.
        keywords: as found.
        authors: as found.
    """

    key: str
    keywords: tuple[str, ...]
    authors: tuple[str, ...]


def open_openclipart(folder: Path | None = None) -> ImageTable:
    """Read Open Clip Art, fetching it first when it is not on this machine.

    Args:
        folder: holds `png/` and `svg/`; None finds or fetches them.

    Returns:
        Its table, by key; a label that a drawing does not have counts as negative.

    Raises:
        MachineError: when it cannot be fetched.
    """
    return openclipart_table(folder or fetch_openclipart())[0]


def default_openclipart_split(table: ImageTable) -> Split:
    """The split of labels and drawings that is part of the package, checked against the table."""
    with resources.as_file(resources.files("tagprism.datasets") / SPLIT_FILE) as path:
        return load_split(str(path), table)


def openclipart_table(folder: Path) -> tuple[ImageTable, tuple[Drawing, ...]]:
    """Table of the drawings below a folder, and for each row what its author wrote."""
    drawings = tuple(read_drawings(folder))
    names, labels_of = clean_keywords(
        [drawing.keywords for drawing in drawings],
        [drawing.authors for drawing in drawings],
        least=LEAST_DRAWINGS,
    )
    kept = [(drawing, labels) for drawing, labels in zip(drawings, labels_of, strict=True) if labels]
    column = {name: position for position, name in enumerate(names)}
    keys = tuple(drawing.key for drawing, _ in kept)
    table = ImageTable(
        kind="openclipart",
        files=FilesBelow(folder / "png", keys),
        keys=keys,
        labels=names,
        positive=Ragged.from_rows([[column[label] for label in labels] for _, labels in kept]),
        negative=Ragged.from_rows([[] for _ in kept]),
        unlisted="negative",
    )
    return table, tuple(drawing for drawing, _ in kept)


def read_drawings(folder: Path) -> Iterator[Drawing]:
    """Drawings below a folder with `png/` and `svg/`, sorted by key, without those left out."""
    keys = sorted(
        Path(parent, name).relative_to(folder / "png").as_posix()
        for parent, _, names in os.walk(folder / "png")
        for name in names
        if name.endswith(".png")
    )
    for key in keys:
        png, svg = folder / "png" / key, (folder / "svg" / key).with_suffix(".svg")
        if not png.is_symlink() and not key.startswith(LEFT_OUT) and svg.is_file() and _pixels(png) <= MAX_PIXELS:
            keywords, authors = read_svg_metadata(svg.read_bytes())
            yield Drawing(key, keywords, authors)


def _pixels(png: Path) -> int:
    """Size from a PNG's first chunk, without decoding; 0 where there is none."""
    with png.open("rb") as file:
        head = file.read(24)
    width, height = struct.unpack(">II", head[16:24]) if len(head) == 24 else (0, 0)
    return int(width * height)


def read_svg_metadata(svg: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keywords (`dc:subject`) and authors (`dc:creator`) of an SVG.

    Args:
        svg: the file. One that declares entities is not parsed, as entities can expand without end.

    Returns:
        keywords, authors: as written but for white space; both empty when there is no metadata or the file is not XML.
    """
    if b"<!ENTITY" in svg:
        return (), ()
    try:
        for _, part in ElementTree.iterparse(io.BytesIO(svg)):
            if part.tag.rpartition("}")[2] == "metadata":  # what follows are the paths, most of the file
                return _texts(part, "subject"), _texts(part, "creator")
    except ElementTree.ParseError:
        pass
    return (), ()


def _texts(metadata: ElementTree.Element, term: str) -> tuple[str, ...]:
    """Texts of a Dublin Core term: its own or those of its parts, with single spaces."""
    texts = (" ".join(text.split()) for part in metadata.iter(_DUBLIN_CORE + term) for text in part.itertext())
    return tuple(text for text in texts if text)


def find_openclipart() -> Path | None:
    """Folder with `png/` and `svg/` that is here already, or None.

    The environment variable `TAGPRISM_OPENCLIPART` comes first, then the installed Debian packages, then the cache.

    Raises:
        InputError: when the environment variable names another kind of folder.
    """
    named = os.environ.get(_OVERRIDE)
    if named and not _is_complete(Path(named)):
        raise InputError("the folder must hold png/ and svg/ of Open Clip Art.", where=f"{_OVERRIDE}={named}")
    folders = [Path(named)] if named else [_INSTALLED, _cached()]
    return next((folder for folder in folders if _is_complete(folder)), None)


def fetch_openclipart() -> Path:
    """Folder with `png/` and `svg/`; Debian's packages are downloaded (about 156 MB) and unpacked when it is not here.

    Returns:
        The folder.

    Raises:
        MachineError: when this is not Debian, or the download or the disk refuses.
    """
    here = find_openclipart()
    if here is not None:
        return here
    unpack_packages(PACKAGES, cache_dir() / "openclipart", what="Open Clip Art", remedy=_INSTEAD)
    if not _is_complete(_cached()):
        raise MachineError("the packages do not hold what they should.", where="openclipart", remedy=_INSTEAD)
    return _cached()


def _cached() -> Path:
    return cache_dir() / "openclipart" / _INSTALLED.relative_to("/")


def _is_complete(folder: Path) -> bool:
    return (folder / "png").is_dir() and (folder / "svg").is_dir()


def write_split(folder: Path, target: Path) -> None:
    """Draw the split and write it, one name a line.

    Args:
        folder: holds `png/` and `svg/`.
        target: the JSON file.
    """
    table, drawings = openclipart_table(folder)
    groups = near_duplicates(table, [drawing_name(drawing.key, drawing.authors) for drawing in drawings])
    split = draw_openclipart_split(table, groups)
    write_text(target, json.dumps(split.to_json(), indent=0, ensure_ascii=False) + "\n")


def draw_openclipart_split(table: ImageTable, groups: Mapping[str, str], seed: int = SEED) -> Split:
    """Draw the unseen labels at random, and the parts so that every label has its share in each.

    Args:
        table: the drawings.
        groups: drawing -> its group of near-duplicates, for those to be used.
        seed: another seed, another split.

    Returns:
        The split; every group is in one part.
    """
    unseen = _unseen_labels(table, groups, seed)
    seen = tuple(label for label in table.labels if label not in unseen)
    keys = divide_pictures(table, groups, PARTS, seed)
    split = Split(seen=seen, unseen=unseen, train=keys["train"], val=keys["val"], test=keys["test"], name="openclipart")
    split.check(table)
    return split


def _unseen_labels(table: ImageTable, groups: Mapping[str, str], seed: int) -> tuple[str, ...]:
    used = [(groups[key], table.positive[row].tolist()) for row, key in enumerate(table.keys) if key in groups]
    drawings = Counter(column for _, columns in used for column in columns)
    apart = Counter(column for _, column in {(its, column) for its, columns in used for column in columns})
    common = [
        table.labels[column]
        for column, times in drawings.items()
        if times >= UNSEEN_LEAST["drawings"] and apart[column] >= UNSEEN_LEAST["groups"]
    ]
    return tuple(sorted(sorted(common, key=lambda label: seeded_draw(seed, label))[:UNSEEN_LABELS]))


if __name__ == "__main__":
    write_split(fetch_openclipart(), Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name(SPLIT_FILE))
