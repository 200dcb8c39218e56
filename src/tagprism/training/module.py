"""The training loop's parts for Lightning: what a step does, how validation is scored, what a checkpoint holds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from torch import Tensor, nn

from tagprism.evaluation.metrics import mean_average_precision
from tagprism.files import digest_bytes
from tagprism.model.embedding_matrix import RankingMatrix
from tagprism.model.max_similarity import max_similarity
from tagprism.training.batches import Batch
from tagprism.training.diversity_loss import SemanticDiversityLoss
from tagprism.training.recipe import TrainingTable

_SECONDS_BETWEEN = 30.0  # between checkpoints, unless the recipe says otherwise


class EmbeddingTrainer(lightning.LightningModule):
    """Trains a network from features or pixels to (B, M, D) with the diversity loss.

    Args:
        network: what is trained.
        loss: over the seen labels.
        ranking: makes scores comparable between images, for validation.
        training: schedule and optimiser.
        seed: of everything random.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: SemanticDiversityLoss,
        ranking: RankingMatrix,
        training: TrainingTable,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.ranking = network, loss, ranking
        self._training, self._seed = training, seed
        self.batches_done = 0
        self.failed: dict[str, tuple[str, str]] = {}
        self._validation: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make what is random inside the network (dropout) a function of the seed and the step."""
        torch.manual_seed(int(digest_bytes(f"{self._seed} step {self.batches_done}".encode())[:15], 16))
        self._set_batch_norm()

    def _set_batch_norm(self) -> None:
        if self._training.batch_norm == "evaluation":
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        self.failed.update({key: (code, message) for key, code, message in batch.failed})
        loss: Tensor = self.loss(self.network(batch.inputs), batch.targets)
        self.batches_done += 1
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(batch.targets))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect scores of the seen labels."""
        self.failed.update({key: (code, message) for key, code, message in batch.failed})
        matrices = self.ranking(self.network(batch.inputs).float())
        vectors = self.loss.label_vectors
        queries = torch.cat([vectors, vectors.new_ones(len(vectors), 1)], dim=1)
        self._validation.append((max_similarity(matrices, queries)[0].cpu(), batch.targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Score the validation pictures: mAP over the seen labels."""
        scores = torch.cat([scores for scores, _ in self._validation]).numpy()
        targets = torch.cat([targets for _, targets in self._validation]).numpy()
        self._validation.clear()
        value = (
            mean_average_precision(scores, targets, unknown=self.loss.unlabelled)
            if (targets == 1).any()
            else float("nan")
        )
        self.log("validation_mAP", value, prog_bar=True)

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
        """Keep the place in the stream of batches and what failed so far."""
        checkpoint["batches_done"] = self.batches_done
        checkpoint["skipped_images"] = self.loss.skipped_images
        checkpoint["failed"] = json.dumps(self.failed)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the place in the stream of batches."""
        self.batches_done = checkpoint["batches_done"]
        self.loss.skipped_images = checkpoint["skipped_images"]
        self.failed = {key: (code, message) for key, (code, message) in json.loads(checkpoint["failed"]).items()}


class Checkpoints(Callback):
    """Write `last.ckpt` now and then, and `best.ckpt` when validation is best so far.

    A checkpoint that falls on a validation is written after it, so that a resumed run never skips one; none is written
    between the batches of one optimiser step, whose gradients no checkpoint keeps.

    Args:
        folder: where to.
        every: batches between checkpoints; None writes one every half minute, which costs little and loses little.
        validation_every: batches between validations, 0 for none.
        accumulate: batches of one optimiser step; `every` and `validation_every` are multiples of it.
        keep_best: whether `best.ckpt` is wanted.
    """

    def __init__(
        self, folder: Path, every: int | None, validation_every: int, accumulate: int, *, keep_best: bool
    ) -> None:
        self._folder, self._every, self._validation_every = folder, every, validation_every
        self._accumulate, self._keep_best = accumulate, keep_best
        self._best = -np.inf
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write between validations."""
        done = batch_idx + 1
        validates = self._validation_every and done % self._validation_every == 0
        if self._is_due(done) and not validates:
            self._save_last(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write after a validation."""
        value = float(trainer.callback_metrics["validation_mAP"])
        if value > self._best:
            self._best = value
            if self._keep_best:
                trainer.save_checkpoint(self._folder / "best.ckpt")  # Lightning writes beside and renames
        if self._every is not None or self._is_due(0):
            self._save_last(trainer)

    def _is_due(self, done: int) -> bool:
        if self._every is not None:
            return done % self._every == 0
        return done % self._accumulate == 0 and time.monotonic() - self._saved_at > _SECONDS_BETWEEN

    def _save_last(self, trainer: lightning.Trainer) -> None:
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
