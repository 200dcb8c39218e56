"""Batches for training: one finite stream over all epochs, that starts anywhere. Knows no words and no networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tagprism.errors import PictureError
from tagprism.images.decode import open_picture
from tagprism.images.preprocess import Preprocess
from tagprism.training.augment import Augmentation, epoch_order


class Batch(NamedTuple):
    """What the network and the loss get, and the pictures that could not be opened."""

    inputs: Tensor  # (B, C) features or (B, 3, H, W) pixels
    targets: Tensor  # (B, L) in {1, 0, -1}
    failed: list[tuple[str, str, str]]  # (key, code, message)


class Place(NamedTuple):
    """Which pictures make a batch, and in which epoch; `epoch` -1 means: as it is, without augmentation."""

    epoch: int
    rows: tuple[int, ...]


class TrainingOrder(Sampler[Place]):
    """All batches of all epochs as one stream, from any place on.

    Args:
        pictures: how many there are.
        batch_size: B; the last batch of an epoch may be smaller.
        epochs: how many passes.
        seed: of the shuffling.
        first: number of the batch to begin with (after a resume).
    """

    def __init__(self, pictures: int, batch_size: int, epochs: int, seed: int, first: int = 0) -> None:
        self._pictures, self._batch_size, self._epochs, self._seed, self._first = (
            pictures,
            batch_size,
            epochs,
            seed,
            first,
        )
        self.batches_per_epoch = math.ceil(pictures / batch_size)

    def __len__(self) -> int:
        """Batches of the whole training, also of a resumed one."""
        return self._epochs * self.batches_per_epoch

    def __iter__(self) -> Iterator[Place]:
        """Yield the batches from `first` on."""
        for epoch in range(self._first // self.batches_per_epoch, self._epochs):
            order = epoch_order(self._pictures, seed=self._seed, epoch=epoch)
            begin = (
                self._first - epoch * self.batches_per_epoch if epoch == self._first // self.batches_per_epoch else 0
            )
            for batch in range(begin, self.batches_per_epoch):
                rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
                yield Place(epoch, tuple(rows.tolist()))


class InOrder(Sampler[Place]):
    """All pictures once, in order, without augmentation."""

    def __init__(self, pictures: int, batch_size: int) -> None:
        self._pictures, self._batch_size = pictures, batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(self._pictures / self._batch_size)

    def __iter__(self) -> Iterator[Place]:
        """Yield the batches."""
        for begin in range(0, self._pictures, self._batch_size):
            yield Place(-1, tuple(range(begin, min(begin + self._batch_size, self._pictures))))


class FeatureBatches(Dataset[Batch]):
    """Stored features and targets, a batch at a time."""

    def __init__(self, features: Float[np.ndarray, "n C"], targets: Int8[np.ndarray, "n L"]) -> None:
        self._features, self._targets = torch.from_numpy(features), torch.from_numpy(targets)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._features)

    def __getitem__(self, place: Place) -> Batch:
        """The batch at a place."""
        rows = torch.tensor(place.rows)
        return Batch(self._features[rows], self._targets[rows], [])


@dataclass(frozen=True)
class PixelBatches(Dataset[Batch]):
    """Pictures opened, augmented and prepared when asked for, a batch at a time.

    Args:
        files: n picture files.
        keys: their names, which augmentation and messages go by.
        targets: (n, L).
        preprocess: size and normalisation.
        augmentation: changes of training pictures; None opens them as they are.
        seed: of the augmentation.
    """

    files: Sequence[Path]
    keys: Sequence[str]
    targets: Int8[np.ndarray, "n L"]
    preprocess: Preprocess
    augmentation: Augmentation | None = None
    seed: int = 0

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.files)

    def __getitem__(self, place: Place) -> Batch:
        """The batch at a place; pictures that cannot be opened are left out and listed."""
        pixels, rows, failed = [], [], []
        for row in place.rows:
            try:
                pixels.append(self._pixels(row, place.epoch))
                rows.append(row)
            except PictureError as error:
                failed.append((self.keys[row], error.code, error.message))
        size = (3, self.preprocess.height, self.preprocess.width)
        stacked = np.stack(pixels) if pixels else np.empty((0, *size), np.float32)
        return Batch(torch.from_numpy(stacked), torch.from_numpy(self.targets[rows]), failed)

    def _pixels(self, row: int, epoch: int) -> np.ndarray:
        image = open_picture(self.files[row], draft_size=self.preprocess.draft_size)
        if self.augmentation is None or epoch < 0:
            return self.preprocess.apply(image)
        image = self.augmentation(image, seed=self.seed, epoch=epoch, key=self.keys[row])
        return self.preprocess.normalised(image)


class PlacedLoader(DataLoader[Batch]):
    """A loader of whole batches that Lightning may resume in the middle: its sampler already begins there."""

    def __init__(self, data: Dataset[Batch], order: Sampler[Place], workers: int = 0) -> None:
        super().__init__(
            data,
            batch_size=None,
            sampler=order,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its seed for workers must not depend on the global state
        )

    def state_dict(self) -> dict[str, int]:
        """Nothing to keep: the place comes from the checkpoint's count of batches."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore, see `state_dict`."""
