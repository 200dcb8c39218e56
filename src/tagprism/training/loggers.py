"""Where a training writes its curves: always a CSV file in the RUN; TensorBoard or Weights & Biases where asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from tagprism.errors import InputError
from tagprism.training.recipe import LoggerName, Recipe

_PACKAGES: dict[LoggerName, str] = {"tensorboard": "tensorboardX", "wandb": "wandb"}


def check_logger(name: LoggerName) -> None:
    """Refuse a logger whose package is not installed, before anything is computed.

    Raises:
        InputError: it is not.
    """
    package = _PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        remedy = "Install it with: pip install 'tagprism[loggers]'"
        raise InputError(f"'{name}' needs the package {package}.", where="training.logger", remedy=remedy)


@contextmanager
def open_loggers(recipe: Recipe, folder: Path, first: int, *, is_main: bool) -> Iterator[list[Logger]]:
    """The loggers of one call of the training; a continued run begins a new part of each.

    Args:
        recipe: names the logger.
        folder: of the checkpoints.
        first: batches that are done already.
        is_main: whether this process is the one that writes; Lightning keeps the others from the files.
    """
    part = f"from_batch_{first}"
    loggers: list[Logger] = [CSVLogger(str(folder), name="log", version=part, flush_logs_every_n_steps=1)]
    if recipe.training.logger == "tensorboard":
        loggers.append(TensorBoardLogger(str(folder), name="tensorboard", version=part, default_hp_metric=False))
    if recipe.training.logger != "wandb" or not is_main:
        yield loggers
        return
    with _wandb(recipe, folder, part) as run:
        yield [*loggers, WandbLogger(experiment=run)]


def _wandb(recipe: Recipe, folder: Path, part: str) -> Any:
    """A run in the RUN, without a connection unless `WANDB_MODE=online` asks for one, and without facts of the machine.

    It is a context, at whose end everything is written.
    """
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # its telemetry, which it reads when it is imported
    import wandb

    settings = wandb.Settings(
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        silent=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        host="",
        x_save_requirements=False,
    )
    return wandb.init(
        name=f"{recipe.name} {part}",
        dir=str(folder),
        project="tagprism",
        group=recipe.name,
        mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
        config=recipe.model_dump(mode="json"),
        settings=settings,
    )
