"""Many clients of one server while pictures come and go and the indexer is killed: nothing lost, nothing wrong, no 5xx.

    python -m tests.server.storm FOLDER [--kills 20] [--clients 50] [--seed 0]

prints what happened as JSON; a test does a short one. FOLDER must not be there yet.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tagprism.search.collection import open_index
from tests.server.served import Served, make_index
from tests.small_world import COLOURS, SHAPES, draw

_QUERIES = ("sky", "water AND grass", "head NOT people", "(flowers OR tree) AND 2*red", "night", "path:anchor")
_ANCHORS = 40  # pictures that stay
_TOLERANCE = 1e-6  # of matches; the same record always gives the same match


@dataclass
class Storm:
    """What happened.

    Args:
        kills: how often the indexer was killed.
        clients: that asked all the time.
        answers: by status code.
        wrong: what was not as it must be.
        added: pictures that came.
        removed: pictures that went.
        seconds: how long it took.
    """

    kills: int
    clients: int
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    seconds: float = 0.0


def storm(folder: Path, kills: int, clients: int, seed: int) -> Storm:
    """Let it blow until the indexer has been killed so often."""
    photos, dice = folder / "photos", random.Random(seed)
    for number in range(_ANCHORS):
        _draw(photos / "anchor", number)
    index, happened, began = make_index(folder / "photos.index", photos), Storm(kills, clients), time.monotonic()
    server = Served(index)
    asking = [threading.Thread(target=_Client(server.address, happened, seed + n).run) for n in range(clients)]
    known = _answers(server.address)
    _Client.known, _Client.stop = known, threading.Event()
    for thread in asking:
        thread.start()
    try:
        _change(photos, dice, happened, 0)
        started = time.monotonic()
        subprocess.run(_command(index), check=True, capture_output=True)
        usual = time.monotonic() - started
        for turn in range(1, kills + 1):
            _change(photos, dice, happened, turn)
            committed = _names(server.address)
            _index_and_kill(index, dice.uniform(0.1, 1.0) * usual)
            if lost := (committed & _on_disk(photos)) - _names(server.address):
                happened.wrong.append(f"lost after kill {turn}: {sorted(lost)[:3]}")
        subprocess.run(_command(index), check=True, capture_output=True)
        if _names(server.address) != _on_disk(photos):
            happened.wrong.append("the last update did not bring the index up to date")
    finally:
        _Client.stop.set()
        for thread in asking:
            thread.join()
        server.stop(signal.SIGKILL)
    happened.wrong += [line for line in server.lines if "Traceback" in line]
    collection = open_index(str(index))  # after `kill -9` of the server
    if {Path(picture.path).name for picture in collection.index.pictures()} != _on_disk(photos):
        happened.wrong.append("the index is another one after the server was killed")
    collection.close()
    happened.seconds = round(time.monotonic() - began, 1)
    return happened


def _draw(folder: Path, number: int) -> None:
    draw(folder / f"{number:04}.png", tuple(COLOURS)[number % 4], SHAPES[number // 4 % 4], seed=number)


def _change(photos: Path, dice: random.Random, happened: Storm, turn: int) -> None:
    """Some pictures come, some of those that came before go."""
    passing = sorted((photos / "passing").rglob("*.png"))
    for path in dice.sample(passing, len(passing) // 3):
        path.unlink()
        happened.removed += 1
    for number in range(60):
        _draw(photos / "passing", 1000 + 60 * turn + number)
        happened.added += 1


def _command(index: Path) -> list[str]:
    return [sys.executable, "-m", "tagprism", "index", "--into", str(index), "--prune", "--quiet"]


def _on_disk(photos: Path) -> set[str]:
    return {path.name for path in photos.rglob("*.png")}


def _index_and_kill(index: Path, seconds: float) -> None:
    """Start the indexer and kill it in the middle of its work, or when it has just ended."""
    process = subprocess.Popen(_command(index), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()


class _Client:
    """Asks until it is stopped, and looks whether every answer can be right."""

    known: dict[str, dict[int, float]]
    stop: threading.Event

    def __init__(self, address: str, happened: Storm, seed: int) -> None:
        self._happened, self._dice = happened, random.Random(seed)
        self._line = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)

    def run(self) -> None:
        while not self.stop.is_set():
            query = self._dice.choice(_QUERIES)
            try:
                status, answer = _get(self._line, query, limit=60)
            except (OSError, http.client.HTTPException) as error:
                self._happened.wrong.append(f"no answer: {error!r}")
                return
            self._happened.answers[status] += 1
            if status == 200:
                self._check(query, answer["hits"])
            else:
                self._happened.wrong.append(f"{status}: {str(answer)[:200]}")
        self._line.close()

    def _check(self, query: str, hits: list[dict[str, float]]) -> None:
        ranks, known = [*map(_rank, hits)], self.known[query]
        if ranks != sorted(ranks, reverse=True) or len({hit["id"] for hit in hits}) != len(hits):
            self._happened.wrong.append(f"{query}: not ranked")
        found = {int(hit["id"]): _rank(hit) for hit in hits if hit["id"] in known}
        if any(abs(known[number] - rank) > _TOLERANCE for number, rank in found.items()):
            self._happened.wrong.append(f"{query}: another match than before")
        better = {number for number, rank in known.items() if ranks and rank > ranks[-1] + _TOLERANCE}
        if better - set(found):
            self._happened.wrong.append(f"{query}: a picture that is there was not found")


def _rank(hit: dict[str, float]) -> float:
    """Its match, 1 more where it is likely: those come first."""
    return hit["match"] + bool(hit["likely"])


def _get(line: http.client.HTTPConnection, query: str, limit: int, offset: int = 0) -> tuple[int, dict[str, Any]]:
    line.request("GET", "/api/search?" + urlencode({"query": query, "limit": limit, "offset": offset}))
    answer = line.getresponse()
    return answer.status, json.loads(answer.read())


def _answers(address: str) -> dict[str, dict[int, float]]:
    """What the pictures that stay are ranked by, by query and id, before the storm."""
    line = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
    known = {}
    for query in _QUERIES:
        _, answer = _get(line, query, limit=200)
        known[query] = {int(hit["id"]): _rank(hit) for hit in answer["hits"]}
    line.close()
    return known


def _names(address: str) -> set[str]:
    """Names of the files of all pictures in the index, as the server sees it; every file has a name of its own."""
    line = http.client.HTTPConnection(address.removeprefix("http://"), timeout=300)
    names: set[str] = set()
    more = True
    while more:
        status, answer = _get(line, "path:photos", limit=200, offset=len(names))
        assert status == 200, answer
        names |= {hit["name"] for hit in answer["hits"]}
        more = bool(answer["more"])
    line.close()
    return names


def main() -> None:
    """Do one and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["TAGPRISM_STATE"] = place
        happened = storm(arguments.folder or Path(place), arguments.kills, arguments.clients, arguments.seed)
    print(json.dumps(vars(happened), indent=2))
    sys.exit(bool(happened.wrong))


if __name__ == "__main__":
    main()
