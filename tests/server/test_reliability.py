"""The server under many clients, a killed indexer, and requests that nobody thought of."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.server.served import Served, make_index, make_photos, served
from tests.server.storm import storm
from tests.server.test_serve_command import get
from tests.small_world import draw

pytestmark = pytest.mark.slow


def test_a_short_storm(tmp_path: Path) -> None:
    happened = storm(tmp_path / "storm", kills=1, clients=50, seed=0)
    assert happened.wrong == [] and set(happened.answers) == {200} and happened.answers[200] > 50, happened


@pytest.mark.skipif("TAGPRISM_STORM" not in os.environ, reason="takes minutes: TAGPRISM_STORM=1 runs it")
def test_twenty_kills(tmp_path: Path) -> None:
    happened = storm(tmp_path / "storm", kills=20, clients=50, seed=1)
    assert happened.wrong == [] and set(happened.answers) == {200}, happened


def test_the_server_goes_on_when_the_process_that_had_the_index_is_killed(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", drawn=2)
    index = make_index(tmp_path / "photos.index", photos)
    command = [sys.executable, "-m", "tagprism", "index", "--into", str(index), "--watch"]
    watching = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert watching.stderr is not None
        while "watching" not in watching.stderr.readline():
            assert watching.poll() is None
        with served(index) as server:
            before = get(server.address, "/api/search?query=sky")
            draw(photos / "new.png", "red", "circle", seed=9)
            while get(server.address, "/api/search")["pictures"] != 8:
                time.sleep(0.1)
            watching.kill()
            watching.wait()
            after = get(server.address, "/api/search?query=sky")
            assert after["pictures"] == 8
            matches = [{hit["id"]: hit["match"] for hit in answer["hits"]} for answer in (before, after)]  # type: ignore
            same = {one: matches[1][one] for one in matches[0]}
            assert same == pytest.approx(matches[0], rel=1e-5)  # sums are rounded otherwise among eight pictures
    finally:
        watching.kill()
        watching.wait()
        watching.stderr.close()  # type: ignore[union-attr]


def test_the_server_is_killed_and_comes_back(own: tuple[Path, Path]) -> None:
    _, index = own
    for _ in range(3):
        server = Served(index)
        assert get(server.address, "/api/search?query=sky")["pictures"] == 5
        server.stop(signal.SIGKILL)
    with served(index) as server:
        assert get(server.address, "/api/search?query=sky")["pictures"] == 5


def test_no_request_that_fits_the_description_is_an_error_of_the_server(own: tuple[Path, Path], tmp_path: Path) -> None:
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is not installed")
    _, index = own
    with served(index, environment={"TAGPRISM_STATE": str(tmp_path / "state")}) as server:
        options = ("--max-examples", "12", "--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color")
        # A description cannot say which bytes are a picture: that any upload is taken is not asked for.
        options += ("--checks", "all", "--exclude-checks", "positive_data_acceptance", "--max-response-time", "60")
        command = [program, "run", f"{server.address}/openapi.json", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        assert not [line for line in server.lines if "Traceback" in line], server.lines
