"""Random changes of training pictures, each a function of (seed, epoch, picture) and of nothing else."""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from tagprism.files import digest_bytes
from tagprism.images.preprocess import Preprocess
from tagprism.training.recipe import AugmentTable


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
    """Cutout (arXiv 1708.04552): a square of a random colour at a random place, in place."""
    side = (round(share * image.width), round(share * image.height))
    centre = draw.randrange(image.width), draw.randrange(image.height)
    corner = centre[0] - side[0] // 2, centre[1] - side[1] // 2
    colour = tuple(draw.randrange(256) for _ in range(3))
    image.paste(colour, (*corner, corner[0] + side[0], corner[1] + side[1]))


def epoch_order(count: int, *, seed: int, epoch: int) -> np.ndarray:
    """Order of the training pictures in one epoch, (count,) places; a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)
