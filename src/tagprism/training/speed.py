"""How fast training goes and how much of the time it waits for data. Knows no pictures and no networks."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from tagprism.progress import Advance
from tagprism.training.batches import PlacedLoader

_WINDOW = 50  # batches over which the log averages


@dataclass(frozen=True)
class Speed:
    """What a stretch of training took; validation and checkpoints are not counted.

    Args:
        images: trained on, by all processes.
        seconds: of getting batches and of steps.
        waited: seconds of these that the main process waited for its loader.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def __add__(self, other: Speed) -> Speed:
        """Both stretches."""
        return Speed(self.images + other.images, self.seconds + other.seconds, self.waited + other.waited)

    @property
    def images_per_second(self) -> float:
        """Images trained on in a second; 0 when nothing was done."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def data_wait(self) -> float:
        """Share of the time that was spent waiting for data, 0 to 1."""
        return self.waited / self.seconds if self.seconds else 0.0


class Speedometer(Callback):
    """Log `images_per_second` and `data_wait` over the last batches, sum them up, and tell the progress.

    Args:
        loader: of the training batches.
        advance: told of every batch.
    """

    def __init__(self, loader: PlacedLoader, advance: Advance) -> None:
        self.total = Speed()
        self._loader, self._advance = loader, advance
        self._last: deque[Speed] = deque(maxlen=_WINDOW)
        self._begun = self._waited = 0.0

    def on_train_batch_start(self, *_arguments: Any, **_named: Any) -> None:
        """The batch is there."""
        self._begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_arguments: Any, **_named: Any
    ) -> None:
        """The step is done."""
        waited, self._waited = self._loader.waited - self._waited, self._loader.waited
        step = Speed(int(pl_module.images), waited + time.perf_counter() - self._begun, waited)  # type: ignore[arg-type]
        self.total += step
        self._last.append(step)
        recent = sum(self._last, Speed())
        pl_module.log_dict({"images_per_second": recent.images_per_second, "data_wait": recent.data_wait})
        self._advance(1)
