"""Keywords inside picture files, in every place and charset in which programs leave them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from tagprism.images.metadata import embedded, read_embedded_keywords

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")


def iptc_block(*words: bytes, stated: bool = False) -> bytes:
    """A Photoshop segment of a JPEG with IPTC keywords."""

    def dataset(record: int, number: int, value: bytes) -> bytes:
        return bytes([0x1C, record, number]) + len(value).to_bytes(2) + value

    data = (dataset(1, 90, b"\x1b%G") if stated else b"") + b"".join(dataset(2, 25, word) for word in words)
    data += b"\0" * (len(data) % 2)
    body = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(data).to_bytes(4) + data
    return b"\xff\xed" + (len(body) + 2).to_bytes(2) + body


def jpeg_with(tmp_path: Path, segment: bytes) -> bytes:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (8, 8)).save(path)
    data = path.read_bytes()
    return data[:2] + segment + data[2:]


@pytest.mark.parametrize(
    ("words", "stated", "read", "charset"),
    [
        ([b"M\xc3\xbcller", "日本".encode()], False, ("Müller", "日本"), "UTF8"),
        (["Müller".encode()], True, ("Müller",), ""),
        ([b"M\xfcller", b"caf\xe9"], False, ("Müller", "café"), "Latin"),
        ([b"M\xfcller", "café".encode()], False, ("Müller", "café"), "Latin"),
        ([b"\x93quoted\x94"], False, ("“quoted”",), "Latin"),
        ([b"plain"], False, ("plain",), ""),
    ],
)
def test_iptc_is_utf8_where_it_is_valid_utf8(
    tmp_path: Path, words: list[bytes], stated: bool, read: tuple[str, ...], charset: str
) -> None:
    found = embedded(jpeg_with(tmp_path, iptc_block(*words, stated=stated)))
    assert (found.iptc, found.charset) == (read, charset)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), max_size=4))
@settings(deadline=None, max_examples=50)
def test_any_undeclared_utf8_is_read_back(words: list[str]) -> None:
    data = (Path(__file__).parents[1] / "photos" / "coffee.jpg").read_bytes()
    block = iptc_block(*(word.encode() for word in words))
    assert embedded(data[:2] + block + data[2:]).iptc == tuple(words)


def test_keywords_of_the_windows_explorer(tmp_path: Path) -> None:
    path, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[ExifTags.Base.XPKeywords] = "Safari; Zebra;日本\0".encode("utf-16-le")
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    assert read_embedded_keywords(path) == (b"", ("Safari", "Zebra", "日本"))


@needs_exiftool
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.webp", "photo.tif"])
def test_what_exiftool_writes_is_read(tmp_path: Path, name: str) -> None:
    """It puts the XMP of a PNG after the pixels."""
    path = tmp_path / name
    Image.new("RGB", (8, 8)).save(path)
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-XMP-dc:Subject=Küste", path], check=True)
    assert "Küste".encode() in read_embedded_keywords(path)[0]


@pytest.mark.parametrize("end", [0, 20, 60, 61, 62, 200])
def test_damage_is_no_error(tmp_path: Path, end: int) -> None:
    whole = jpeg_with(tmp_path, iptc_block("Müller".encode(), b"x" * 100))
    for data in (whole[:end], whole[:40] + b"\xff" * 30 + whole[70:], b"\x89PNG\r\n\x1a\n" + whole[:end]):
        embedded(data)
