"""Training a whole network on pixels: pictures opened and changed at random, and what the network itself needs for it.

Every change is a function of (seed, epoch, picture) and of nothing else. Knows no words. Training on features needs
nothing of this.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

from tagprism.datasets.table import Targets
from tagprism.errors import InputError, PictureError
from tagprism.files import digest_bytes
from tagprism.images.decode import open_picture
from tagprism.images.picture_file import PictureFile
from tagprism.images.preprocess import Preprocess
from tagprism.network.backbones import Backbone
from tagprism.training.batches import Batch, BatchIndex, Processes
from tagprism.training.recipe import AugmentTable, TrainingTable

_COMPILERS = (os.environ.get("CXX", "g++"), "g++", "clang++")


def check_compiler() -> None:
    """Refuse `training.compile` where nothing can compile.

    Raises:
        InputError: there is neither a GPU nor a compiler of C++.
    """
    if not torch.cuda.is_available() and not any(map(shutil.which, _COMPILERS)):
        remedy = "Install g++ or clang++, or set it to false."
        raise InputError("a compiler of C++ is not there.", where="training.compile", remedy=remedy)


def whole_network(backbone: Backbone, head: nn.Module, training: TrainingTable, processes: Processes) -> nn.Sequential:
    """Backbone and head as one network; over several processes with a copy of a backbone that has batch norm."""
    together = processes.count > 1 and has_batch_norm(backbone)
    network = nn.Sequential(synchronise_batch_norm(backbone) if together else backbone, head)
    if training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if training.compile:
        network.compile()  # in place: its weights keep their names
    return network


def check_batch_norm(backbone: Backbone, processes: Processes) -> None:
    """Refuse a network that would fail at the first step of several processes.

    Raises:
        InputError: it has batch norm, and there is no GPU.
    """
    if processes.count > 1 and not torch.cuda.is_available() and has_batch_norm(backbone):
        raise InputError(
            f"{backbone.name} has batch norm, whose training over several processes needs GPUs.",
            where="--devices",
            remedy="Use one process, or a backbone without batch norm, such as a vision transformer or ConvNeXt.",
        )


def has_batch_norm(backbone: nn.Module) -> bool:
    """Whether a backbone takes means over the images of a batch while it is trained."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules())


def synchronise_batch_norm(backbone: Backbone) -> Backbone:
    """A copy whose batch norm takes the mean over all processes' images, so that W processes are one.

    By timm, whose own layers keep their activation; it has the same weights.
    """
    copied: Backbone = convert_sync_batchnorm(copy.deepcopy(backbone))  # type: ignore[no-untyped-call]
    return copied


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
