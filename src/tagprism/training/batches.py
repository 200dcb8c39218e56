"""Batches for training: one finite stream over all epochs, that starts anywhere, and each process' part of it.

Knows no words and no networks, and of several processes only what one alone has to do: nothing.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, Sampler

from tagprism.datasets.shards import WINDOW, Blocks
from tagprism.datasets.table import Targets

LAUNCHED = "TAGPRISM_LAUNCHED"
"""In the environment of processes that `processes.launch` started: its process id."""


class Processes:
    """This process and those that train with it; here one alone, `processes.ProcessGroup` for several.

    Attributes:
        rank: 0 (the main one, which alone writes files) to count - 1.
        count: W, all processes on all machines.
        local_count: processes on this machine.
        launcher_tells: whether `launch` watches all of them, and so says itself what became of one.
    """

    rank, count, local_count, launcher_tells = 0, 1, 1, False

    def __deepcopy__(self, memo: dict[int, Any]) -> Processes:
        """Itself: a copy of a network trains with the same processes."""
        return self

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.count // self.local_count

    @property
    def trainer_options(self) -> dict[str, Any]:
        """What Lightning's trainer must know of them."""
        return {"accelerator": "auto", "devices": 1}

    @contextmanager
    def main_first(self, what: str) -> Iterator[None]:
        """Run the body in the main process, then in one of each other machine, then in the rest."""
        yield

    def agree(self, what: str, value: str, *, remedy: str) -> None:
        """Make sure that all processes have the same value, such as the digest of what they are going to do."""

    def connect(self) -> None:
        """Open the group for small numbers on the host, once Lightning has connected the processes."""

    def sum(self, value: float) -> float:
        """The sum over all processes."""
        return value

    def told(self, value: float) -> float:
        """The main process' value."""
        return value

    def gather(self, values: Tensor) -> Tensor:
        """What all processes have, in the main one, end to end in the order of ranks; elsewhere the own part.

        Args:
            values: (n, ...) on the CPU; n may differ.
        """
        return values

    def gather_tables(self, table: dict[str, Any]) -> dict[str, Any]:
        """The entries of all processes' tables (JSON values), in the main one; elsewhere the own entries."""
        return table


ALONE = Processes()


def this_process() -> Processes:
    """What this process is: one of several that torchrun, srun or `launch` started, or alone."""
    several = os.environ.get(LAUNCHED) or distributed.is_torchelastic_launched()
    if not several and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:  # set by srun, not by a plain batch script
        return ALONE
    from tagprism.training.processes import this_member  # built on this module

    return this_member()


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
