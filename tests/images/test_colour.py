"""`as-stored`: pictures as most training code opens them, and every reader of a bundle obeys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagprism.images.colour import Colour, as_stored
from tagprism.images.decode import open_picture
from tagprism.images.preprocess import Preprocess
from tagprism.images.stream import process_pictures
from tagprism.network.backbones import Backbone
from tagprism.training.batches import BatchIndex
from tagprism.training.end_to_end import PixelBatches
from tagprism.training.prepare import make_preprocess
from tagprism.training.recipe import Recipe, load_recipe
from tests.images.made import encoded, profile_bytes, smooth

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bilinear"}
AUTHORS = ("nus_wide", "coco_48_17", "open_images", "corel5k_authors")


def pictures() -> dict[str, bytes]:
    """Encoded pictures of several modes, with and without a profile that changes colours."""
    seen, profile = smooth(), profile_bytes()
    clear = seen.convert("RGBA")
    clear.putalpha(seen.convert("L"))
    return {
        "plain.jpg": encoded(seen, "JPEG"),
        "profile.jpg": encoded(seen, "JPEG", icc_profile=profile),
        "profile.png": encoded(seen, "PNG", icc_profile=profile),
        "clear.png": encoded(clear, "PNG", icc_profile=profile),
        "palette.png": encoded(seen.quantize(20), "PNG"),
        "grey.png": encoded(seen.convert("LA"), "PNG"),
        "cmyk.jpg": encoded(seen.convert("CMYK"), "JPEG"),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in pictures().items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("name", pictures())
def test_as_stored_is_the_transform_of_others(folder: Path, name: str) -> None:
    """PIL's `open` and `convert("RGB")`, a resize by torchvision, and pixels/255."""
    transforms = pytest.importorskip("torchvision.transforms")
    theirs = transforms.Compose([transforms.Resize((32, 48)), transforms.ToTensor()])
    wanted = theirs(Image.open(folder / name).convert("RGB")).numpy()
    preprocess = Preprocess(height=32, width=48, colour="as-stored", **PLAIN)
    (found,) = process_pictures([folder / name], preprocess, lambda pixels: [pixels[0].copy()])
    np.testing.assert_allclose(found.output, wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["profile.jpg", "clear.png"])
def test_every_reader_obeys(folder: Path, name: str) -> None:
    """Streams and training batches give one picture under either setting, and another one under the other."""
    found = {}
    colours: tuple[Colour, ...] = ("srgb", "as-stored")
    for colour in colours:
        preprocess = Preprocess(height=32, width=48, colour=colour, **PLAIN)
        batch = PixelBatches([folder / name], [name], np.zeros((1, 1), np.int8), preprocess)[BatchIndex(0, (0,))]
        (read,) = process_pictures([folder / name], preprocess, lambda pixels: [pixels[0].copy()])
        opened = open_picture(folder / name, draft_size=preprocess.draft_size, colour=colour)
        np.testing.assert_array_equal(batch.inputs[0].numpy(), read.output)
        np.testing.assert_array_equal(preprocess.apply(opened), read.output)
        found[colour] = read.output
    assert np.abs(found["srgb"] - found["as-stored"]).max() > 0.05


def test_large_pictures_in_tiles_are_as_small_ones() -> None:
    image = smooth().convert("RGBA").resize((2100, 1500))
    whole, tiles = image.convert("RGB"), as_stored(image)
    np.testing.assert_array_equal(np.asarray(tiles), np.asarray(whole))
    assert as_stored(image, 4).size == (525, 375)


def test_the_recipe_decides_and_older_ones_mean_srgb() -> None:
    assert {load_recipe(f"recipes/{name}.toml").images.colour for name in AUTHORS} == {"as-stored"}
    assert load_recipe("recipes/corel5k.toml").images.colour == "srgb"
    settings = {"height": 8, "width": 8, **PLAIN}
    older, stored = (Preprocess.model_validate(settings | own) for own in ({}, {"colour": "as-stored"}))
    assert older.colour == "srgb" and older.digest != stored.digest
    backbone = Backbone("test_convnext.r160_in1k", "random")
    assert make_preprocess(Recipe(name="mine", images={"colour": "as-stored"}), backbone).colour == "as-stored"
