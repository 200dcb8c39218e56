"""What a recipe's schedule settings do: averaged weights, precision; and the log of the speed."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import load_split
from tagprism.errors import InputError
from tagprism.training import fit as module
from tagprism.training import module as training_module
from tagprism.training.batches import FeatureBatches
from tagprism.training.fit import fit
from tagprism.training.module import EmbeddingTrainer
from tagprism.training.prepare import Prepared, prepare
from tagprism.training.recipe import load_recipe
from tests.small_world import World

pytestmark = pytest.mark.slow  # each trains a network in this process

Prepare = Callable[..., Prepared]


@pytest.fixture
def prepared(world: World) -> Prepare:
    """The small world's first 32 training pictures, ready to train under a changed recipe."""

    def make(*settings: str) -> Prepared:
        table = open_dataset(f"tagged:{world.data}")
        split = load_split(f"{world.data}/splits.json#0", table)
        return prepare(load_recipe(world.recipe, settings), table, replace(split, train=split.train[:32]))

    return make


def logged(folder: Path) -> list[dict[str, str]]:
    with (folder / "log/from_batch_0/metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_averaged_weights_are_validated_and_kept(
    prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[torch.Tensor] = []
    validated: list[tuple[int, torch.Tensor]] = []

    def weight(trainer: EmbeddingTrainer) -> torch.Tensor:
        return next(trainer.network.parameters()).detach().clone()

    start, validate = EmbeddingTrainer.on_train_batch_start, EmbeddingTrainer.validation_step

    def on_train_batch_start(self: EmbeddingTrainer, *arguments: Any) -> None:
        trained.append(weight(self))
        start(self, *arguments)

    def validation_step(self: EmbeddingTrainer, *arguments: Any) -> None:
        validated.append((self.batches_done, weight(self)))
        validate(self, *arguments)

    monkeypatch.setattr(EmbeddingTrainer, "on_train_batch_start", on_train_batch_start)
    monkeypatch.setattr(EmbeddingTrainer, "validation_step", validation_step)
    monkeypatch.setattr(training_module, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    settings = ("training.ema=0.5", "training.learning_rate=0.1")
    kept = fit(prepared(*settings), tmp_path).network.head.linear.weight
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)["current_model_state"]["network.linear.weight"]
    steps = [*trained[1:], last]
    average = [steps[0]]
    for step in steps[1:]:
        average.append(0.5 * average[-1] + 0.5 * step)
    torch.testing.assert_close(kept, average[-1])
    assert not torch.allclose(kept, last, atol=1e-3)
    assert len(validated) >= 3
    for done, seen in validated:
        torch.testing.assert_close(seen, average[done - 1])


def test_bf16_trains_end_to_end_on_a_processor(prepared: Prepare, tmp_path: Path) -> None:
    losses = {}
    for precision in ("32", "bf16"):
        settings = ("training.end_to_end=true", "training.workers=0", "training.epochs=1", "training.batch_size=16")
        ready = prepared(*settings, f'training.precision="{precision}"')
        fitted = fit(ready, tmp_path / precision)
        rows = logged(tmp_path / precision)
        losses[precision] = [float(row["loss"]) for row in rows if row["loss"]]
        assert {value.dtype for value in fitted.network.parameters()} == {torch.float32}
        assert all(part.isfinite().all() for part in fitted.network(torch.rand(1, 3, 64, 64)))
    np.testing.assert_allclose(losses["bf16"], losses["32"], rtol=0.1)
    assert losses["bf16"] != losses["32"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_fp16_needs_a_gpu(prepared: Prepare, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.precision.*bf16"):
        fit(prepared('training.precision="fp16"'), tmp_path)


@pytest.mark.parametrize("slow", [False, True], ids=["quick data", "slow data"])
def test_the_log_says_how_fast_it_is_and_how_long_it_waits(
    slow: bool, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = FeatureBatches.__getitem__

    def late(self: FeatureBatches, place: Any) -> Any:
        time.sleep(0.2 * slow)
        return get(self, place)

    monkeypatch.setattr(FeatureBatches, "__getitem__", late)
    ready = prepared()
    begin = time.perf_counter()
    speed = fit(ready, tmp_path).speed
    assert speed.images == 3 * len(ready.train.keys)
    assert 0 < speed.waited < speed.seconds < time.perf_counter() - begin
    rows = [row for row in logged(tmp_path) if row["loss"]]
    assert rows
    for row in rows:
        assert float(row["images_per_second"]) > 0 and 0 <= float(row["data_wait"]) <= 1
    assert float(rows[-1]["images_per_second"]) == pytest.approx(speed.images_per_second, rel=0.01)
    assert float(rows[-1]["data_wait"]) == pytest.approx(speed.data_wait, abs=0.01)
    if slow:
        assert speed.data_wait > 0.5
        assert speed.images_per_second < 8 / 0.2


def test_a_batch_without_pictures_moves_nothing(prepared: Prepare, tmp_path: Path, monkeypatch: Any) -> None:
    """Neither weights nor the statistics of batch norm become NaN when no picture of a batch can be opened."""
    ready = prepared("training.end_to_end=true", "training.workers=0", "training.epochs=1", "training.validation=0")
    monkeypatch.setattr(module.PixelBatches, "_pixels", _only_the_first(ready, module.PixelBatches._pixels))
    fitted = fit(ready, tmp_path)
    assert all(value.isfinite().all() for value in fitted.network.state_dict().values())
    assert len(fitted.failed) == len(ready.train.keys) - 8


def _only_the_first(ready: Prepared, pixels: Any) -> Any:
    from tagprism.errors import PictureError
    from tagprism.training.batches import epoch_order

    good = set(epoch_order(len(ready.train.keys), seed=ready.recipe.seed, epoch=0)[:8].tolist())

    def some(self: Any, row: int, epoch: int) -> Any:
        if row not in good:
            raise PictureError("corrupt", "The picture is damaged.")
        return pixels(self, row, epoch)

    return some
