"""An index of a few pictures, and the server over it: in this process, or in one of its own as people start it."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.testclient import TestClient

from tagprism.app.server.access import Access
from tagprism.app.server.application import create_app
from tagprism.app.server.library_process import LibraryProcess
from tagprism.app.server.public_url import PublicUrl
from tagprism.search.create import create_collection, update_lock
from tagprism.search.upkeep import Upkeep
from tests.small_world import COLOURS, SHAPES, draw

PHOTOS = Path(__file__).parents[1] / "photos"
TOKEN = "a token of more than sixteen letters"
HERE = "http://127.0.0.1"


def make_photos(folder: Path, drawn: int = 16) -> Path:
    """The photos of `tests/photos` and some drawn pictures."""
    shutil.copytree(PHOTOS, folder, ignore=shutil.ignore_patterns("*.md"))
    for number in range(drawn):
        colour, shape = tuple(COLOURS)[number % 4], SHAPES[number // 4 % 4]
        draw(folder / "drawn" / f"{colour}_{shape}_{number}.png", colour, shape, seed=number)
    return folder


def make_index(folder: Path, photos: Path, model: str = "photos-lite") -> Path:
    """An index of a folder's pictures."""
    with update_lock(str(folder)):
        collection = create_collection(str(folder), model, folders=(str(photos),))
        upkeep = Upkeep(collection)
        upkeep.update([str(photos)])
        upkeep.close()
        collection.close()
    return folder


@contextmanager
def serving(
    index: Path, *, token: str | None = None, public: str = "", before: Callable[[], object] | None = None
) -> Iterator[TestClient]:
    """The application in this process, ready; `before` runs before it loads anything."""
    is_ready = threading.Event()
    failures: list[BaseException] = []

    def start() -> LibraryProcess:
        if before is not None:
            before()
        return LibraryProcess(str(index), None, "photo.jpg.xmp")

    def failed(error: BaseException) -> None:
        failures.append(error)
        is_ready.set()

    app = create_app(
        start, Access(token, PublicUrl.of(public) if public else PublicUrl()), failed, lambda _: is_ready.set()
    )
    with TestClient(app, base_url=HERE, raise_server_exceptions=False, follow_redirects=False) as client:
        if before is None:
            assert is_ready.wait(300)
        if failures:
            raise failures[0]
        yield client


class Served:
    """`tagprism serve` in a process of its own, on a port that is free.

    Attributes:
        address: once it answers.
        lines: what it has said on stderr.
    """

    def __init__(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "tagprism", "serve", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        )
        self.lines: list[str] = []
        self._said: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self.address = self._wait()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            self._said.put(line)
        self._said.put(None)

    def _wait(self) -> str:
        while (line := self._said.get(timeout=60)) is not None:
            if found := re.search(r"http://\S+", line):
                return found[0]
        raise AssertionError("".join(self.lines))

    def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it; its exit code and what it wrote on stdout."""
        self.process.send_signal(by)
        code = self.process.wait(30)
        self._listener.join()
        assert self.process.stdout is not None and self.process.stderr is not None
        with self.process.stdout as stdout, self.process.stderr:
            return code, stdout.read()


@contextmanager
def served(index: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """The server in a process of its own; it must end well."""
    server = Served(index, *arguments, environment=environment)
    try:
        yield server
    except BaseException:
        server.stop(signal.SIGKILL)
        raise
    assert server.stop() == (0, ""), server.lines
