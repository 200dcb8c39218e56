"""How many files of the package one command runs: that is how many one must open to follow it (docs/decisions.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import python, tagprism
from tests.small_world import World

COUNT = """
import inspect, json, sys, threading
import tagprism.app.cli

own, files = tagprism.__file__.removesuffix("__init__.py"), set()

def profile(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(own):
        files.add(code.co_filename.removeprefix(own))

threading.setprofile(profile)
sys.setprofile(profile)
try:
    tagprism.app.cli.main()
except SystemExit as stop:
    code = stop.code
finally:
    sys.setprofile(None)
print(json.dumps({"code": code, "files": sorted(files)}), file=sys.stderr)
"""


def files_run(*arguments: str | Path) -> list[str]:
    """The files of the package in which a function is called, in any thread of a command."""
    done = python(COUNT, *arguments)
    found = json.loads(done.stderr.decode().splitlines()[-1])
    assert found["code"] == 0, done.stderr
    files: list[str] = found["files"]
    return files


def test_a_search_is_followed_through_twenty_files(photos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    assert tagprism("index", photos, "--into", index).returncode == 0
    for query in ("dog", "beach AND sunset NOT people"):
        assert len(files := files_run("search", index, query, "--quiet")) <= 20, files


def test_tagging_is_followed_through_23_files(photos: Path) -> None:
    assert len(files := files_run("tag", photos, "--quiet")) <= 23, files


def test_writing_keywords_is_followed_through_some_thirty_files(photos: Path) -> None:
    assert len(files := files_run("keywords", "write", photos, "--quiet", "--dry-run")) <= 29, files
    assert len(files := files_run("keywords", "write", photos, "--quiet")) <= 32, files


@pytest.mark.slow
def test_a_training_is_followed_through_some_forty_files(world: World, tmp_path: Path) -> None:
    assert len(files := files_run(*world.train_arguments(tmp_path / "RUN"), "--quiet")) <= 40, files
