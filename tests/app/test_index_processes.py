"""`tagprism index` as a process that is killed, interrupted, or goes on watching."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.app.conftest import held
from tests.command_line import tagprism
from tests.small_world import World, draw

pytestmark = pytest.mark.slow


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tagprism", *arguments], stderr=subprocess.PIPE)


def test_killed_at_any_moment_it_continues(world: World, tmp_path: Path) -> None:
    photos, where = tmp_path / "photos", tmp_path / "photos.index"
    for seed in range(400):
        draw(photos / f"{seed}.png", "red", "circle", seed)
    random = np.random.default_rng(0)
    for _ in range(6):
        with start("index", photos, "--into", where, "-m", world.run) as process:
            time.sleep(random.uniform(0.5, 4))
            process.kill()
    assert process.stderr is not None
    done = tagprism("index", photos, "--into", where, "-m", world.run)
    assert done.returncode == 0, done.stderr
    assert held(where) == sorted(f"{seed}.png" for seed in range(400))
    again = tagprism("index", "--into", where)
    assert again.returncode == 0 and b"400 unchanged; 400 pictures" in again.stderr


def test_ctrl_c_says_how_far_it_is(world: World, tmp_path: Path) -> None:
    photos, where = tmp_path / "photos", tmp_path / "photos.index"
    for seed in range(300):
        draw(photos / f"{seed}.png", "red", "circle", seed)
    with start("index", photos, "--into", where, "-m", world.run, "--watch") as process:
        until(lambda: (where / "index.json").exists())
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 130 and "photos.index holds " in said and "Run the same command again" in said


def test_watch_follows_the_folder_while_others_search(world: World, photos: Path, tmp_path: Path) -> None:
    where = tmp_path / "photos.index"
    with start("index", photos, "--into", where, "-m", world.run, "--watch", "--quiet") as process:
        try:
            until(lambda: (where / "index.json").exists() and len(held(where)) == 6)
            (photos / "0.png").rename(photos / "moved.png")
            draw(photos / "deep/new.png", "blue", "cross", 99)
            until(lambda: "moved.png" in held(where) and "new.png" in held(where))
            second = tagprism("index", "--into", where)
            assert second.returncode == 6 and b"another `tagprism index` is at work" in second.stderr
        finally:
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            said = process.stderr.read().decode()
    assert process.returncode == 130 and "interrupted" in said, said
    assert "0.png" not in held(where)


def until(what: object, seconds: float = 60) -> None:
    assert callable(what)
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.2)
