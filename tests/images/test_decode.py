"""Decoding: every kind of picture looks as it should, every kind of damage is one clear error."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tagprism.errors import PictureError
from tagprism.images import decode, formats
from tagprism.images.decode import open_picture
from tagprism.images.preprocess import Preprocess
from tests.images.made import bomb, encoded, profile_bytes


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


def test_heic_is_read_and_its_decoder_named_where_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif")
    decode.picture_formats()  # registers it, for writing too
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo().transpose(Image.Transpose.ROTATE_90), "HEIF", exif=exif.tobytes(), quality=90)
    assert difference(open_picture(data), photo()) < 8
    assert code_of(data[:200]) == "corrupt"
    without = [name for name in decode.picture_formats() if name != "HEIF"]
    for module in (decode, formats):
        monkeypatch.setattr(module, "picture_formats", lambda: without)
    with pytest.raises(PictureError, match=r"HEIC.*pip install pi-heif") as caught:
        open_picture(data)
    assert caught.value.code == "unsupported"


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
