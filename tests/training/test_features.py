"""Features are computed once per content, kept, and found again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tagprism.errors import InputError, MachineError
from tagprism.images.preprocess import Preprocess
from tagprism.network.backbones import Backbone
from tagprism.training import features
from tagprism.training.features import FeatureCache, compute_features
from tests.odd_pictures import DAMAGED, draw_odd_pictures

SMALL = Preprocess(height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone("test_efficientnet.r160_in1k", "random").eval()


def test_vectors_come_back_and_two_may_have_it_open(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    one, other = FeatureCache(tmp_path / "x.sqlite", 5), FeatureCache(tmp_path / "x.sqlite", 5)
    one.put([A, B], vectors)
    other.put([C], vectors[:1])
    other.put([A], vectors[:1])  # again
    for cache in (one, other):
        found = cache.get([B, A, "d" * 64, A])
        assert found.keys() == {A, B}
        np.testing.assert_array_equal([found[A], found[B]], vectors)
        cache.close()
    again = FeatureCache(tmp_path / "x.sqlite", 5)
    assert again.get([A, B, C]).keys() == {A, B, C}
    again.close()


def test_large_vectors_are_kept_in_halves(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "x.sqlite", 4, halves=True)
    vectors = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    cache.put([A, B], vectors)
    np.testing.assert_array_equal(cache.get([B])[B], vectors[1].astype(np.float16))
    assert cache.holds([A, B, C, A]) == {A, B}
    cache.close()
    whole = FeatureCache(tmp_path / "x.sqlite", 4)
    assert whole.holds([A]) == set() and whole.get([A]) == {}  # of another size
    whole.close()


def test_vectors_of_another_size_are_taken_for_absent(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "x.sqlite", 5)
    cache.put([A], np.ones((1, 5), np.float32))
    cache.close()
    other = FeatureCache(tmp_path / "x.sqlite", 6)
    assert other.get([A]) == {}
    other.close()


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(MachineError, match=r"x\.sqlite.*delete it"):
        FeatureCache(tmp_path / "x.sqlite", 5)
    with pytest.raises(MachineError, match=r"y\.sqlite"):
        FeatureCache(tmp_path / "absent/y.sqlite", 5)


@pytest.mark.slow
def test_each_content_once_and_the_second_time_from_the_cache(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    files = draw_odd_pictures(tmp_path / "odd")
    for name in ("twin", "corrupt_twin"):
        source = files[-1] if name == "twin" else files[0]
        shutil.copy(source, tmp_path / "odd" / f"{name}{source.suffix}")
        files.append(tmp_path / "odd" / f"{name}{source.suffix}")
    files.append(tmp_path / "missing.png")
    looked_at: list[int] = []
    engine = features._engine

    def counting(*arguments: object) -> object:
        run = engine(*arguments)  # type: ignore[arg-type]
        return lambda pixels: (looked_at.append(len(pixels)), run(pixels))[1]

    monkeypatch.setattr(features, "_engine", counting)
    found = compute_features(files, backbone, SMALL)
    assert sum(looked_at) == 4
    assert found.rows.tolist() == [5, 6, 7, 8, 9]
    assert {files[row].name: error.code for row, error in found.errors} == DAMAGED | {
        "corrupt_twin.png": "corrupt",
        "missing.png": "missing",
    }
    assert found.digests[3] == found.digests[4]
    np.testing.assert_array_equal(found.vectors[3], found.vectors[4])
    with torch.inference_mode():
        expected = backbone(torch.from_numpy(np.stack([SMALL.apply(_opened(files[row])) for row in found.rows])))
    np.testing.assert_allclose(found.vectors, expected.numpy(), rtol=1e-3, atol=1e-4)

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(features, "_engine", refuse)
    good = [file for row, file in enumerate(files) if row in set(found.rows.tolist())]
    again = compute_features(good[::-1], backbone, SMALL)
    np.testing.assert_array_equal(again.vectors, found.vectors[::-1])
    with pytest.raises(AssertionError, match="computed again"):  # another preprocessing is another feature
        compute_features(good, backbone, SMALL.model_copy(update={"resize": "pad"}))


def _opened(path: Path) -> object:
    from tagprism.images.decode import open_picture

    return open_picture(path)


@pytest.mark.slow
def test_no_usable_picture_is_an_error(backbone: Backbone, tmp_path: Path) -> None:
    files = draw_odd_pictures(tmp_path)[: len(DAMAGED)]
    with pytest.raises(InputError, match=r"none of 5 pictures can be used\. The first: .*corrupt\.png"):
        compute_features(files, backbone, SMALL)
