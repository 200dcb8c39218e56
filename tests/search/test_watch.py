"""What is told of changes in folders, also of those before anything was watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagprism.search import watch
from tagprism.search.watch import changes


def test_it_tells_of_the_time_before_it_watched_and_of_folders_that_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LOOK_AGAIN", 200)
    monkeypatch.setattr(watch, "_CALM", 100)
    (here := tmp_path / "here").mkdir()
    told = changes([str(here), str(later := tmp_path / "later")])
    next(told)  # nothing changes: it would wait for ever
    (here / "a").write_text("a")
    next(told)
    later.mkdir()
    next(told)
    (later / "b").write_text("b")
    next(told)
