"""Several processes train as one does: the same curve, pictures and validation; killed, they continue."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tagprism.errors import InputError
from tagprism.network.backbones import Backbone
from tagprism.training.batches import ALONE, LAUNCHED, InOrder, TrainingOrder, shard, this_process
from tests.odd_pictures import DAMAGED, draw_odd_pictures
from tests.small_world import World, make_world

# 31 training pictures: the last batch of an epoch has one or none that can be opened, so one of two processes has none.
TEN = ("training.batch_size=10", "loss.across_images=0.4")
END_TO_END = (*TEN, "training.end_to_end=true", "training.workers=0", "model.backbone=test_convnext.r160_in1k")
STARTED: list[subprocess.Popen[bytes]] = []
LONGER = ("training.epochs=6", "training.ema=0.5")
# `tagprism` that writes a checkpoint after every batch.
OFTEN = """
from tagprism.training import module
module.SECONDS_BETWEEN_CHECKPOINTS = -1.0
from tagprism.app.cli import main
main()
"""


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3), st.integers(1, 5), st.integers(0, 9))
def test_the_parts_of_all_processes_are_the_whole_stream(
    pictures: int, batch_size: int, epochs: int, count: int, seed: int
) -> None:
    for whole, parts in (
        (
            TrainingOrder(pictures, batch_size, epochs, seed),
            [TrainingOrder(pictures, batch_size, epochs, seed, rank=rank, count=count) for rank in range(count)],
        ),
        (
            InOrder(pictures, batch_size),
            [InOrder(pictures, batch_size, rank=rank, count=count) for rank in range(count)],
        ),
    ):
        assert {len(part) for part in parts} == {len(whole)}
        for place, *places in zip(whole, *parts, strict=True):
            assert tuple(row for part in places for row in part.rows) == place.rows
            sizes = [len(part.rows) for part in places]
            assert max(sizes) - min(sizes) <= 1


def test_a_batch_smaller_than_the_processes_leaves_some_without() -> None:
    assert [shard([7], rank, 3) for rank in range(3)] == [(), (), (7,)]


@pytest.mark.slow  # loads Lightning
def test_synchronised_batch_norm_keeps_weights_and_activations() -> None:
    from timm.layers import BatchNormAct2d, SyncBatchNormAct

    from tagprism.training.end_to_end import synchronise_batch_norm

    backbone = Backbone("test_efficientnet.r160_in1k", "random").eval()
    copied = synchronise_batch_norm(backbone).eval()
    before = [type(one) for one in backbone.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    after = [type(one) for one in copied.modules() if isinstance(one, torch.nn.SyncBatchNorm)]
    assert BatchNormAct2d in before and len(after) == len(before)
    assert after.count(SyncBatchNormAct) == before.count(BatchNormAct2d)
    assert not any(isinstance(one, torch.nn.SyncBatchNorm) for one in backbone.modules())  # the original is left
    pixels = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(copied(pixels), backbone(pixels))
    backbone.load_state_dict(copied.state_dict())


def test_a_process_alone_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS", LAUNCHED):
        monkeypatch.delenv(name, raising=False)
    assert this_process() is ALONE
    assert ALONE.sum(3.0) == 3.0 and ALONE.gather_tables({"a": [1, "é"]}) == {"a": [1, "é"]}
    with ALONE.main_first("x"):
        pass


@pytest.mark.slow  # loads Lightning
def test_srun_tells_each_process_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    values = {"NTASKS": 8, "STEP_NUM_TASKS": 8, "NTASKS_PER_NODE": 4, "PROCID": 6, "LOCALID": 2, "NODEID": 1}
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    own = this_process()
    assert (own.rank, own.count, own.local_rank, own.local_count, own.nodes) == (6, 8, 2, 4, 2)
    assert not own.is_main
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(InputError, match="--ntasks-per-node"):
        this_process()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A small world for several runs; some of its training pictures are damaged."""
    world = make_world(tmp_path_factory.mktemp("processes"))
    draw_odd_pictures(world.folder / "odd")
    train = json.loads((world.data / "split.json").read_text())["train"]
    for name, key in zip(DAMAGED, train[::6], strict=False):
        shutil.copy(world.folder / "odd" / name, world.data / "images" / key)
    return world


def start(
    world: World, run: str, *settings: str, devices: int = 1, torchrun: bool = False, often: bool = False
) -> subprocess.Popen[bytes]:
    """`tagprism train` in the background."""
    start = [sys.executable, *(("-c", OFTEN) if often else ("-m", "tagprism"))]
    if torchrun:
        start[1:1] = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    command = [*start, *world.train_arguments(world.folder / run), "--quiet"]
    command += [part for setting in settings for part in ("--set", setting)]
    command += ["--devices", str(devices)] if devices > 1 and not torchrun else []
    with (world.folder / f"{run}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
        )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def none_goes_on() -> Iterator[None]:
    """A failed test leaves no process behind; those of a launcher end with it."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def finish(world: World, run: str, process: subprocess.Popen[bytes], code: int = 4) -> str:
    """Wait; the exit code is as expected. Returns what was said."""
    ended = process.wait(300)
    said = (world.folder / f"{run}.log").read_text()
    assert ended == code, said
    assert "Warning" not in said
    return said


def logged(world: World, run: str, column: str) -> dict[int, float]:
    """A column of the log by step; of steps that were done twice, the later."""
    parts = (world.folder / run / "checkpoints/log").iterdir()
    found: dict[int, float] = {}
    for part in sorted(parts, key=lambda part: int(part.name.rpartition("_")[2])):
        if (part / "metrics.csv").exists():  # not where it was killed at once
            with (part / "metrics.csv").open() as file:
                found.update({int(row["step"]): float(row[column]) for row in csv.DictReader(file) if row.get(column)})
    return found


def same_training(world: World, one: str, other: str) -> None:
    """Loss and validation agree; the weights, too, as far as Adam lets rounding grow."""
    for column in ("loss", "validation_mAP"):
        left, right = (logged(world, run, column) for run in (one, other))
        common = sorted(left.keys() & right.keys())
        assert len(common) > 2 and common[-1] == max(left) == max(right)
        values = [torch.tensor([found[step] for step in common]) for found in (left, right)]
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)
    weights = [load_file(world.folder / run / "weights.safetensors") for run in (one, other)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_two_processes_on_features_are_one(pictures: World) -> None:
    finish(pictures, "one", start(pictures, "one", *TEN))  # first, so that the other takes the features from the cache
    two = start(pictures, "two", *TEN, devices=2, torchrun=True)
    assert "exitcode  : 4" in finish(pictures, "two", two, code=1)  # torchrun has 1 for all that is not 0
    same_training(pictures, "one", "two")
    (pictures.folder / "two.log").unlink()
    said = finish(pictures, "two", start(pictures, "two", *TEN, devices=2), code=0)  # once more: all of them end
    assert said.count("this run is finished") == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes in /proc")
def test_interrupted_processes_continue_to_the_same_bits(pictures: World) -> None:
    settings = (*END_TO_END, *LONGER)
    whole = start(pictures, "whole", *settings, devices=2, often=True)
    for rank, signal_, code in ((None, signal.SIGINT, 130), (None, signal.SIGKILL, -9), (1, signal.SIGKILL, 6)):
        process = start(pictures, "cut", *settings, devices=2, often=True)
        stop_after_a_checkpoint(pictures.folder / "cut/checkpoints/last.ckpt", process, rank, signal_)
        assert process.returncode == code
    said = (pictures.folder / "cut.log").read_text().splitlines()
    assert said[0] == "interrupted; run the same command again to continue."
    assert said[1].startswith("error process 1 of 2 was killed (signal 9).")
    assert len(said) == 2
    shutil.copytree(pictures.folder / "cut", pictures.folder / "cut then one")
    finish(pictures, "cut", start(pictures, "cut", *settings, devices=2))
    finish(pictures, "whole", whole)
    weights = [(pictures.folder / run / "weights.safetensors").read_bytes() for run in ("whole", "cut")]
    assert weights[0] == weights[1]
    # One process alone gives the same curve, whether from the start or from where two were cut off.
    for run in ("alone", "cut then one"):
        said_by_it = finish(pictures, run, start(pictures, run, *settings))
        assert said_by_it.count("skipped ") == len(DAMAGED) and "error" not in said_by_it
        same_training(pictures, "whole", run)
        skipped = [(pictures.folder / one / "skipped.json").read_text() for one in ("whole", run)]
        assert json.loads(skipped[0]) == json.loads(skipped[1])


def stop_after_a_checkpoint(
    checkpoint: Path, process: subprocess.Popen[bytes], rank: int | None, number: signal.Signals
) -> None:
    """Send a signal to the launcher (Ctrl-C: to all) or to one process; none of them goes on alone."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        assert process.poll() is None, "it ended too early"
        time.sleep(0.002)
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    targets = [process.pid if rank is None else workers[rank], *(workers if number == signal.SIGINT else ())]
    for pid in targets:
        os.kill(pid, number)
    process.wait(60)
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until, "a process goes on alone"
        time.sleep(0.05)


@pytest.mark.slow
def test_an_error_ends_all_processes_with_one_message(pictures: World) -> None:
    process = start(pictures, "refused", *END_TO_END[:-1], devices=2)
    said = finish(pictures, "refused", process, code=2)
    assert said.startswith("error --devices: test_efficientnet.r160_in1k has batch norm")
    assert said.count("\n") == 1
