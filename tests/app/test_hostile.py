"""`tagprism tag` over the worst folder there is, and over files that change while they are read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import python, tagprism
from tests.hostile_pictures import Hostile, make_hostile
from tests.small_world import World

pytestmark = pytest.mark.slow

GIBIBYTE = 2**20  # in the kibibytes of ru_maxrss
# A child's ru_maxrss begins with what its parent had when it was started: pytest has gigabytes, this has not.
_MEASURED = """
import os, subprocess, sys
with open(sys.argv[1], "wb") as out, open(sys.argv[2], "wb") as err:
    child = subprocess.Popen(sys.argv[3:], stdout=out, stderr=err)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
print(child.returncode, used.ru_maxrss)
"""


@pytest.fixture(scope="module")
def hostile(world: World, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    return make_hostile(tmp_path_factory.mktemp("hostile") / "pictures", world.pictures()[:12])


def without_power() -> list[str]:
    """The start of a command that may not read what is forbidden, as root may."""
    if os.geteuid() != 0:
        return []
    less = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
    if shutil.which("setpriv") is None or subprocess.run([*less, "true"], check=False).returncode:
        pytest.skip("root reads forbidden files, and there is no setpriv that could take that away")
    return less


def tags(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Labels of each picture that was tagged, by path."""
    return {
        row["path"]: [(tag["label"], round(tag["score"], 3)) for tag in row["tags"]] for row in rows if "tags" in row
    }


def test_every_file_has_a_row_and_every_good_one_its_tags(hostile: Hostile, world: World, tmp_path: Path) -> None:
    assert len(hostile.expected) >= 200
    command = [*without_power(), sys.executable, "-m", "tagprism", "tag", hostile.folder, "-m", world.run]
    out, err = tmp_path / "out.jsonl", tmp_path / "err.txt"
    started = time.monotonic()
    done = python(_MEASURED, out, err, *command, "--format", "jsonl", "--top-k", "3")
    code, resident = map(int, done.stdout.split())
    assert code == 4, err.read_text()
    assert time.monotonic() - started < 120
    assert resident < 1.5 * GIBIBYTE

    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    listed = [os.path.relpath(row["path"], hostile.folder) for row in rows]
    assert sorted(listed) == sorted([*hostile.good, *hostile.expected])
    for name, row in zip(listed, rows, strict=True):
        if name in hostile.expected:
            assert row.get("error", {}).get("code") in hostile.expected[name], row
    good = {str(hostile.folder / name): original for name, original in hostile.good.items()}
    plain = tagprism("tag", *sorted(set(good.values())), "-m", world.run, "--format", "jsonl", "--top-k", "3")
    wanted, found = tags([json.loads(line) for line in plain.stdout.splitlines()]), tags(rows)
    assert {path: found[path] for path in good} == {path: wanted[str(original)] for path, original in good.items()}

    said = err.read_text()
    assert "Traceback" not in said
    assert said.count("skipped ") == len([row for row in rows if "error" in row])
    assert not any(ord(char) < 32 for char in said.replace("\n", "")), "a name commands the terminal"


def test_the_table_and_csv_take_any_name(hostile: Hostile, world: World) -> None:
    names = hostile.folder / "names"
    table = tagprism("tag", names, "-m", world.run, "--top-k", "1", environment={"COLUMNS": "80"})
    assert table.returncode == 0
    lines = table.stdout.decode().splitlines()
    assert all(len(line) <= 80 for line in lines if not line.endswith(("/", ".png")))  # but for whole names
    assert all(char.isprintable() for char in "".join(lines))
    assert any(":smile:.png" in line for line in lines)
    assert tagprism("tag", names, "-m", world.run, "--format", "csv").returncode == 0
    ascii_only = tagprism("tag", names, "-m", world.run, environment={"PYTHONIOENCODING": "ascii"})
    assert ascii_only.returncode == 0, ascii_only.stderr


def test_files_may_change_and_vanish_meanwhile(world: World, tmp_path: Path) -> None:
    paths = []
    for number in range(400):
        paths.append(tmp_path / f"{number:03}.png")
        shutil.copy(world.pictures()[number % 4], paths[-1])
    stop = threading.Event()

    def meddle() -> None:
        place = 399
        while not stop.is_set() and place > 20:
            paths[place].unlink()
            paths[place - 1].write_bytes(b"")
            with paths[place - 2].open("r+b") as file:
                file.truncate(300)
            paths[place - 3].unlink()
            paths[place - 3].mkdir()
            place -= 5

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        done = tagprism("tag", tmp_path, "-m", world.run, "--format", "jsonl", "--top-k", "1")
    finally:
        stop.set()
        meddler.join()
    assert done.returncode in (0, 4), done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({row["path"] for row in rows}) == len(rows)
    untouched = {str(path) for path in paths[:20]}
    assert untouched <= set(tags(rows))
    codes = {row["error"]["code"] for row in rows if "error" in row}
    assert codes <= {"missing", "empty", "corrupt", "unreadable"}
