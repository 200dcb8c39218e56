"""The stream of batches and the augmentation: functions of their arguments, never of the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tagprism.images.preprocess import Preprocess
from tagprism.training.batches import BatchIndex, InOrder, TrainingOrder
from tagprism.training.diversity_loss import SemanticDiversityLoss
from tagprism.training.end_to_end import Augmentation, PixelBatches
from tagprism.training.recipe import AugmentTable
from tests.odd_pictures import DAMAGED, USABLE, draw_odd_pictures

SMALL = Preprocess(height=16, width=24, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
ALL = AugmentTable(crop_scale=0.5, flip=0.5, rand_augment=True, cutout=0.5)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 9), st.data())
def test_every_picture_comes_once_an_epoch_and_the_stream_starts_anywhere(
    pictures: int, batch_size: int, epochs: int, seed: int, data: st.DataObject
) -> None:
    order = TrainingOrder(pictures, batch_size, epochs, seed)
    places = list(order)
    assert len(places) == len(order) == epochs * order.batches_per_epoch
    for epoch in range(epochs):
        rows = [row for place in places if place.epoch == epoch for row in place.rows]
        assert sorted(rows) == list(range(pictures))
    assert all(len(place.rows) <= batch_size for place in places)
    first = data.draw(st.integers(0, len(places)))
    later = TrainingOrder(pictures, batch_size, epochs, seed, first)
    assert list(later) == places[first:]
    assert len(later) == len(order)


def test_epochs_and_seeds_differ() -> None:
    orders = {place.rows for seed in (0, 1) for place in TrainingOrder(50, 50, 3, seed)}
    assert len(orders) == 6


@given(st.integers(0, 30), st.integers(1, 12))
def test_in_order_is_in_order(pictures: int, batch_size: int) -> None:
    order = InOrder(pictures, batch_size)
    assert [row for place in order for row in place.rows] == list(range(pictures))
    assert len(list(order)) == len(order)
    assert all(place.epoch == -1 for place in order)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def augmented(image: Image.Image, *, seed: int = 1, epoch: int = 2, key: str = "a") -> bytes:
    result = Augmentation(ALL, SMALL)(image, seed=seed, epoch=epoch, key=key)
    assert (result.mode, result.size) == ("RGB", (24, 16))
    return result.tobytes()


def test_augmentation_depends_on_seed_epoch_and_key_alone() -> None:
    image = noise(80, 60)
    before = torch.random.get_rng_state()
    first = augmented(image)
    assert torch.equal(torch.random.get_rng_state(), before)  # others' random numbers are left alone
    torch.manual_seed(99)
    assert augmented(image) == first
    assert image.tobytes() == noise(80, 60).tobytes()
    others = {
        augmented(image, seed=2),
        augmented(image, epoch=3),
        augmented(image, key="b"),
        augmented(image, key="\udcff"),
    }
    assert len(others | {first}) == 5


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_pictures_of_any_shape_are_augmented(size: tuple[int, int]) -> None:
    augmented(noise(*size))


def test_no_augmentation_is_the_plain_picture() -> None:
    image = noise(80, 60)
    plain = Augmentation(AugmentTable(), SMALL)(image, seed=0, epoch=0, key="a")
    assert plain.tobytes() == SMALL.resized(image).tobytes()


def test_cutout_blanks_at_most_its_square() -> None:
    image = Image.new("RGB", (24, 16), (1, 2, 3))
    cut = AugmentTable(cutout=0.5)
    for epoch in range(20):
        pixels = np.asarray(Augmentation(cut, SMALL)(image, seed=0, epoch=epoch, key="a"))
        blank = (pixels != (1, 2, 3)).any(axis=2)
        assert 0 < blank.sum() <= 12 * 8
        assert len(np.unique(pixels[blank], axis=0)) == 1


def batches(tmp_path: Path, augmentation: Augmentation | None = None) -> PixelBatches:
    files = draw_odd_pictures(tmp_path)
    targets = np.eye(len(files), dtype=np.int8)
    return PixelBatches(files, [file.name for file in files], targets, SMALL, augmentation, seed=7)


def test_damaged_pictures_are_left_out_of_a_batch_and_named(tmp_path: Path) -> None:
    batch = batches(tmp_path)[BatchIndex(-1, tuple(range(9)))]
    assert {key: code for key, code, _ in batch.failed} == DAMAGED
    assert batch.inputs.shape == (len(USABLE), 3, 16, 24)
    assert batch.targets.tolist() == np.eye(9, dtype=int)[len(DAMAGED) :].tolist()


def test_a_batch_of_damaged_pictures_alone_costs_nothing(tmp_path: Path) -> None:
    batch = batches(tmp_path)[BatchIndex(0, (0, 1))]
    assert batch.inputs.shape == (0, 3, 16, 24)
    matrices = torch.zeros(0, 2, 5, requires_grad=True)
    value = SemanticDiversityLoss(torch.randn(9, 5))(matrices, batch.targets)
    value.backward()
    assert value == 0 and matrices.grad is not None


def test_training_pictures_are_augmented_and_validation_pictures_not(tmp_path: Path) -> None:
    data = batches(tmp_path, Augmentation(ALL, SMALL))
    row = len(DAMAGED) + 1
    plain, first, second, again = (data[BatchIndex(epoch, (row,))].inputs for epoch in (-1, 0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, second) and not torch.equal(first, plain)
    assert torch.equal(plain, batches(tmp_path)[BatchIndex(5, (row,))].inputs)
