"""A run that is killed at random and continued ends with the very bits of one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small_world import make_pictures, make_recipe

pytestmark = pytest.mark.slow

MODES = {
    "frozen": ["training.epochs=40", "training.choose=best"],
    "end_to_end": [
        "training.end_to_end=true",
        "training.workers=2",
        "training.ema=0.9",
        "training.epochs=8",
    ],
}


# `tagprism` that writes a checkpoint after every batch.
OFTEN = """
from tagprism.training import module
module.SECONDS_BETWEEN_CHECKPOINTS = -1.0
from tagprism.app.cli import main
main()
"""


def start(recipe: Path, data: Path, out: Path, settings: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", OFTEN, "train", str(recipe), "--data", f"tagged:{data}", "--quiet"]
    command += ["--split", str(data / "split.json"), "--out", str(out)]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)


def kill_after_checkpoints(process: subprocess.Popen[bytes], checkpoint: Path, count: int) -> bool:
    """Kill the whole process group when the checkpoint has changed `count` times; False if it finished before."""
    changes, last = 0, checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    while process.poll() is None:
        now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        if now != last:
            changes, last = changes + 1, now
        if changes >= count:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    return False


@pytest.mark.parametrize("mode", MODES)
def test_killed_run_ends_bit_equal(mode: str, tmp_path: Path) -> None:
    data, recipe = make_pictures(tmp_path / "data"), make_recipe(tmp_path)
    whole = start(recipe, data, tmp_path / "whole", MODES[mode])
    draw = random.Random(mode)
    kills = 0
    for _ in range(3):
        process = start(recipe, data, tmp_path / "killed", MODES[mode])
        kills += kill_after_checkpoints(process, tmp_path / "killed/checkpoints/last.ckpt", draw.randint(2, 6))
    last = start(recipe, data, tmp_path / "killed", MODES[mode])
    for process, name in ((whole, "whole"), (last, "killed")):
        assert process.wait() == 0, (tmp_path / name).with_suffix(".log").read_text()
    assert kills == 3
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("whole", "killed")]
    assert weights[0] == weights[1]
