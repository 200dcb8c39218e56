"""An index whose files were damaged or lost: never a wrong answer, never a traceback, and `--rebuild` heals it."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tagprism.search.create import open_for_update
from tests.app.conftest import Cli
from tests.search.test_renewal import Told

pytestmark = pytest.mark.slow

PHOTOS = Path(__file__).parents[1] / "photos"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.command_line import tagprism

    where = tmp_path_factory.mktemp("made") / "index"
    assert tagprism("index", PHOTOS, "--into", where, "--quiet").returncode == 0
    return where


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "index"))


def _cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, size)


def _gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


damaged = pytest.mark.parametrize(
    "damage",
    [
        _gone,
        pytest.param(lambda file: _cut(file, 0), id="empty"),
        pytest.param(lambda file: _cut(file, 1000), id="cut off"),
    ],
)


@damaged
def test_candidates_are_made_again_from_the_records(
    cli: Cli, index: Path, damage: Callable[[str], Callable[[Path], None]]
) -> None:
    file = index / "pictures/candidates.bin"
    right, size = cli("search", index, "cat", "--format", "jsonl").out, file.stat().st_size
    damage("pictures/candidates.bin")(index)
    left = file.stat().st_size if file.exists() else None
    assert cli("search", index, "cat", "--format", "jsonl").out == right  # which looks at all records of so few
    assert (file.stat().st_size if file.exists() else None) == left  # and opens nothing else
    assert cli("index", "--into", index, "--check", "--quiet").code == 0
    assert file.stat().st_size == size


def test_candidates_are_made_again_before_pictures_are_indexed(index: Path) -> None:
    os.truncate(index / "pictures/candidates.bin", 0)
    with open_for_update(str(index), progress=(told := Told())):  # then there is no progress within another
        assert [what for what, _, _ in told.said] == ["renewing the index"]


@damaged
def test_lost_records_are_an_error_until_it_is_made_anew(
    cli: Cli, index: Path, damage: Callable[[str], Callable[[Path], None]]
) -> None:
    right = cli("search", index, "cat", "--format", "jsonl").out
    damage("pictures/records.bin")(index)
    cli("search", index, "cat").refused("has lost records", "--rebuild", code=6)
    cli("index", "--into", index, "--quiet").refused("has lost records", code=6)
    assert cli("index", "--into", index, "--rebuild", "--quiet").code == 0
    assert cli("search", index, "cat", "--format", "jsonl").out == right


def saved(array: np.ndarray) -> bytes:
    np.save(file := io.BytesIO(), array)
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"hi", b"\x93NUMPY\x01\x00", saved(np.ones((1, 1)))])
def test_the_note_of_places_is_not_needed(cli: Cli, index: Path, content: bytes) -> None:
    right = cli("search", index, "cat", "--format", "jsonl").out
    (index / "pictures/places.npy").write_bytes(content)
    assert cli("search", index, "cat", "--format", "jsonl").out == right


@pytest.mark.parametrize("values", [{"folders": [5]}, {"folders": "x"}, {"exclude": [None]}, {"storage": []}])
def test_settings_that_make_no_sense_lose_nothing(cli: Cli, index: Path, values: dict[str, object]) -> None:
    file = index / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    cli("search", index, "cat").refused("index.json")
    done = cli("index", PHOTOS, "--into", index, "--rebuild", "--quiet")
    assert done.code == 0, done.err
    assert cli("search", index, "cat").code == 0


def test_a_file_of_defaults_without_an_end_is_refused(cli: Cli, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGPRISM_CONFIG", "/dev/zero")
    cli("search", index, "cat").refused("/dev/zero", "no end")


def test_a_word_that_is_not_of_the_models_language_is_named(cli: Cli, index: Path) -> None:
    found = cli("search", index, "Hund OR cat")
    assert found.code == 0 and "`hund` is unknown to this model; is `" in found.err.lower()
    assert "unknown" not in cli("search", index, "a red square").err
    for query in ("qwxzvbn", "cat AND qwxzvbn", "buterfly path:photos"):
        for options in ((), ("--format", "jsonl"), ("--duplicates",)):
            cli("search", index, query, *options).refused("is unknown to this model; is `", "--all")
    whole = cli("search", index, "buterfly", "--all")
    assert whole.code == 0 and len(whole.out.splitlines()) > 2 and "is `butterfly`" in whole.err


def test_a_file_is_no_index(cli: Cli, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("dog\n")
    for where in (words, tmp_path / "absent", tmp_path):
        cli("search", where, "dog").refused(f"{where}: is not an index")
    cli("learn", words).refused("is not an index")
