"""One index, many processes: nothing acknowledged is lost and no answer is wrong, whoever is killed."""

from __future__ import annotations

import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tagprism.bundle.record import Records, score_records
from tagprism.errors import InputError, MachineError
from tagprism.search import kept_records, remote_index, shared_index
from tagprism.search.conditions import Filter
from tagprism.search.contract import Index, Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.edge_reader import PICTURES
from tagprism.search.index_server import SOCKET, connect
from tagprism.search.shared_index import LOCK, SERVER, SharedIndex, take_lock
from tests.search import writer
from tests.search.test_renewal import Told
from tests.search.writer import SHAPE, open_shared, picture, record

STABLE = range(1, 41)
VECTORS = np.random.default_rng(5).integers(-3, 4, (3, SHAPE.width)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    EdgeIndex.create(tmp_path, SHAPE).close()
    return tmp_path


def start(folder: Path, seed: int) -> subprocess.Popen[str]:
    root = Path(writer.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-m", "tests.search.writer", str(folder), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root)


def same(one: Records, other: Records) -> None:
    assert np.array_equal(one.rows, other.rows) and np.array_equal(one.shared, other.shared)


def right(index: Index, where: Filter | None) -> None:
    """Assert that one search is right in itself, and has all that nobody changes."""
    for vector, hits in zip(VECTORS, index.search(VECTORS, 500, where=where), strict=True):
        assert [(-hit.score, hit.id) for hit in hits] == sorted((-hit.score, hit.id) for hit in hits)
        scores = {hit.id: hit.score for hit in hits}
        assert len(scores) == len(hits)
        for one in STABLE:
            assert scores[one] == float(score_records(record(one, 0), vector[None])[0][0, 0])


class Clients:
    """Threads that search without a pause and remember the first thing that went wrong."""

    def __init__(self, index: Index, count: int) -> None:
        self.errors: list[BaseException] = []
        self.searches = 0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._search, args=(index, row)) for row in range(count)]
        for thread in self._threads:
            thread.start()

    def _search(self, index: Index, row: int) -> None:
        try:
            while not self._end.is_set():
                right(index, Filter(path=("photos",)) if row % 2 else None)
                self.searches += 1
        except BaseException as error:
            self.errors.append(error)

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def check_acknowledged(lines: list[str], index: Index, state: dict[int, int]) -> None:
    """Bring `state` (id -> change that brought it) up to what was acknowledged, and hold the index against it."""
    unsure: dict[int, int | None] = {}
    for line in lines:
        when, *rest = line.split()
        if when == "open" or not line.endswith("\n"):
            continue
        what, change, ids = rest[0], int(rest[1]), [int(one) for one in rest[2:]]
        outcome: dict[int, int | None] = dict.fromkeys(ids, change if what == "add" else None)
        unsure = outcome if when == "try" else {}
        if when == "did":
            for one, new in outcome.items():
                state.pop(one, None)
                if new is not None:
                    state[one] = new
    held = {one.id: one.size for one in index.pictures() if one.id not in STABLE}
    if unsure and held != state:  # what was under way is done whole or not at all
        for one, maybe in unsure.items():
            state.pop(one, None)
            if maybe is not None:
                state[one] = maybe
    assert held == state
    ids = list(state)
    for one, found in zip(ids, index.records(ids), strict=True):
        same(found, record(one, state[one]))


def changes_until_killed(folder: Path, seed: int, pause: float, during: Callable[[], None] = lambda: None) -> list[str]:
    """Run a writer for a while, `kill -9` it, and return what it said."""
    child = start(folder, seed)
    assert child.stdout is not None
    lines = [child.stdout.readline()]
    assert lines == ["open\n"]
    during()
    time.sleep(pause)
    child.kill()
    lines += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    return lines


@pytest.mark.slow
def test_fifty_clients_search_while_a_writer_is_killed_twenty_times(folder: Path) -> None:
    index, state, random = with_stable(folder), dict[int, int](), np.random.default_rng(0)
    clients = Clients(index, 50)
    try:
        for seed in range(20):
            lines = changes_until_killed(folder, seed, random.uniform(0, 0.5))
            assert index._listener is not None
            while index._listener.server.clients:  # what the dead writer sent last may still be under way
                time.sleep(0.01)
            check_acknowledged(lines, index, state)
    finally:
        clients.end()
    assert not clients.errors and clients.searches > 50 and state
    index.close()
    again = open_shared(folder)
    assert {one.id: one.size for one in again.pictures() if one.id not in STABLE} == state
    again.close()


@pytest.mark.slow
def test_clients_go_on_when_the_writer_that_had_it_open_is_killed(folder: Path) -> None:
    with_stable(folder).close()
    state: dict[int, int] = {}
    for seed in range(3):
        clients_of: list[tuple[SharedIndex, Clients]] = []

        def search(clients_of: list[tuple[SharedIndex, Clients]] = clients_of) -> None:
            index = open_shared(folder)
            assert index._listener is None
            clients_of.append((index, Clients(index, 10)))

        lines = changes_until_killed(folder, seed, 0.3, search)
        ((index, clients),) = clients_of
        check_acknowledged(lines, index, state)
        assert index._listener is not None
        clients.end()
        assert not clients.errors and clients.searches
        index.close()


def with_stable(folder: Path) -> SharedIndex:
    """The index with the pictures that nobody changes."""
    index = open_shared(folder)
    index.add([picture(one, 0) for one in STABLE], Records.joined(record(one, 0) for one in STABLE))
    return index


class TestClients:
    """Two that share a folder in one process stand for two processes: the lock is of the open file."""

    def test_a_client_sees_and_changes_what_the_server_has(self, folder: Path) -> None:
        server, client = with_stable(folder), open_shared(folder)
        odd = Picture(50, "/a/\udcff\n.jpg", 2**40, 2**62, "ab", 1, 2, "2024-07-31T18:05:09", (("é", 0.5), ("b", None)))
        client.add([odd], record(50, 0))
        client.remove([3])
        for index in (server, client):
            assert index.get([50, 3]) == [odd, None]
            same(index.records([50, 1]), Records.joined([record(50, 0), record(1, 0)]))
            assert [one.id for one in index.pictures(after=38)] == [39, 40, 50]
        where = Filter(taken=(("2024", "2024-07"),), path=("\udcff",), not_path=("x",), not_taken=(("2023", "2023"),))
        where = replace(where, not_fields=(("camera", "nikon"),))
        assert client.search(VECTORS, 5, where=where) == server.search(VECTORS, 5, where=where) != [[], [], []]
        assert np.array_equal(client.scores(VECTORS, [50, 2]), server.scores(VECTORS, [50, 2]))
        client.settle(VECTORS)
        assert client.info() == server.info()
        client.close(), server.close()

    def test_a_client_is_told_how_far_the_server_is(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept_records, "_PART", 16)
        server, client = with_stable(folder), open_shared(folder)
        asked = np.random.default_rng(1).standard_normal((30, SHAPE.width)).astype(np.float32)

        def leave() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.settle(asked, Told(leave, ("renewing the index", 1)))
        right(client, None)
        (folder / PICTURES / "usually_asked.safetensors").unlink(missing_ok=True)
        server.close()  # so that whether it had been done when the client left is forgotten
        server = open_shared(folder)
        client.settle(asked, told := Told())
        assert told.said == [("renewing the index", len(STABLE), [16, 16, 8])]
        assert client.info() == server.info() and client.info().fitted
        client.settle(asked, told := Told())
        assert not told.said
        client.close(), server.close()

    def test_versions_understand_what_others_say_of_an_index(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = EdgeIndex(folder, SHAPE)
        info = replace(index.info(), recall=None, worst=None)
        monkeypatch.setattr(index, "info", lambda: info)
        former = json.loads(remote_index.answer(index, b'{"call": "info", "shapes": []}', print).partition(b"\n")[0])
        fields = {"pictures": 0, "vectors": 3, "dimension": 5, "shared": 2, "storage": "half", "exact": False}
        assert former == {**fields, "recall": 1.0, "worst": 1.0, "shapes": []}
        index.close()
        server, client = with_stable(folder), open_shared(folder)
        values = remote_index._info_values
        monkeypatch.setattr(remote_index, "_info_values", lambda *given: {**values(*given), "of a later version": 1})
        assert client.info() == server.info()
        client.close(), server.close()

    def test_errors_are_those_of_the_server(self, folder: Path) -> None:
        server, client = with_stable(folder), open_shared(folder)
        with pytest.raises(InputError, match="the index holds 3 x 5 and 2"):
            client.add([picture(1, 1)], Records(np.zeros((1, 2, 2), np.float32), np.zeros((1, 2), np.float32)))
        with pytest.raises(KeyError):
            client.records([999])
        assert client.get([1]) == [picture(1, 0)]  # the line still works
        client.close(), server.close()

    def test_a_client_takes_over_from_a_server_that_closes(self, folder: Path) -> None:
        server, client, other = with_stable(folder), open_shared(folder), open_shared(folder)
        server.close()
        right(client, None), right(other, None)
        other.remove([1])
        assert client.get([1]) == [None]
        client.close(), other.close()

    def test_nobody_comes_in_without_the_key(self, folder: Path) -> None:
        server = with_stable(folder)
        about = json.loads((folder / SERVER).read_text())
        for key in (b"wrong", b""):
            with pytest.raises(ConnectionError):
                connect(folder, about, key, 10)
        connect(folder, about, bytes.fromhex(about["key"]), 10).close()
        names = (LOCK, SERVER, *([SOCKET] if "socket" in about else []))
        assert all((folder / name).stat().st_mode & 0o077 == 0 for name in names)
        right(server, None)
        server.close()

    def test_a_process_that_does_not_answer_is_an_error(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared_index, "_PATIENCE", 0.2)
        held = take_lock(folder / LOCK)
        assert held is not None and take_lock(folder / LOCK) is None
        with pytest.raises(MachineError, match="which does not answer"):
            open_shared(folder)
        held.release()
        open_shared(folder).close()

    def test_what_something_else_listens_at_is_no_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remote_index, "_GREETING", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectionError, match="has gone"):
            remote_index.RemoteIndex(Path(), {"port": silent.getsockname()[1]}, b"key")

    @pytest.mark.parametrize("where", ["a port", "a long path"])
    def test_it_is_the_same_at_a_port_and_in_a_folder_of_a_long_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        folder = tmp_path.joinpath(*["a long path " * 10] * 3) if where == "a long path" else tmp_path / "index"
        if where == "a port":
            monkeypatch.setattr(shared_index, "_listen_in", lambda _: (tmp_path / "no sockets here").stat())
        folder.mkdir(parents=True)
        EdgeIndex.create(folder, SHAPE).close()
        server, client = with_stable(folder), open_shared(folder)
        assert ("port" in json.loads((folder / SERVER).read_text())) == (where == "a port" or sys.platform != "linux")
        right(client, None)
        server.close()
        right(client, None)
        client.close()
        assert not (folder / SOCKET).exists()

    def test_a_crowd_without_the_key_shuts_nobody_out_and_has_no_threads(self, folder: Path) -> None:
        server = with_stable(folder)
        about = json.loads((folder / SERVER).read_text())
        crowd = []
        for _ in range(300):
            stranger = socket.socket(socket.AF_UNIX if "socket" in about else socket.AF_INET)
            stranger.connect(str(folder / SOCKET) if "socket" in about else ("127.0.0.1", about["port"]))
            crowd.append(stranger)
        client = open_shared(folder)
        right(client, None)
        assert len([one for one in threading.enumerate() if one.name == "index client"]) == 1
        client.close(), server.close()
        for stranger in crowd:
            stranger.close()

    def test_a_client_that_leaves_when_it_has_shown_the_key_shuts_nobody_out(self, folder: Path) -> None:
        server = with_stable(folder)
        about = json.loads((folder / SERVER).read_text())
        for _ in range(20):
            line = socket.socket(socket.AF_UNIX if "socket" in about else socket.AF_INET)
            line.connect(str(folder / SOCKET) if "socket" in about else ("127.0.0.1", about["port"]))
            nonce = line.recv(32)
            line.sendall(bytes(32) + hmac.digest(bytes.fromhex(about["key"]), b"client" + nonce + bytes(32), "sha256"))
            line.close()
        client = open_shared(folder)
        right(client, None)
        client.close(), server.close()

    def test_an_index_that_cannot_be_opened_leaves_no_lock(self, folder: Path, tmp_path: Path) -> None:
        shutil.rmtree(folder / PICTURES)
        for _ in range(2):
            with pytest.raises(InputError, match="there is no index"):
                open_shared(folder)
