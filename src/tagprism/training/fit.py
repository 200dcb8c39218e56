"""Run the training of a prepared recipe with Lightning, from the start or from where it was interrupted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger
from torch import nn

from tagprism.datasets.shards import blocks_of
from tagprism.errors import InputError
from tagprism.network.embedding_matrix import Network, Standardiser
from tagprism.progress import Progress, silent
from tagprism.training.batches import (
    ALONE,
    BatchLoader,
    FeatureBatches,
    InOrder,
    Processes,
    TrainingOrder,
)
from tagprism.training.diversity_loss import SemanticDiversityLoss
from tagprism.training.end_to_end import Augmentation, PixelBatches, check_compiler, whole_network
from tagprism.training.loggers import check_logger, further_logger
from tagprism.training.module import Checkpoints, EmbeddingTrainer, Speed, Speedometer, averaging
from tagprism.training.networks import make_class_columns, make_head, make_prior
from tagprism.training.older_runs import current_names
from tagprism.training.prepare import Part, Prepared
from tagprism.training.processes import lost_peer
from tagprism.training.recipe import Recipe

_PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Fitted:
    """A trained network and what happened on the way.

    Args:
        network: pixels -> records, in evaluation mode, on the CPU.
        failed: pictures that could not be opened during end-to-end training: key -> (code, message).
        skipped_images: times an image was skipped for want of explicit negatives.
        validation_mAP: of the weights that were kept; None without validation.
        speed: of this call; a continued run counts from where it began.
    """

    network: Network
    failed: dict[str, tuple[str, str]]
    skipped_images: int
    validation_mAP: float | None  # noqa: N815
    speed: Speed


def fit(prepared: Prepared, folder: Path, progress: Progress = silent, processes: Processes = ALONE) -> Fitted:
    """Train the head on features, or the whole network on pixels.

    With several processes each calls this with the same arguments; what the main one returns is whole.

    Args:
        prepared: from `prepare`.
        folder: for checkpoints and the log; a `last.ckpt` there is continued.
        progress: told how many batches are done.
        processes: that train together.

    Raises:
        InputError: a precision, compiler or logger that this machine has not; no training picture can be opened; a
            custom loss, head or backbone of another form; the processes do not see the same run.
        MachineError: another of the processes ended.
    """
    recipe = prepared.recipe
    training = recipe.training
    if training.precision == "fp16" and not torch.cuda.is_available():
        raise InputError("fp16 needs a GPU.", where="training.precision", remedy="Use bf16 or 32.")
    if training.compile:
        check_compiler()
    if training.logger != "csv":
        check_logger(training.logger)
    torch.manual_seed(recipe.seed)
    vectors = torch.tensor(prepared.seen_vectors)
    head = untrained_head(prepared)
    scored, groups = prepared.seen_scored()
    model = recipe.model
    ranking = Standardiser(scored, groups, standardise=model.standardise, best_rows=model.best_rows)
    trained = whole_network(prepared.backbone, head, training, processes) if training.end_to_end else head
    custom = prepared.custom.make_loss(vectors, recipe.loss.unlabelled) if prepared.custom else None
    loss = custom or SemanticDiversityLoss(
        vectors,
        **recipe.loss.model_dump(),
        sentences=None if groups is None else (scored, groups),
        best_rows=model.best_rows,
    )
    module = EmbeddingTrainer(trained, loss, ranking, training, recipe.seed, processes)
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    first = _read(last)["batches_done"] if last.exists() else 0
    processes.agree("checkpoints", str(first), remedy="RUN must be a folder that all machines share.")
    loader, order = _training_loader(prepared, first, processes)
    validation = _validation_loader(prepared, processes)
    with _quiet_lightning(), progress("training", len(order)) as advance:
        advance(first)
        speed = Speedometer(loader, advance)
        with _loggers(recipe, folder, first, processes) as loggers:
            trainer = _trainer(prepared, folder, order, validation is not None, speed, loggers, processes)
            _run(trainer, module, loader, validation, last if first else None)
    if processes.is_main and module.failed and all(key in module.failed for key in prepared.train.keys):
        key, (_, message) = next(iter(module.failed.items()))
        raise InputError(
            f"none of {len(prepared.train.keys)} training pictures can be used. The first: {key}: {message}"
        )
    kept = trainer.callback_metrics.get("validation_mAP")
    value = None if kept is None or kept.isnan() else float(kept)  # NaN: no validation picture has a seen label
    if processes.is_main and training.choose == "best" and best.exists():
        checkpoint = _read(best)
        module.load_state_dict(current_names(checkpoint["state_dict"]))
        value = max(state["best"] for name, state in checkpoint["callbacks"].items() if name == "Checkpoints")
    if training.end_to_end:
        prepared.backbone.load_state_dict(trained.get_submodule("0").state_dict())  # of a copy, perhaps
    return Fitted(make_network(prepared, head), module.failed, module.loss.skipped_images, value, speed.total)


def untrained_head(prepared: Prepared) -> nn.Module:
    """The head of a recipe before training, or the custom one."""
    model, backbone, dimension = prepared.recipe.model, prepared.backbone, prepared.space.dimension
    custom = prepared.custom.make_head(backbone.channels, model.vectors, dimension) if prepared.custom else None
    if custom is not None:
        return custom
    return make_head(model, backbone, dimension, make_prior(prepared.recipe, backbone.pooling, prepared.space))


def make_network(prepared: Prepared, head: nn.Module) -> Network:
    """The whole network around a trained head, in evaluation mode, on the CPU."""
    seen_vectors, model = prepared.seen_vectors, prepared.recipe.model
    ranking = Standardiser(*prepared.seen_scored(), standardise=model.standardise, best_rows=model.best_rows)
    classes = make_class_columns(model, prepared.backbone, prepared.space, seen_vectors, prepared.train.features)
    network = Network(prepared.backbone, head, ranking, classes)
    return network.cpu().eval().to(memory_format=torch.contiguous_format)


def _trainer(
    prepared: Prepared,
    folder: Path,
    order: TrainingOrder,
    validates: bool,
    speed: Speedometer,
    loggers: list[Logger],
    processes: Processes,
) -> lightning.Trainer:
    training = prepared.recipe.training
    validation_every = order.batches_per_epoch if validates else 0
    callbacks: list[Callback] = [averaging(training.ema)] if training.ema else []
    callbacks.append(Checkpoints(folder, validation_every, keep_best=training.choose == "best", processes=processes))
    callbacks.append(speed)
    return lightning.Trainer(
        **processes.trainer_options,
        use_distributed_sampler=False,  # it repeats pictures; TrainingOrder and InOrder divide each batch
        max_epochs=1,  # all passes are one stream, so that one number says how far it is
        val_check_interval=validation_every or None,
        check_val_every_n_epoch=None if validates else 1,
        limit_val_batches=1.0 if validates else 0,
        precision=_PRECISIONS[training.precision],
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=max(1, order.batches_per_epoch // 4),
        num_sanity_val_steps=0,
        enable_checkpointing=False,  # the Checkpoints callback writes them
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _run(
    trainer: lightning.Trainer,
    module: EmbeddingTrainer,
    loader: BatchLoader,
    validation: BatchLoader | None,
    checkpoint: Path | None,
) -> None:
    try:
        trainer.fit(module, loader, validation, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:  # Lightning exits on Ctrl-C
        raise KeyboardInterrupt from stop
    except RuntimeError as error:
        raise lost_peer(error) or error from error


def _training_loader(prepared: Prepared, first: int, processes: Processes) -> tuple[BatchLoader, TrainingOrder]:
    recipe, part = prepared.recipe, prepared.train
    order = TrainingOrder(
        len(part.keys),
        recipe.training.batch_size,
        recipe.training.epochs,
        recipe.seed,
        first,
        rank=processes.rank,
        count=processes.count,
        blocks=blocks_of(part.files) if part.features is None else None,
    )
    return _loader(prepared, part, order, augmented=True), order


def _validation_loader(prepared: Prepared, processes: Processes) -> BatchLoader | None:
    part = prepared.validation
    if not part.keys:
        return None
    size = 4 * prepared.recipe.training.batch_size
    order = InOrder(len(part.keys), size, rank=processes.rank, count=processes.count)
    return _loader(prepared, part, order)


def _loader(prepared: Prepared, part: Part, order: TrainingOrder | InOrder, *, augmented: bool = False) -> BatchLoader:
    if part.features is not None:
        return BatchLoader(FeatureBatches(part.features, part.targets), order)
    recipe, preprocess = prepared.recipe, prepared.preprocess
    changes = Augmentation(recipe.augment, preprocess) if augmented else None
    data = PixelBatches(part.files, part.keys, part.targets, preprocess, changes, recipe.seed)
    return BatchLoader(data, order, recipe.training.workers)


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file, torch raises whatever it stumbles over
        raise InputError(
            f"is not a checkpoint that can be read ({error}).", where=str(checkpoint), remedy="Delete it to start over."
        ) from error
    return values


@contextmanager
def _loggers(recipe: Recipe, folder: Path, first: int, processes: Processes) -> Iterator[list[Logger]]:
    """Where the curves of one call go; a continued run begins a new part of each."""
    part = f"from_batch_{first}"
    own = CSVLogger(str(folder), name="log", version=part, flush_logs_every_n_steps=1)
    if recipe.training.logger == "csv":
        yield [own]
        return
    with further_logger(recipe, folder, part, is_main=processes.is_main) as further:
        yield [own, *further]


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's advice (more workers, a GPU that is not there) is for its own users, not for ours."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            # From torch, where a process has one picture of a batch: its gradients cost a copy more.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
