"""Decoding: every kind of picture looks as it should, every kind of damage is one clear error."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tagprism.errors import PictureError
from tagprism.images import decode
from tagprism.images.decode import _SIGNATURES, MAX_PIXELS, open_picture, read_bytes
from tagprism.images.preprocess import Preprocess
from tests.hostile_pictures import scan_bomb
from tests.images.made import profile_bytes


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture, so that lossy formats stay near it; every corner has its own colour."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray(np.stack([255 * x, 255 * y, 128 + 0 * x], axis=-1).astype(np.uint8))


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


def code_of(source: Path | bytes, **options: int) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(source, **options)
    return caught.value.code


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "AVIF", "JPEG", "JPEG2000", "PPM", "TGA", "ICO"])
def test_formats_people_keep_pictures_in_are_read(kind: str) -> None:
    image = photo(64, 64) if kind == "ICO" else photo()
    opened = open_picture(encoded(image, kind))
    assert opened.mode == "RGB"
    assert opened.size == image.size
    assert difference(opened, image) < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F"])
def test_every_pixel_mode_becomes_rgb(mode: str) -> None:
    if mode in ("I;16", "I"):
        grey = np.asarray(photo().convert("L")).astype(np.uint16 if mode == "I;16" else np.int32) * 257
        image = Image.fromarray(grey)
    elif mode == "F":
        image = Image.fromarray(np.asarray(photo().convert("L")).astype(np.float32) / 255)
    elif mode == "LAB":
        transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = ImageCms.applyTransform(photo(), transform)
    else:
        image = photo().convert(mode)
    kind = "TIFF" if mode != "HSV" else "PNG"
    image = image.convert("RGB") if mode == "HSV" else image
    opened = open_picture(encoded(image, kind))
    wanted = photo().convert("L").convert("RGB") if mode in ("L", "I;16", "I", "F") else photo()
    assert opened.mode == "RGB"
    assert difference(opened, wanted) < (2 if mode not in ("P", "1") else 140)


def test_cmyk_jpeg_has_its_colours() -> None:
    red = Image.new("RGB", (32, 32), (220, 30, 30))
    opened = open_picture(encoded(red.convert("CMYK"), "JPEG", quality=95))
    assert difference(opened, red) < 6


@pytest.mark.parametrize("big_endian", [False, True])
def test_16_bit_png_and_tiff_keep_their_greys(big_endian: bool) -> None:
    grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    wanted = np.round(grey / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        image = Image.fromarray(grey)
        options = {"big_endian": True} if big_endian and kind == "TIFF" else {}
        opened = np.asarray(open_picture(encoded(image, kind, **options)))
        np.testing.assert_array_equal(opened, np.repeat(wanted[..., None], 3, axis=2))


def test_greys_outside_their_range_are_stretched_and_not_finite_ones_are_black() -> None:
    values = np.array([[-2.0, 0.0, 2.0, np.nan]], dtype=np.float32)
    opened = np.asarray(open_picture(encoded(Image.fromarray(values), "TIFF")))[0, :, 0]
    assert opened.tolist() == [0, 128, 255, 128]  # not finite counts as 0, the middle of -2..2
    flat = np.full((2, 2), 7.5, dtype=np.float32)
    assert np.asarray(open_picture(encoded(Image.fromarray(flat), "TIFF"))).max() == 255


def test_transparency_is_laid_on_white() -> None:
    rgba = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    rgba.putpixel((1, 0), (255, 0, 0, 128))
    expected = [[255, 255, 255], [255, 127, 127]]
    np.testing.assert_allclose(np.asarray(open_picture(encoded(rgba, "PNG")))[0], expected, atol=1)
    grey = Image.new("LA", (1, 1), (0, 0))
    assert np.asarray(open_picture(encoded(grey, "PNG"))).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_palette_transparency_is_laid_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    opened = open_picture(encoded(image, "PNG", transparency=transparency))
    assert np.asarray(opened).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_colour_key_transparency_is_laid_on_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    opened = open_picture(encoded(image, "PNG", transparency=(1, 2, 3)))
    assert np.asarray(opened).tolist() == [[[255, 255, 255], [9, 9, 9]]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    opened = open_picture(encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50))
    assert difference(opened, frames[0]) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_exif_orientation_turns_the_picture_upright(orientation: int, kind: str) -> None:
    stored = {1: (), 2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}
    image = photo()
    for operation in stored[orientation]:  # Pillow's own numbers of Transpose, undone by the orientation
        image = image.transpose(Image.Transpose(operation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, kind, exif=exif, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))
    assert difference(open_picture(data), photo()) < 6
    assert difference(open_picture(data, draft_size=(64, 48)), photo()) < 6


def test_damaged_exif_is_no_reason_to_lose_a_picture() -> None:
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03")
    assert open_picture(data, draft_size=(8, 8)).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_profile_is_converted_to_srgb(mode: str) -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode)
    opened = np.asarray(open_picture(encoded(image, "PNG", icc_profile=profile_bytes())))
    assert opened[0, 0, 2] > 200 > 100 > opened[0, 0, 0]


@pytest.mark.parametrize(
    "profile", [b"no profile at all", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_useless_colour_profile_is_left_aside(profile: bytes) -> None:
    assert difference(open_picture(encoded(photo(), "PNG", icc_profile=profile)), photo()) == 0


def test_profile_of_another_kind_of_picture_is_left_aside() -> None:
    opened = open_picture(encoded(photo().convert("CMYK"), "TIFF", icc_profile=profile_bytes()))
    assert difference(opened, photo()) < 3


@pytest.mark.parametrize(
    ("needed", "at_least"), [((100, 100), (100, 100)), ((999, 10), (999, 10)), ((5000, 1), (1024, 768))]
)
def test_draft_is_smaller_but_never_below_what_is_needed(needed: tuple[int, int], at_least: tuple[int, int]) -> None:
    data = encoded(photo(1024, 768), "JPEG", quality=95)
    opened = open_picture(data, draft_size=needed)
    assert opened.width >= at_least[0]
    assert opened.height >= at_least[1]
    assert opened.width < 1024 or needed[0] > 512
    assert difference(opened, photo(1024, 768).resize(opened.size)) < 3


def test_draft_counts_the_upright_size_of_a_turned_photo() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo(1024, 256), "JPEG", exif=exif)  # upright 256 x 1024
    opened = open_picture(data, draft_size=(32, 512))
    assert opened.size == (128, 512)


def test_one_pixel_picture() -> None:
    assert np.asarray(open_picture(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"))).tolist() == [[[1, 2, 3]]]


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


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


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


def test_pillow_warnings_do_not_leak() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code_of(bomb(10_000, 10_000))  # between Pillow's warning and its error
        open_picture(encoded(photo().convert("P"), "PNG", transparency=bytes([0, 9, 255])))
    assert not caught


def test_path_and_bytes_agree_and_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ein bild.png"
    path.write_bytes(encoded(photo(), "PNG"))
    assert difference(open_picture(path), open_picture(path.read_bytes())) == 0
    path.write_bytes(b"nothing")
    with pytest.raises(PictureError, match="ein bild"):
        open_picture(str(path))


SHRINK = Preprocess(height=4, width=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
KINDS = ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "ICO", "TGA"]
KINDS += ["PPM", "PCX", "DDS", "QOI", "SGI", "ICNS", "MPO"]


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


def test_heic_is_read_and_its_decoder_named_where_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif")
    decode.picture_formats()  # registers it, for writing too
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo().transpose(Image.Transpose.ROTATE_90), "HEIF", exif=exif.tobytes(), quality=90)
    assert difference(open_picture(data), photo()) < 8
    assert code_of(data[:200]) == "corrupt"
    formats = [name for name in decode.picture_formats() if name != "HEIF"]
    monkeypatch.setattr(decode, "picture_formats", lambda: formats)
    with pytest.raises(PictureError, match=r"HEIC.*pip install pi-heif") as caught:
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


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "I;16", "F", "P"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_picture_is_shrunk_and_looks_the_same(
    monkeypatch: pytest.MonkeyPatch, mode: str, orientation: int
) -> None:
    image = photo(640, 480)
    if mode in ("I;16", "F"):
        grey = np.asarray(image.convert("L"))
        image = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else grey.astype(np.float32) / 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image if mode in ("I;16", "F") else image.convert(mode), "TIFF", exif=exif)
    whole = open_picture(data)
    monkeypatch.setattr(decode, "LARGE", 1000)
    opened = open_picture(data, draft_size=(50, 70))
    assert opened.width < whole.width
    assert opened.width >= 50 and opened.height >= 70
    assert difference(opened, whole.resize(opened.size)) < 3


def test_a_jpeg_at_reduced_size_may_have_twice_the_pixels() -> None:
    data = encoded(photo(64, 64), "JPEG")
    assert open_picture(data, max_pixels=2048, draft_size=(8, 8)).size == (8, 8)
    assert code_of(data, max_pixels=2047) == "too_many_pixels"
    with pytest.raises(PictureError, match="4,096 pixels, more than the cap of 4,094"):
        open_picture(data, max_pixels=2047, draft_size=(8, 8))


def test_lack_of_memory_is_not_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(decode, "in_srgb", refuse)
    with pytest.raises(PictureError, match=r"64 x 48 pixels; --max-pixels") as caught:
        open_picture(encoded(photo(), "PNG"))
    assert caught.value.code == "unreadable"


def test_many_threads_decode_alike() -> None:
    data = encoded(photo(), "PNG", icc_profile=profile_bytes())
    results: list[float] = []

    def work() -> None:
        results.extend(float(np.asarray(open_picture(data)).sum()) for _ in range(20))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 80
    assert len(set(results)) == 1
