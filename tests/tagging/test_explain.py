"""Where a tag comes from: sums to the score, and lies at the right place of the picture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import tagprism
from tagprism.errors import InputError, PictureError
from tagprism.files import digest_file
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix, Network, Standardiser
from tagprism.network.export import PlacedNetwork, export_onnx
from tagprism.tagging.explain import Explainer, placed_records, places_of
from tagprism.tagging.tagger import Tagger
from tests.small_world import LABELS, World


@pytest.fixture(scope="module")
def tagger(world: World) -> Tagger:
    return tagprism.load(world.run)


def with_config(bundle: Path, **changes: Any) -> Tagger:
    """The bundle with other settings."""
    config = json.loads((bundle / "config.json").read_text())
    config |= {"preprocess": config["preprocess"] | changes.pop("preprocess", {})} | changes
    (bundle / "config.json").write_text(json.dumps(config))
    return tagprism.load(bundle)


@pytest.fixture(scope="module")
def oblong(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a single vector and an input that is no square."""
    bundle = tmp_path_factory.mktemp("oblong") / "bundle"
    shutil.copytree(world.run / "bundle", bundle)
    torch.manual_seed(1)
    backbone = Backbone("test_efficientnet.r160_in1k", "random")
    standardiser = Standardiser(torch.tensor(tagprism.load(bundle).vocabulary.vectors[:6]))
    network = Network(backbone, EmbeddingMatrix(backbone.features, 1, 12), standardiser)
    export_onnx(PlacedNetwork(network, (2, 4)), (64, 128), bundle / "model.onnx")
    digests = json.loads((bundle / "config.json").read_text())["digests"]
    digests["model.onnx"] = digest_file(bundle / "model.onnx")
    with_config(bundle, vectors=1, places=(2, 4), digests=digests, preprocess={"height": 64, "width": 128})
    return bundle


def save_noise(path: Path, width: int, height: int, seed: int) -> Path:
    """A picture of blurred noise, so that its places differ."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def check_sums(tagger: Tagger, picture: Path) -> None:
    """Places and the share without one sum to the score; the share is the picture's shared number."""
    (row,) = tagger.tag(picture, top_k=None)
    explanation = Explainer(tagger).explain(picture, [tag.label for tag in row.tags])
    record = tagger.network(tagger.preprocess.apply(explanation.picture)[None])
    assert [why.label for why in explanation.tags] == [tag.label for tag in row.tags]
    for tag, why in zip(row.tags, explanation.tags, strict=True):
        size = float(np.abs(why.places).sum())
        assert why.score == pytest.approx(tag.score, rel=1e-4, abs=1e-5)
        assert (why.vector, why.spelling) == (tag.vector, tag.label)
        assert max(why.vectors) == pytest.approx(why.score, rel=1e-5) and np.argmax(why.vectors) == why.vector
        assert len(why.vectors) == tagger.bundle.config.vectors and why.places.shape == places_of(tagger.bundle)
        assert float(why.places.sum()) + why.without_place == pytest.approx(why.score, rel=1e-4, abs=1e-6 * size)
        assert why.without_place == pytest.approx(float(record.shared[0, 0]), rel=1e-4, abs=1e-4 * size)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_places_and_the_share_without_place_sum_to_the_score(
    width: int, height: int, seed: int, tagger: Tagger, tmp_path: Path
) -> None:
    check_sums(tagger, save_noise(tmp_path / "noise.png", width, height, seed))


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", [{"resize": "pad"}, {"resize": "crop", "trim": True}, {"crop_pct": 0.8}])
def test_so_they_do_with_one_vector_and_an_oblong_input(
    preprocess: dict[str, object], oblong: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(oblong, bundle)
    check_sums(with_config(bundle, preprocess=preprocess), save_noise(tmp_path / "noise.png", 90, 150, 3))


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_change_of_the_picture_shows_where_it_was_made(resize: str, oblong: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(oblong, bundle)
    tagger = with_config(bundle, preprocess={"resize": resize})
    plain = Image.new("RGB", (300, 200), (90, 120, 90))
    plain.save(tmp_path / "plain.png")
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    plain.paste(Image.fromarray(noise), (218, 128))  # its middle: 230, 140
    plain.save(tmp_path / "changed.png")
    explainer = Explainer(tagger)
    before, after = (explainer.explain(tmp_path / name, ["red"]) for name in ("plain.png", "changed.png"))
    left, top, right, bottom = after.frame
    change = np.abs(after.tags[0].places - before.tags[0].places)
    row, column = np.unravel_index(int(change.argmax()), change.shape)
    assert abs(column + 0.5 - (230 / 300 - left) / (right - left) * 4) < 1  # a place sees a little beyond its edge
    assert abs(row + 0.5 - (140 / 200 - top) / (bottom - top) * 2) < 1


def test_a_picture_stored_on_its_side_is_explained_upright(tagger: Tagger, tmp_path: Path) -> None:
    upright = save_noise(tmp_path / "upright.png", 80, 50, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    with Image.open(upright) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=exif)
    explainer = Explainer(tagger)
    one, other = (explainer.explain(path, ["red"]) for path in (upright, tmp_path / "side.png"))
    assert other.picture.size == (80, 50)
    np.testing.assert_array_equal(np.asarray(one.picture), np.asarray(other.picture))
    np.testing.assert_array_equal(one.tags[0].places, other.tags[0].places)


def test_several_pictures_at_once_have_their_own_places(tagger: Tagger, world: World) -> None:
    pictures = [tagger.preprocess.apply(Image.open(path)) for path in world.pictures()[:3]]
    records, places = placed_records(tagger.bundle, np.stack(pictures))
    for picture, record, shares in zip(pictures, records, places, strict=True):
        one, one_shares = placed_records(tagger.bundle, picture[None])
        np.testing.assert_allclose(record.rows, one.rows, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(record.shared, one.shared, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(shares, one_shares[0], rtol=1e-3, atol=1e-3)


def test_the_best_spelling_is_the_one_explained(tagger: Tagger, world: World) -> None:
    picture = world.pictures()[0]
    single = {why.label: why for why in Explainer(tagger, LABELS).explain(picture, LABELS).tags}
    best = max(LABELS, key=lambda label: single[label].score)
    (why,) = Explainer(tagger, {"orange": [*LABELS]}).explain(picture, ["orange"]).tags
    assert (why.label, why.spelling) == ("orange", best)
    assert why.score == pytest.approx(single[best].score)
    np.testing.assert_allclose(why.places, single[best].places, rtol=1e-5)


def test_what_cannot_be_explained_says_why(world: World, tagger: Tagger, tmp_path: Path) -> None:
    shutil.copytree(world.run / "bundle", tmp_path / "bundle")
    without = with_config(tmp_path / "bundle", places=None)
    with pytest.raises(InputError, match=r"features are not the plain mean of a feature map.*efficientnet_lite0"):
        Explainer(without)
    with pytest.raises(InputError, match="sqare"):
        Explainer(tagger, ["sqare"])
    with pytest.raises(PictureError, match="no such file"):
        Explainer(tagger).explain(tmp_path / "absent.png", ["red"])
