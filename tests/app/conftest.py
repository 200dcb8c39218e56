"""The command line in this process, for the many cases that need no process of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from tagprism.app import console
from tagprism.app.cli import app
from tagprism.search.collection import open_index
from tests.small_world import World

COMMAND = typer.main.get_command(app)  # made once: making it takes longer than most commands


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    def refused(self, *words: str, code: int = 2) -> None:
        """Assert a clear error with these words in it, and no data."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err and "this is a bug" not in self.err
        assert ("nothing to do: " if code == 3 else "error") in self.err.lower() and self.out == ""
        for word in words:
            assert word in self.err


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Call the command line: `cli("tag", picture, "--model", run)`."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        code = console.run(lambda: COMMAND([str(argument) for argument in arguments], standalone_mode=False))
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def photos(tmp_path: Path, world: World) -> Path:
    """A folder of six pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for place, picture in enumerate(world.pictures()[:6]):
        shutil.copy(picture, folder / f"{place}.png")
    return folder


def held(where: Path) -> list[str]:
    """Names of the files that an index holds."""
    collection = open_index(str(where))
    try:
        return sorted(Path(one.path).name for one in collection.index.pictures())
    finally:
        collection.close()
