"""The command line in this process, for the many cases that need no process of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from tagprism.app import console
from tagprism.app.cli import app

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
