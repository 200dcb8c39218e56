"""Preprocessing: against torchvision's way where it is installed, against slow obvious versions elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from tagprism.images.preprocess import Preprocess

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_squash_is_a_plain_antialiased_resize() -> None:
    image = noise(50, 30)
    pixels = Preprocess(height=16, width=24, **PLAIN).apply(image)
    wanted = np.asarray(image.resize((24, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 255
    assert pixels.shape == (3, 16, 24)
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    np.testing.assert_allclose(pixels, wanted, atol=1e-6)


def test_normalisation_is_mean_and_deviation_per_channel() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    pixels = Preprocess(height=4, width=4, mean=mean, std=std).apply(Image.new("RGB", (4, 4), (0, 51, 255)))
    np.testing.assert_allclose(pixels[:, 0, 0], [(0 - 0.1) / 0.5, (0.2 - 0.2) / 0.6, (1 - 0.3) / 0.7], atol=1e-6)


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (256, 256)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_crop_is_resize_then_middle(size: tuple[int, int], crop_pct: float) -> None:
    image = noise(*size)
    image = image.resize((size[0] // 8, size[1] // 8)).resize(size)  # smooth, so that half a pixel does not matter
    ours = Preprocess(height=112, width=112, resize="crop", crop_pct=crop_pct, **PLAIN).apply(image)
    short = int(112 / crop_pct)
    scale = short / min(size)
    resized = image.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BICUBIC)
    left, top = (resized.width - 112) // 2, (resized.height - 112) // 2
    wanted = np.asarray(resized.crop((left, top, left + 112, top + 112))).transpose(2, 0, 1) / 255
    assert np.abs(ours - wanted).mean() < 0.02
    # Only the middle counts: the outermost columns of a wide picture are not in it.
    if size == (400, 300):
        changed = image.copy()
        changed.paste((255, 0, 255), (0, 0, 20, 300))
        again = Preprocess(height=112, width=112, resize="crop", crop_pct=crop_pct, **PLAIN).apply(changed)
        np.testing.assert_array_equal(ours, again)


def test_pad_keeps_the_whole_picture_and_fills_the_rest() -> None:
    preprocess = Preprocess(height=20, width=20, resize="pad", pad_color=(255, 0, 0), **PLAIN)
    pixels = preprocess.apply(Image.new("RGB", (40, 20), (0, 0, 255)))
    assert pixels[:, 0, 0].tolist() == [1, 0, 0]
    assert pixels[:, 19, 19].tolist() == [1, 0, 0]
    assert pixels[:, 10, 0].tolist() == [0, 0, 1]
    assert (pixels[2] == 1).sum() == 20 * 10


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["squash", "crop", "pad"]),
    st.floats(0.3, 1.0),
)
def test_any_size_becomes_the_output_size_within_range(
    width: int, height: int, out_width: int, out_height: int, resize: str, crop_pct: float
) -> None:
    fraction = 1.0 if resize == "pad" else crop_pct
    preprocess = Preprocess(height=out_height, width=out_width, resize=resize, crop_pct=fraction, **PLAIN)
    pixels = preprocess.apply(noise(width, height))
    assert pixels.shape == (3, out_height, out_width)
    assert 0 <= pixels.min() <= pixels.max() <= 1


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_extreme_strip_needs_little_memory(resize: str) -> None:
    pixels = Preprocess(height=224, width=224, resize=resize, **PLAIN).apply(Image.new("RGB", (1, 200_000), "white"))
    assert pixels.shape == (3, 224, 224)


def test_a_picture_of_one_colour_stays_so() -> None:
    for resize in ("squash", "crop"):
        pixels = Preprocess(height=7, width=5, resize=resize, crop_pct=0.9, **PLAIN).apply(
            Image.new("RGB", (31, 17), (51, 102, 204))
        )
        np.testing.assert_allclose(pixels.reshape(3, -1).T, np.tile([[0.2, 0.4, 0.8]], (35, 1)), atol=1e-6)


def test_draft_size_is_twice_what_the_resize_needs() -> None:
    assert Preprocess(height=100, width=200, **PLAIN).draft_size == (400, 200)
    assert Preprocess(height=100, width=200, crop_pct=0.5, **PLAIN).draft_size == (800, 400)


def test_digest_changes_with_every_setting_and_survives_json() -> None:
    base = Preprocess(height=8, width=8, **PLAIN)
    others = [
        {"height": 9},
        {"width": 9},
        {"resize": "crop"},
        {"crop_pct": 0.9},
        {"interpolation": "bilinear"},
        {"mean": (0.1, 0, 0)},
        {"std": (0.9, 1, 1)},
        {"pad_color": (0, 0, 0)},
    ]
    digests = {base.digest, *(base.model_copy(update=other).digest for other in others)}
    assert len(digests) == len(others) + 1
    assert Preprocess.model_validate_json(base.model_dump_json()).digest == base.digest


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"width": 5000},
        {"resize": "stretch"},
        {"crop_pct": 0},
        {"crop_pct": 1.1},
        {"std": (0, 1, 1)},
        {"mean": (0.5, 0.5)},
        {"mean": (127, 127, 127)},
        {"pad_color": (256, 0, 0)},
        {"colour": 1},
        {"resize": "pad", "crop_pct": 0.9},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocess.model_validate({"height": 8, "width": 8, **PLAIN, **wrong})


def test_agrees_with_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    image = noise(97, 61)
    theirs = transforms.Compose(
        [
            transforms.Resize((32, 48), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )(image).numpy()
    ours = Preprocess(height=32, width=48, mean=mean, std=std).apply(image)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@settings(max_examples=150)
@given(
    size=st.tuples(st.integers(60, 200), st.integers(60, 200)),
    output=st.sampled_from([(64, 64), (48, 80), (80, 48)]),
    way=st.sampled_from([("squash", 1.0), ("squash", 0.8), ("crop", 1.0), ("crop", 0.875), ("pad", 1.0)]),
    trim=st.booleans(),
    where=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
)
def test_the_frame_says_where_a_mark_in_the_output_is_in_the_picture(
    size: tuple[int, int],
    output: tuple[int, int],
    way: tuple[str, float],
    trim: bool,
    where: tuple[float, float],
) -> None:
    width, height = size
    values = np.full((height, width, 3), 255, np.uint8)
    values[height // 8 : -height // 4, width // 5 : -width // 10] = (0, 0, 255)  # a drawing on an empty page
    x, y = int(where[0] * width), int(where[1] * height)
    values[y - 4 : y + 4, x - 4 : x + 4] = (255, 0, 0)  # its mark
    image = Image.fromarray(values)
    resize, crop_pct = way
    preprocess = Preprocess(
        width=output[0], height=output[1], resize=resize, crop_pct=crop_pct, trim=trim, pad_color=(0, 0, 0), **PLAIN
    )
    pixels = preprocess.apply(image)
    mark = np.maximum(pixels[0] - pixels[2] - pixels[1], 0)  # red alone
    left, top, right, bottom = preprocess.frame(image)
    if not (left * width < x - 4 and x + 4 < right * width and top * height < y - 4 and y + 4 < bottom * height):
        return  # the mark, or a part of it, is cut off
    down, across = (
        np.average(np.arange(n) + 0.5, weights=mark.sum(axis=1 - axis)) for axis, n in enumerate(mark.shape)
    )
    assert (left + across / output[0] * (right - left)) * width == pytest.approx(x, abs=1.5)
    assert (top + down / output[1] * (bottom - top)) * height == pytest.approx(y, abs=1.5)
