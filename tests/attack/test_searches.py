"""Searches that cost much: others are answered, memory is bounded, and the last picture can be scrolled to."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from benchmarks.search_server import _make_index as make_large
from tagprism.app.server.library import check_cost
from tagprism.errors import InputError
from tagprism.search.collection import open_index
from tagprism.search.parse import parse
from tests.attack.attackers import SCALE, memory, timed_get
from tests.server.served import Served, served

pytestmark = pytest.mark.slow
PICTURES = 5000 if SCALE == 1 else 100_000
_TEXT = """sky water dog tree people night car cat bird sea sun house man woman child food flower horse mountain river
road snow beach boat train plane building street grass leaf stone window"""
WORDS = _TEXT.split()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of made-up pictures."""
    folder = tmp_path_factory.mktemp("large") / "index"
    make_large(folder, PICTURES, 0)
    return folder


@pytest.fixture(scope="module")
def busy(large: Path) -> Iterator[Served]:
    with served(large) as server:
        yield server


def search(server: Served, **asked: object) -> dict[str, object]:
    options = "&".join(f"{name}={quote(str(value))}" for name, value in asked.items())
    with urllib.request.urlopen(f"{server.address}/api/search?{options}", timeout=300) as answer:
        return json.load(answer)


def health_meanwhile(server: Served, seconds: float) -> np.ndarray:
    """Seconds that `/health` took, asked for by a process of its own."""
    code = f"""
import json, time
from tests.attack.attackers import timed_get
end, took = time.monotonic() + {seconds}, []
while time.monotonic() < end:
    took.append(timed_get({server.address!r}, "/health")[1])
    time.sleep(0.02)
print(json.dumps(took))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return np.array(json.loads(done.stdout))


def test_twenty_clients(busy: Served) -> None:
    end, codes = time.monotonic() + 6 * SCALE**0.5, set[int]()

    def ask(number: int) -> None:
        while time.monotonic() < end:
            codes.add(timed_get(busy.address, f"/api/search?query={WORDS[number % 8]}", 300)[0])

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for client in clients:
        client.start()
    took = health_meanwhile(busy, 4 * SCALE**0.5)
    for client in clients:
        client.join()
    assert codes == {200}
    assert np.quantile(took, 0.99) < 0.5, took  # 50 ms are aimed at; docs/attacks.md has what was measured
    assert memory(busy.process.pid) < 1.5 * 2**30


def test_a_query_of_many_labels(busy: Served) -> None:
    answers: list[dict[str, object]] = []
    asking = threading.Thread(target=lambda: answers.append(search(busy, query=" AND ".join(WORDS[:32]))))
    asking.start()
    took = health_meanwhile(busy, 2)
    asking.join()
    assert len(answers[0]["hits"]) == 60 and max(took) < 5  # type: ignore[arg-type]
    assert memory(busy.process.pid) < 1.5 * 2**30


def test_what_a_query_may_cost_falls_with_the_pictures() -> None:
    tree = parse(" OR ".join(WORDS[:20]))
    check_cost(tree, 200_000), check_cost(None, 10**9), check_cost(parse(" OR ".join(WORDS[:8])), 10**9)
    with pytest.raises(InputError, match="at most 8 can be asked for"):
        check_cost(tree, 10**9)


@pytest.mark.parametrize("query", ["", "sky", "path:photos", "NOT sky"])
def test_scrolling_goes_to_the_last_picture(busy: Served, query: str) -> None:
    first, last = search(busy, query=query), search(busy, query=query, offset=PICTURES - 60)
    assert first["more"] and not last["more"]
    ids = [{hit["id"] for hit in answer["hits"]} for answer in (first, last)]  # type: ignore[attr-defined]
    assert [len(one) for one in ids] == [60, 60] and not ids[0] & ids[1]
    assert search(busy, query=query, offset=PICTURES)["hits"] == []
    assert memory(busy.process.pid) < 1.5 * 2**30


def test_the_parts_are_the_whole(large: Path) -> None:
    from tagprism.search.find import find

    with open_index(large) as collection:
        whole = find(collection, "sky AND NOT dog", 300).found
        parts = [find(collection, "sky AND NOT dog", 60, offset=start).found for start in range(0, 300, 60)]
        assert [one.picture.id for part in parts for one in part] == [one.picture.id for one in whole]
        poor = find(collection, "sky OR dog", 60, budget=1)
        assert len(poor.found) == 60 and not poor.exact


def test_a_filter_is_quick(busy: Served) -> None:
    assert search(busy, query="path:photos")["pictures"] == PICTURES
    took = min(timed_get(busy.address, "/api/search?query=path:photos")[1] for _ in range(5))
    assert took < 2  # 0.2 s are aimed at


def test_the_library_is_started_again_when_it_dies(large: Path) -> None:
    from tests.attack.attackers import children

    with served(large) as server:
        (library,) = children(server.process.pid)
        subprocess.run(["kill", "-9", str(library)], check=True)
        codes = set()
        while (code := timed_get(server.address, "/api/search?query=sky")[0]) != 200:
            codes.add(code)
            time.sleep(0.1)
        assert codes <= {503} and timed_get(server.address, "/health")[0] == 200
