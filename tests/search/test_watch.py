"""What is told of changes in folders, also of those before anything was watched, and where nothing is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watchfiles._rust_notify import WatchfilesRustInternalError

from tagprism.search import watch
from tagprism.search.watch import changes


def test_it_tells_of_the_time_before_it_watched_and_of_folders_that_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LOOK_AGAIN", 200)
    monkeypatch.setattr(watch, "_CALM", 100)
    (here := tmp_path / "here").mkdir()
    (own := here / "index").mkdir()
    told = changes([str(here), str(later := tmp_path / "later")], str(own))
    assert next(told) is None  # nothing changes: it would wait for ever
    (own / "own").write_text("not told")
    (here / "a").write_text("a")
    assert str(here / "a") in until(told, here / "a")
    later.mkdir()
    while next(told) is not None:  # more of what was told before
        pass
    (later / "b").write_text("b")
    assert not any(path.startswith(str(own)) for path in until(told, later / "b"))


def until(told: Iterator[frozenset[str] | None], path: Path) -> frozenset[str]:
    """What is told until a path is among it."""
    everything: frozenset[str] = frozenset()
    while str(path) not in everything:
        everything |= next(told) or frozenset()
    return everything


LIMITS = [
    OSError('OS file watch limit reached. about ["/photos"] (Error { kind: MaxFilesWatch, paths: ["/photos"] })'),
    OSError(24, os.strerror(24)),
    WatchfilesRustInternalError("Error creating recommended watcher: Too many open files (os error 24)"),
]


@pytest.mark.parametrize("limit", LIMITS)
def test_where_the_system_cannot_watch_so_much_it_looks_every_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: Exception
) -> None:
    def refuse(*folders: str, **options: Any) -> Iterator[Any]:
        raise limit
        yield

    slept: list[float] = []
    monkeypatch.setattr(watch, "watch", refuse)
    monkeypatch.setattr(watch.time, "sleep", slept.append)
    said: list[str] = []
    told = changes([str(tmp_path)], remark=said.append)
    assert [next(told) for _ in range(3)] == [None, None, None] and slept == [60.0, 60.0]
    assert len(said) == 1 and "looked at every minute" in said[0] and "MaxFilesWatch" not in said[0]


def test_a_folder_that_goes_while_the_watch_is_set_up_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = watch.watch, iter([FileNotFoundError("No such file"), None])

    def once(*folders: str, **options: Any) -> Iterator[Any]:
        if error := next(calls):
            raise error
        return real(*folders, **options)

    monkeypatch.setattr(watch, "_LOOK_AGAIN", 100)
    monkeypatch.setattr(watch, "watch", once)
    said: list[str] = []
    assert next(changes([str(tmp_path)], remark=said.append)) is None and said == []
