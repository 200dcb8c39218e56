"""Pictures that cannot be used: each is an error that says why, and none harms the process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tagprism.errors import PictureError
from tagprism.images import decode
from tagprism.images.decode import MAX_PIXELS, open_picture, read_bytes
from tagprism.images.formats import _SIGNATURES
from tests.hostile_pictures import scan_bomb
from tests.images.made import bomb, encoded
from tests.images.test_decode import KINDS, SHRINK, code_of, photo


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("kept", [0.9, 0.4, 0.06])
def test_truncated_picture_is_corrupt_where_viewers_show_nothing_of_it(kind: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    cut = data[: int(len(data) * kept)]
    if kept == 0.9 and kind in ("JPEG", "PNG", "BMP"):
        assert "ends early" in open_picture(cut).info[decode.REMARK]
    else:
        assert code_of(cut) == "corrupt"


@pytest.mark.parametrize("data", [b"hello", b"\0" * 100, b"<html></html>", b"%PDF-1.7 something", b"GIF"])
def test_what_is_no_picture_says_so(data: bytes) -> None:
    assert code_of(data) == "not_an_image"


def test_postscript_never_reaches_its_interpreter() -> None:
    assert code_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\n") == "not_an_image"


def test_missing_empty_folder_and_pipe(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert code_of(tmp_path / "none.jpg") == "missing"
    assert code_of(tmp_path / "empty.jpg" / "below.jpg") == "missing"
    assert code_of(tmp_path / "empty.jpg") == "empty"
    assert code_of(tmp_path) == "unreadable"
    assert code_of(tmp_path / "pipe.jpg") == "unreadable"
    assert code_of(Path("/dev/null")) == "unreadable"
    assert code_of(Path("zero\0byte.jpg")) == "unreadable"


def test_forbidden_file_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(decode.os, "open", refuse)
    with pytest.raises(PictureError, match=r"a\.jpg: The file cannot be read \(Permission denied\)") as caught:
        read_bytes(tmp_path / "a.jpg")
    assert caught.value.code == "unreadable"


def test_too_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.tif").open("wb") as file:
        file.truncate(2**29 + 1)  # sparse: takes no space
    with pytest.raises(PictureError, match=r"512 MiB; at most 512 MiB") as caught:
        read_bytes(tmp_path / "huge.tif")
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize(("width", "height"), [(20_000, 10_000), (100_000, 100_000), (14_000, 12_783)])
def test_too_many_pixels_names_size_cap_and_flag(width: int, height: int) -> None:
    pattern = rf"has {width * height:,} pixels, more than the cap of {MAX_PIXELS:,}; --max-pixels raises it"
    with pytest.raises(PictureError, match=pattern) as caught:
        open_picture(bomb(width, height), where="bomb.png")
    assert caught.value.code == "too_many_pixels"


def test_cap_can_be_lowered_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(encoded(photo(10, 10), "PNG"), max_pixels=99) == "too_many_pixels"
    assert open_picture(encoded(photo(10, 10), "PNG"), max_pixels=100).size == (10, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # Pillow's own cap is twice this
    large = encoded(photo(20, 20), "PNG")
    assert code_of(large, max_pixels=100) == "too_many_pixels"
    assert open_picture(large, max_pixels=400).size == (20, 20)


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_damaged_bytes_give_a_picture_or_a_picture_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    good = bytearray(encoded(photo(32, 32), kind))
    for _ in range(data.draw(st.integers(1, 12))):
        place, byte = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 255))
        change = data.draw(st.sampled_from(["replace", "insert", "cut"]))
        good[place : place + (change != "insert")] = bytes([byte]) * (change != "cut")
    usable_or_picture_error(bytes(good))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([*_SIGNATURES, b"<svg", b"\0\0\0\x18ftypheic", b"BM", b"P6 1 1 255 ", b"qoif"]), st.binary())
def test_any_bytes_after_a_signature(start: bytes, rest: bytes) -> None:
    usable_or_picture_error(start + rest)


def usable_or_picture_error(data: bytes) -> None:
    """What a picture gives must also go through the next step."""
    try:
        picture = open_picture(data, max_pixels=1_000_000, draft_size=SHRINK.draft_size)
    except PictureError as error:
        assert error.code in {"corrupt", "not_an_image", "too_many_pixels", "unsupported"}
    else:
        assert picture.mode == "RGB"
        assert np.isfinite(SHRINK.apply(picture)).all()


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is a drawing"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by -->\n<svg/>", "SVG is a drawing"),
        (b"<!DOCTYPE svg [<!ENTITY a 'b'>]><svg/>", "SVG is a drawing"),
        ("<?xml version='1.0' encoding='UTF-16'?><svg/>".encode("utf-16"), "SVG is a drawing"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(data: bytes, advice: str) -> None:
    with pytest.raises(PictureError, match=advice) as caught:
        open_picture(data)
    assert caught.value.code == "unsupported"


@pytest.mark.slow
def test_a_decoder_is_given_up_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"scans": scan_bomb(2000, 3000), "qoi": encoded(Image.effect_noise((1200, 1200), 90).convert("RGB"), "QOI")}
    slow["ascii"] = b"P3 1000 1000 255\n" + b"1 2 3 " * 1_000_000
    monkeypatch.setattr(decode, "MAX_SECONDS", 0.1)
    for name, data in slow.items():
        begun = time.thread_time()
        assert code_of(data) == "too_slow", name
        assert time.thread_time() - begun < 2, name


def test_lack_of_memory_is_not_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(decode, "_loaded", refuse)
    with pytest.raises(PictureError, match=r"64 x 48 pixels; --max-pixels") as caught:
        open_picture(encoded(photo(), "PNG"))
    assert caught.value.code == "unreadable"
