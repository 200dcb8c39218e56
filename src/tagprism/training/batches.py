"""Batches for training: one finite stream over all epochs, that starts anywhere, of pictures changed at random.

Every change is a function of (seed, epoch, picture) and of nothing else. Knows no words and no networks.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from tagprism.datasets.shards import WINDOW, Blocks
from tagprism.datasets.table import Targets
from tagprism.errors import PictureError
from tagprism.files import digest_bytes
from tagprism.images.decode import open_picture
from tagprism.images.picture_file import PictureFile
from tagprism.images.preprocess import Preprocess
from tagprism.training.recipe import AugmentTable


class Batch(NamedTuple):
    """What the network and the loss get, and the pictures that could not be opened."""

    rows: Tensor  # (B,) numbers of the pictures
    inputs: Tensor  # (B, C) features or (B, 3, H, W) pixels
    targets: Tensor  # (B, L) in {1, 0, -1}
    failed: list[tuple[str, str, str]]  # (key, code, message)


class BatchIndex(NamedTuple):
    """Which pictures make a batch, and in which epoch; `epoch` -1 means: as it is, without augmentation."""

    epoch: int
    rows: tuple[int, ...]


def shard(rows: Sequence[int], rank: int, count: int) -> tuple[int, ...]:
    """The part of a global batch that one of W processes computes: in order, sizes differing by one at most.

    Every row is in exactly one part; with fewer rows than processes some parts are empty.
    """
    return tuple(rows[len(rows) * rank // count : len(rows) * (rank + 1) // count])


def epoch_order(count: int, *, seed: int, epoch: int, blocks: Blocks | None = None) -> Int64[np.ndarray, " n"]:
    """Order of the training pictures in one epoch, (count,) numbers; a function of its arguments alone.

    Pictures that can only be read in blocks are shuffled in two steps, so that each block is read once: the blocks
    among each other, then the pictures within each window of blocks. Where all blocks fit into one window the order is
    that of pictures read singly.

    Args:
        count: n pictures.
        seed: of the run.
        epoch: 0, 1, ...
        blocks: which pictures are read together; None where each is read by itself.
    """
    random = np.random.default_rng([seed, epoch])
    if blocks is None or blocks.sizes.sum() <= WINDOW:
        return random.permutation(count)
    order = random.permutation(len(blocks.sizes))
    window = np.empty(len(order), np.int64)
    window[order] = np.cumsum(blocks.sizes[order]) // WINDOW
    return np.lexsort((random.random(count), window[blocks.of]))


class TrainingOrder(Sampler[BatchIndex]):
    """All batches of all epochs as one stream, from any batch on; of each batch this process' part.

    Args:
        pictures: how many there are.
        batch_size: B over all processes; the last batch of an epoch may be smaller.
        epochs: how many passes.
        seed: of the shuffling.
        first: number of the batch to begin with (after a resume).
        rank: of this process.
        count: W processes.
        blocks: which pictures are read together, see `epoch_order`.
    """

    def __init__(
        self,
        pictures: int,
        batch_size: int,
        epochs: int,
        seed: int,
        first: int = 0,
        *,
        rank: int = 0,
        count: int = 1,
        blocks: Blocks | None = None,
    ) -> None:
        self._pictures, self._batch_size, self._epochs, self._seed = pictures, batch_size, epochs, seed
        self._first, self._rank, self._count, self._blocks = first, rank, count, blocks
        self.batches_per_epoch = math.ceil(pictures / batch_size)

    def __len__(self) -> int:
        """Batches of the whole training, also of a resumed one."""
        return self._epochs * self.batches_per_epoch

    def __iter__(self) -> Iterator[BatchIndex]:
        """Yield the batches from `first` on."""
        begun, begin = divmod(self._first, self.batches_per_epoch)
        for epoch in range(begun, self._epochs):
            order = epoch_order(self._pictures, seed=self._seed, epoch=epoch, blocks=self._blocks)
            for batch in range(begin if epoch == begun else 0, self.batches_per_epoch):
                rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
                yield BatchIndex(epoch, shard(rows.tolist(), self._rank, self._count))


class InOrder(Sampler[BatchIndex]):
    """All pictures once, in order, without augmentation; of each batch this process' part."""

    def __init__(self, pictures: int, batch_size: int, *, rank: int = 0, count: int = 1) -> None:
        self._pictures, self._batch_size, self._rank, self._count = pictures, batch_size, rank, count

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(self._pictures / self._batch_size)

    def __iter__(self) -> Iterator[BatchIndex]:
        """Yield the batches."""
        for begin in range(0, self._pictures, self._batch_size):
            rows = range(begin, min(begin + self._batch_size, self._pictures))
            yield BatchIndex(-1, shard(rows, self._rank, self._count))


class FeatureBatches(Dataset[Batch]):
    """Stored features and targets, a batch at a time."""

    def __init__(self, features: Float[np.ndarray, "n C"], targets: Targets) -> None:
        self._features, self._targets = torch.from_numpy(features), targets

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._features)

    def __getitem__(self, index: BatchIndex) -> Batch:
        """The batch of these rows."""
        rows = torch.tensor(index.rows, dtype=torch.long)
        return Batch(rows, self._features[rows], torch.from_numpy(self._targets[rows.numpy()]), [])


class Augmentation:
    """Random crop, flip, RandAugment and Cutout, then the size the network takes.

    Args:
        table: what is switched on.
        preprocess: size and filter of the result.
    """

    def __init__(self, table: AugmentTable, preprocess: Preprocess) -> None:
        self._table, self._preprocess = table, preprocess
        size = [preprocess.height, preprocess.width]
        filter_ = v2.InterpolationMode(preprocess.interpolation)
        steps: list[torch.nn.Module] = []
        if table.crop_scale < 1:
            steps.append(v2.RandomResizedCrop(size, scale=(table.crop_scale, 1.0), interpolation=filter_))
        if table.flip:
            steps.append(v2.RandomHorizontalFlip(table.flip))
        if table.rand_augment:
            steps.append(v2.RandAugment(num_ops=2, magnitude=9, interpolation=v2.InterpolationMode.BILINEAR))
        self._steps = v2.Compose(steps) if steps else None

    def __call__(self, image: Image.Image, *, seed: int, epoch: int, key: str) -> Image.Image:
        """The changed picture, in the network's size.

        Args:
            image: mode RGB, any size.
            seed: the run's seed.
            epoch: 0, 1, ...
            key: the picture's name in its data set.
        """
        number = int(digest_bytes(f"{seed} {epoch} {key}".encode("utf-8", "surrogatepass"))[:16], 16)
        if self._steps is not None:
            with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
                torch.manual_seed(number)
                image = self._steps(image)
        image = self._preprocess.resized(image)
        if self._table.cutout:
            _blank_square(image, self._table.cutout, random.Random(number))
        return image


def _blank_square(image: Image.Image, share: float, draw: random.Random) -> None:
    """Cutout (arXiv 1708.04552): a square of a random colour anywhere in a picture, in place."""
    side = (round(share * image.width), round(share * image.height))
    centre = draw.randrange(image.width), draw.randrange(image.height)
    corner = centre[0] - side[0] // 2, centre[1] - side[1] // 2
    colour = tuple(draw.randrange(256) for _ in range(3))
    image.paste(colour, (*corner, corner[0] + side[0], corner[1] + side[1]))


@dataclass(frozen=True)
class PixelBatches(Dataset[Batch]):
    """Pictures opened, augmented and prepared when asked for, a batch at a time.

    Args:
        files: n picture files.
        keys: their names, which augmentation and messages go by.
        targets: (n, L), made a batch at a time.
        preprocess: size and normalisation.
        augmentation: changes of training pictures; None opens them as they are.
        seed: of the augmentation.
    """

    files: Sequence[PictureFile]
    keys: Sequence[str]
    targets: Targets
    preprocess: Preprocess
    augmentation: Augmentation | None = None
    seed: int = 0

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.files)

    def __getitem__(self, index: BatchIndex) -> Batch:
        """The batch of these rows; pictures that cannot be opened are left out and listed."""
        pixels, rows, failed = [], [], []
        for row in index.rows:
            try:
                pixels.append(self._pixels(row, index.epoch))
                rows.append(row)
            except PictureError as error:
                failed.append((self.keys[row], error.code, error.message))
        size = (3, self.preprocess.height, self.preprocess.width)
        stacked = np.stack(pixels) if pixels else np.empty((0, *size), np.float32)
        used = np.asarray(rows, np.int64)
        targets = torch.from_numpy(self.targets[used])
        return Batch(torch.from_numpy(used), torch.from_numpy(stacked), targets, failed)

    def _pixels(self, row: int, epoch: int) -> np.ndarray:
        image = open_picture(self.files[row], draft_size=self.preprocess.draft_size, colour=self.preprocess.colour)
        if self.augmentation is None or epoch < 0:
            return self.preprocess.apply(image)
        image = self.augmentation(image, seed=self.seed, epoch=epoch, key=self.keys[row])
        return self.preprocess.normalised(image)


class BatchLoader(DataLoader[Batch]):
    """A loader of whole batches that Lightning may resume in the middle: its sampler already begins there.

    Attributes:
        waited: seconds that batches were waited for so far.
    """

    waited = 0.0

    def __init__(self, data: Dataset[Batch], order: Sampler[BatchIndex], workers: int = 0) -> None:
        super().__init__(
            data,
            batch_size=None,
            sampler=order,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its seed for workers must not depend on the global state
        )

    def __iter__(self) -> Any:
        """Yield the batches and time the wait for each."""
        batches = super().__iter__()
        while True:
            begin = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - begin
            if batch is None:
                return
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Nothing to keep: where to go on comes from the checkpoint's count of batches."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore, see `state_dict`."""
