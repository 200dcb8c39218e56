"""What every viewer shows is read, in its own colours: files that are not quite whole, profiles, white that is zero."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from tagprism.errors import PictureError
from tagprism.images.decode import REMARK, open_picture
from tests.images.made import dng, encoded, smooth


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("draft", [None, (40, 40)])
def test_a_jpeg_without_its_end_mark_has_all_its_pixels(
    options: dict[str, object], mode: str, draft: tuple[int, int] | None
) -> None:
    data = encoded(smooth(200, 160).convert(mode), "JPEG", **options)
    whole, opened = (open_picture(one, draft_size=draft) for one in (data, data[:-2]))
    np.testing.assert_array_equal(opened, whole)
    assert opened.info[REMARK] == "the file ends early"
    assert REMARK not in whole.info


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_how_much_is_missing_is_said_and_too_much_is_damage(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    opened = open_picture(data[: len(data) * 3 // 4])
    assert opened.size == noise.size
    percent = int(opened.info[REMARK].split("; ")[1].split("%")[0])
    assert 20 <= percent <= 30
    with pytest.raises(PictureError, match="damaged"):
        open_picture(data[: len(data) // 3])


def test_a_jpeg_that_ends_in_an_even_part_of_the_picture_is_not_said_to_lack_it() -> None:
    image = smooth(200, 160)
    image.paste((0, 0, 0), (0, 60, 200, 160))  # a night sky upside down: more than half of it black
    assert open_picture(encoded(image, "JPEG")[:-2]).info[REMARK] == "the file ends early"


def with_chunk(png: bytes, kind: bytes, body: bytes, *, right: bool) -> bytes:
    """A PNG with a further chunk after its header."""
    checksum = zlib.crc32(kind + body) ^ (0 if right else 1)
    return png[:33] + struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum) + png[33:]


@pytest.mark.parametrize("kind", [b"tEXt", b"pHYs", b"iCCP", b"eXIf"])
def test_a_wrong_checksum_beside_the_picture_of_a_png_is_a_remark(kind: bytes) -> None:
    data = encoded(smooth(), "PNG")
    opened = open_picture(with_chunk(data, kind, b"a\0b", right=False))
    np.testing.assert_array_equal(opened, open_picture(data))
    assert "left out" in opened.info[REMARK]
    assert REMARK not in open_picture(with_chunk(data, b"tEXt", b"a\0b", right=True)).info


def test_a_wrong_checksum_of_the_header_of_a_png_is_damage() -> None:
    data = bytearray(encoded(smooth(), "PNG"))
    data[29] ^= 1
    with pytest.raises(PictureError, match="damaged"):
        open_picture(bytes(data))


def grey_profile() -> bytes:
    """A grey profile of gamma 1.8, as scanners write it."""
    curve = b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", round(1.8 * 256))
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(one * 65536) for one in (0.9642, 1.0, 0.8249)))
    parts = [(b"wtpt", white), (b"kTRC", curve + b"\0\0")]
    table, body, place = struct.pack(">I", len(parts)), b"", 132 + 12 * len(parts)
    for tag, data in parts:
        table += tag + struct.pack(">II", place + len(body), len(data))
        body += data
    head = bytearray(128)
    head[8:12], head[12:24], head[36:40] = b"\2\x20\0\0", b"mntrGRAYXYZ ", b"acsp"
    head[68:80] = white[8:]
    struct.pack_into(">I", head, 0, 128 + len(table) + len(body))
    return bytes(head) + table + body


def test_a_grey_profile_is_used_for_greys_and_ignored_on_colours() -> None:
    profile = grey_profile()
    assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == "GRAY"
    colour, grey = smooth(), smooth().convert("L")
    np.testing.assert_array_equal(open_picture(encoded(colour, "PNG", icc_profile=profile)), np.asarray(colour))
    lighter = np.asarray(open_picture(encoded(grey, "PNG", icc_profile=profile)), float)
    assert lighter.mean() > np.asarray(grey, float).mean() + 5
    rgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = open_picture(encoded(grey, "PNG", icc_profile=rgb_profile))
    np.testing.assert_array_equal(np.asarray(plain)[..., 0], np.asarray(grey))


def renamed_and_linear(name: bytes) -> bytes:
    """The profile of sRGB with a straight curve and another name of the same length."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", data, 128)
    for one in range(count):
        tag, place, length = struct.unpack_from(">4sII", data, 132 + 12 * one)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            data[place : place + length] = (b"curv" + bytes(8)).ljust(length, b"\0")
        elif tag == b"desc":
            text = "sRGB built-in".encode("utf-16-be")
            found = data.index(text, place)
            data[found : found + len(text)] = name.decode().ljust(13)[:13].encode("utf-16-be")
    return bytes(data)


def test_a_profile_is_read_and_not_recognised_by_its_name() -> None:
    image = smooth()
    opened = [
        np.asarray(open_picture(encoded(image, "PNG", icc_profile=renamed_and_linear(name))), float)
        for name in (b"sRGB built-in", b"another one")
    ]
    np.testing.assert_array_equal(*opened)
    assert opened[0].mean() > np.asarray(image, float).mean() + 30
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(open_picture(encoded(image, "PNG", icc_profile=own)), np.asarray(image))


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "F"])
def test_a_tiff_whose_zero_is_white_is_turned(mode: str) -> None:
    grey = np.linspace(0, 255, 256).reshape(16, 16).astype(np.uint8)
    stored = {"I;16": grey.astype(np.uint16) * 257, "F": (grey / 255).astype(np.float32)}.get(mode, grey)
    image = Image.fromarray(stored) if mode != "1" else Image.fromarray(grey).convert("1")
    data = bytearray(encoded(image, "TIFF"))
    place = data.index(struct.pack("<HHI", 262, 3, 1)) + 8  # the photometric interpretation: 1, zero is black
    assert data[place] == 1
    straight = np.asarray(open_picture(bytes(data)), int)
    data[place] = 0
    np.testing.assert_array_equal(np.asarray(open_picture(bytes(data)), int), 255 - straight)


@pytest.mark.parametrize("kind", ["raw", "raw with a turned preview"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_camera_raw_is_read_by_its_preview(kind: str, orientation: int) -> None:
    pytest.importorskip("rawpy")
    upright = smooth(300, 200) if orientation in (1, 3) else smooth(200, 300)
    back = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn = back[orientation]
    stored = upright if turn is None or ("turned" in kind and orientation != 3) else upright.transpose(turn)
    opened = open_picture(dng(encoded(stored, "JPEG", quality=95), orientation=orientation))
    assert opened.size == upright.size
    assert np.abs(np.asarray(opened, float) - np.asarray(upright, float)).mean() < 4


def test_camera_raw_without_rawpy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagprism.images.raw.reads_raw", lambda: False)
    with pytest.raises(PictureError, match="pip install rawpy") as caught:
        open_picture(dng(encoded(smooth(), "JPEG")))
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("kept", [0.02, 0.2, 0.6, 0.95])
def test_a_dng_cut_short_is_a_picture_or_one_clear_error(kept: float) -> None:
    pytest.importorskip("rawpy")
    data = dng(encoded(smooth(300, 200), "JPEG"))
    try:
        assert open_picture(data[: int(kept * len(data))], where="cut.dng").mode == "RGB"
    except PictureError as error:
        assert error.code in ("corrupt", "unsupported")


def test_a_raw_file_without_a_preview_says_so() -> None:
    pytest.importorskip("rawpy")
    with pytest.raises(PictureError, match="no preview inside") as caught:
        open_picture(dng(None))
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_xl_is_read_and_turned_once(orientation: int) -> None:
    pylibjxl = pytest.importorskip("pylibjxl")
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = smooth(300, 200)
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose.ROTATE_90)
    opened = open_picture(pylibjxl.jpeg_to_jxl(encoded(stored, "JPEG", exif=exif, quality=95)))
    assert opened.size == upright.size
    assert np.abs(np.asarray(opened, float) - np.asarray(upright, float)).mean() < 4
    with pytest.raises(PictureError) as caught:
        open_picture(pylibjxl.encode(np.asarray(upright))[:90])
    assert caught.value.code == "corrupt"


def test_heic_is_read_by_what_the_base_install_has() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    data = io.BytesIO()
    pillow_heif.from_pillow(smooth(128, 96)).save(data, quality=90)
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from tagprism.images.decode import open_picture\n"
        "print(open_picture(sys.stdin.buffer.read()).size, 'pi_heif' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data.getvalue(), capture_output=True, check=True)
    assert done.stdout.split() == [b"(128,", b"96)", b"True"]
