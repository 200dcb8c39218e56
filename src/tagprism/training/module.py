"""The training loop's parts for Lightning: a step, the validation, checkpoints, and how fast it goes."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from torch import Tensor, nn

from tagprism.evaluation.metrics import mean_average_precision
from tagprism.files import digest_bytes
from tagprism.network.embedding_matrix import Standardiser, max_similarity
from tagprism.progress import Advance
from tagprism.training.batches import ALONE, Batch, BatchLoader, Processes
from tagprism.training.custom_parts import CustomLoss
from tagprism.training.diversity_loss import SemanticDiversityLoss
from tagprism.training.older_runs import current_names
from tagprism.training.recipe import TrainingTable

SECONDS_BETWEEN_CHECKPOINTS = 30.0  # half a minute costs little and loses little
_WINDOW = 50  # batches over which the log averages


class EmbeddingTrainer(lightning.LightningModule):
    """Trains a network from features or pixels to (B, M, D) with the diversity loss.

    Args:
        network: what is trained.
        loss: over the seen labels.
        standardiser: makes scores comparable between images, for validation.
        training: schedule and optimiser.
        seed: of everything random.
        processes: that train together; each computes its part of every batch.

    Attributes:
        images: of the batch in work, over all processes.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: SemanticDiversityLoss | CustomLoss,
        standardiser: Standardiser,
        training: TrainingTable,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.standardiser = network, loss, standardiser
        self.loss.gathers = processes.count > 1
        self._training, self._seed, self._processes = training, seed, processes
        self._synchronised = any(isinstance(one, nn.SyncBatchNorm) for one in network.modules())
        self.batches_done = self.images = 0
        self.failed: dict[str, tuple[str, str]] = {}
        self._validation: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_fit_start(self) -> None:
        """Lightning has connected the processes."""
        self._processes.connect()

    def on_train_end(self) -> None:
        """Bring together in the main process what the others counted."""
        self.failed = self._processes.gather_tables(self.failed)
        self.loss.skipped_images = int(self._processes.sum(self.loss.skipped_images))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make what is random inside the network (dropout) a function of the seed and the step."""
        step = f"{self._seed} step {self.batches_done}" + (f" {self._processes.rank}" if self._processes.rank else "")
        torch.manual_seed(int(digest_bytes(step.encode())[:15], 16))
        self.images = int(self._processes.sum(len(batch.targets)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """This process' part of the loss of one batch.

        The loss is a mean over the images of the whole batch, and the gradient the mean over the W processes. A part of
        n of N images is a mean over n, so it counts W * n / N.
        """
        self.failed.update({key: (code, message) for key, code, message in batch.failed})
        if len(batch.targets) or self._synchronised:
            matrices = self.network(batch.inputs)
        else:  # no image for this process: it takes part in the step with a gradient of zero
            nothing = torch.stack([one.sum() for one in self.network.parameters() if one.requires_grad]).sum()
            matrices = nothing.expand(0, 1, self.loss.label_vectors.shape[1])
        share = self._processes.count * len(batch.targets) / max(self.images, 1)
        loss: Tensor = self.loss(matrices, batch.targets) * share
        self.batches_done += 1
        self.log(
            "loss",
            loss.detach(),
            prog_bar=True,
            batch_size=max(len(batch.targets), 1),
            sync_dist=self._processes.count > 1,
        )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect scores of the seen labels."""
        self.failed.update({key: (code, message) for key, code, message in batch.failed})
        if not len(batch.targets):
            return
        rows, shift = self.standardiser(self.network(batch.inputs).float())
        ranking = self.standardiser
        scored = ranking.get_buffer("seen_vectors"), ranking.groups
        scores = max_similarity(rows, *scored, best_rows=ranking.best_rows)[0] + shift
        self._validation.append((batch.rows.cpu(), scores.cpu(), batch.targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Score the validation pictures of all processes, each once: mAP over the seen labels."""
        labels = len(self.loss.label_vectors)
        nothing = torch.empty(0, dtype=torch.long), torch.empty(0, labels), torch.empty(0, labels, dtype=torch.int8)
        own = [torch.cat(parts) for parts in zip(nothing, *self._validation, strict=True)]
        self._validation.clear()
        rows, scores, targets = (self._processes.gather(part) for part in own)
        value = float("nan")
        if self._processes.is_main and (targets == 1).any():
            order = rows.argsort()  # as one process has them: ties are broken by the order
            value = mean_average_precision(scores[order].numpy(), targets[order].numpy(), unknown=self.loss.unlabelled)
        self.log("validation_mAP", self._processes.told(value), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Adam without weight decay on 1-D parameters, OneCycle over all steps (authors' settings)."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self._training.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.Adam([g for g in groups if g["params"]], lr=self._training.learning_rate, fused=True)
        steps, warm_up = int(self.trainer.estimated_stepping_batches), self._training.warm_up
        if warm_up * steps == 1:  # torch divides by the length of the warm-up, here 0 steps: let it begin at the peak
            warm_up *= 1 - 1e-9
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self._training.learning_rate, total_steps=steps, pct_start=warm_up
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep how many batches are done and what failed so far."""
        checkpoint["batches_done"] = self.batches_done
        checkpoint["skipped_images"] = int(self._processes.sum(self.loss.skipped_images))
        checkpoint["failed"] = json.dumps(self._processes.gather_tables(self.failed))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where it was; weights of older versions get today's names."""
        for name in ("state_dict", "current_model_state"):  # the second one: beside averaged weights
            if name in checkpoint:
                checkpoint[name] = current_names(checkpoint[name])
        self.batches_done = checkpoint["batches_done"]
        if not self._processes.is_main:  # else they would be counted twice
            return
        self.loss.skipped_images = checkpoint["skipped_images"]
        self.failed = {key: (code, message) for key, (code, message) in json.loads(checkpoint["failed"]).items()}


class Checkpoints(Callback):
    """Write `last.ckpt` now and then, and `best.ckpt` when validation is best so far.

    A checkpoint that falls on a validation is written after it, so that a resumed run never skips one.

    Args:
        folder: where to.
        validation_every: batches between validations, 0 for none.
        keep_best: whether `best.ckpt` is wanted.
        processes: that train together; all take part in a checkpoint, when the main one's clock says so.
    """

    def __init__(self, folder: Path, validation_every: int, *, keep_best: bool, processes: Processes = ALONE) -> None:
        self._folder, self._validation_every = folder, validation_every
        self._keep_best, self._processes = keep_best, processes
        self._best = -np.inf
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write between validations."""
        if not (self._validation_every and (batch_idx + 1) % self._validation_every == 0):
            self._save_last_when_due(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write after a validation."""
        value = float(trainer.callback_metrics["validation_mAP"])
        if value > self._best:
            self._best = value
            if self._keep_best:
                trainer.save_checkpoint(self._folder / "best.ckpt")  # Lightning writes beside and renames
        self._save_last_when_due(trainer)

    def _save_last_when_due(self, trainer: lightning.Trainer) -> None:
        if self._processes.told(time.monotonic() - self._saved_at > SECONDS_BETWEEN_CHECKPOINTS):
            trainer.save_checkpoint(self._folder / "last.ckpt")
            self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The best validation so far."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best validation so far."""
        self._best = state_dict["best"]


def averaging(decay: float) -> Callback:
    """Exponential moving average of weights and buffers, by Lightning."""
    return EMAWeightAveraging(decay=decay)


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

    def __init__(self, loader: BatchLoader, advance: Advance) -> None:
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
