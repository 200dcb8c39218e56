"""An index that finds candidates in an older way is brought to today's: it says so, and is whole whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tagprism.progress import Advance
from tagprism.search import contract, edge_index, first_stage, kept_records, outline
from tagprism.search.contract import MEASURED, Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.edge_reader import PICTURES
from tests.search.test_first_stage import SHAPE, drawn, not_as_written, recall, vectors

N = 500
ASKED = vectors(2, MEASURED + 2 * SHAPE.dimension)
RENEWING, OUTLINING = "renewing the index", "outlining pictures"
ENDS = [(RENEWING, 0), (RENEWING, 3), (OUTLINING, 0), (OUTLINING, 2), ("measuring", 0)]
"""What is done, and after how many of its parts it ends."""


class Told:
    """A `Progress` that keeps what it is told: what is done, how many there are, and how many of them were done."""

    def __init__(self, ends: Callable[[], None] = lambda: None, at: tuple[str, int] = ("", 0)) -> None:
        self.said: list[tuple[str, int, list[int]]] = []
        self._ends, self._at = ends, at

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        self.said.append((what, total, done := []))

        def advance(count: int) -> None:
            done.append(count)
            if (what, len(done)) == self._at:
                self._ends()

        if (what, 0) == self._at:
            self._ends()
        yield advance

    def totals(self) -> list[tuple[str, int]]:
        """What was said, where as many were done as were said."""
        return [(what, total) for what, total, done in self.said if sum(done) == total]


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Let a small index be a large one."""
    for module, name, value in (
        (contract, "FIRST_STAGE", 100),
        (contract, "_CANDIDATES", (120, 1)),
        (first_stage, "OUTLINED", 300),
        (first_stage, "_PART", 64),
        (kept_records, "_PART", 64),
        (outline, "_COMPONENTS", 12),
    ):
        patch.setattr(module, name, value)


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that finds candidates by the mean of rows, and knows how well."""
    make_small(monkeypatch)
    index = EdgeIndex.create(tmp_path, SHAPE)
    index.add([Picture(1 + one, f"/{one}.jpg", 1, 1, f"{one}", 1, 1) for one in range(N)], drawn(1, N))
    index.settle(ASKED[:MEASURED])
    assert index.info().recall is not None and not index.info().fitted
    index.close()
    return tmp_path


def settle_until(end: Callable[[], None], folder: Path, at: tuple[str, int], patch: pytest.MonkeyPatch) -> None:
    """Settle an index until something ends that."""
    if at[0] == "measuring":
        patch.setattr(edge_index, "measured_recalls", lambda *_: end())
    EdgeIndex(folder, SHAPE).settle(ASKED, Told(end, at))


def settle_until_killed(folder: str, what: str, part: str) -> None:
    """In a process of its own."""
    patch = pytest.MonkeyPatch()
    make_small(patch)
    settle_until(lambda: os.kill(os.getpid(), signal.SIGKILL), Path(folder), (what, int(part)), patch)


def check_goes_on(folder: Path, at: tuple[str, int]) -> None:
    """Nothing false is said of an index that was ended so, and the next run makes it what it was to be."""
    index = EdgeIndex(folder, SHAPE)
    assert index.info().recall is None and index.info().worst is None
    assert index.info().fitted == (at[0] != RENEWING) and not not_as_written(folder)
    exact, told = index.search(ASKED[:MEASURED], 100, exact=True), Told()
    assert recall(exact, index.search(ASKED[:MEASURED], 100)) > 0.5
    index.settle(ASKED, told)
    wanted = [(RENEWING, N), (OUTLINING, N)]
    assert told.totals() == wanted[{RENEWING: 0, OUTLINING: 1, "measuring": 2}[at[0]] :] and len(told.said) <= 2
    found = recall(exact, index.search(ASKED[:MEASURED], 100))
    assert index.info().fitted and index.info().recall == pytest.approx(found) and not not_as_written(folder)
    index.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="it has no SIGKILL")
@pytest.mark.parametrize("at", ENDS)
def test_a_kill_leaves_nothing_false(older: Path, at: tuple[str, int]) -> None:
    code = "import sys; from tests.search.test_renewal import *; settle_until_killed(*sys.argv[1:])"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-c", code, str(older), at[0], str(at[1])]
    assert subprocess.run(command, env=environment, cwd=root, check=False).returncode == -signal.SIGKILL
    check_goes_on(older, at)


@pytest.mark.parametrize("at", ENDS)
def test_ctrl_c_leaves_nothing_false(older: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[str, int]) -> None:
    def end() -> None:
        raise KeyboardInterrupt

    index: list[EdgeIndex] = []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        init = EdgeIndex.__init__
        patch.setattr(EdgeIndex, "__init__", lambda self, *given: (index.append(self), init(self, *given))[1])
        settle_until(end, older, at, patch)
    index[0].close()
    check_goes_on(older, at)


def test_it_says_how_much_of_what_is_made_anew_at_the_first_search(older: Path) -> None:
    kept = older / PICTURES / "candidates.bin"
    before = kept.read_bytes()
    kept.write_bytes(before[: len(before) // N * 64])
    for wanted in ([(RENEWING, N - 64)], []):
        index = EdgeIndex(older, SHAPE, "half", told := Told())
        index.search(ASKED[:1], 5)
        index.close()
        assert told.totals() == wanted and kept.stat().st_size == len(before)


def test_what_it_comes_to_is_that_of_an_index_that_was_made_so(
    older: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    new = tmp_path_factory.mktemp("new")
    index = EdgeIndex.create(new, SHAPE)
    index.settle(ASKED, told := Told())
    assert not told.said and index.info().recall == 1.0, "there is nothing to make anew, and all would be looked at"
    kept = EdgeIndex(older, SHAPE)
    index.add(list(kept.pictures()), kept.records(range(1, N + 1)))
    kept.settle(ASKED)
    one, other = (np.fromfile(where / PICTURES / "candidates.bin", np.uint8) for where in (older, new))
    np.testing.assert_array_equal(one, other)
    index.close(), kept.close()
