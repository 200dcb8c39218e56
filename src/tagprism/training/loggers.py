"""The loggers that a recipe may ask for beside the CSV file of every training: TensorBoard, Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

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
def further_logger(recipe: Recipe, folder: Path, part: str, *, is_main: bool) -> Iterator[list[Logger]]:
    """The logger that a recipe names, for one call of the training.

    Args:
        recipe: names the logger.
        folder: of the checkpoints.
        part: name of this call's curves.
        is_main: whether this process is the one that writes; Lightning keeps the others from the files.
    """
    if recipe.training.logger == "tensorboard":
        yield [TensorBoardLogger(str(folder), name="tensorboard", version=part, default_hp_metric=False)]
    elif not is_main:
        yield []
    else:
        with _wandb(recipe, folder, part) as run:
            yield [WandbLogger(experiment=run)]


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
