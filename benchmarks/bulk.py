"""What a picture costs on a Ray cluster beside one machine, and what a Qdrant cluster needs for many.

Run: python benchmarks/bulk.py PHOTOS [--pictures 500 3000] [--rounds 3]
The same pictures are looked at by `tagprism index --into` and by `tagprism index --ray auto --shards`, each in the two
given numbers, in turn. Counted is the processor time of the command and of all processes below it, sampled every
quarter of a second, of several rounds the median; what a picture costs is the difference of the two numbers, so that
what is fixed falls out. A second table says which processes of Ray's way take it. No other Ray cluster may run on the
machine. RAY_worker_niceness=15 gives the actors the niceness that they have on a cluster of someone else's.
Run: python benchmarks/bulk.py PHOTOS --by-hand [--rounds 3]
Without Ray: parts of 64 pictures are looked at in this process as an actor does and as `index` does, in turn. It shows
what of a difference is the work itself, where the machine is too busy for Ray to start.
Run: python benchmarks/bulk.py --sizes [--model photos-lite]
Prints the bytes that records of a model take on Qdrant, from the form of the collection and of a row's payload.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from tagprism import load
from tagprism.bulk.actors import Part
from tagprism.bulk.listing import Listing, parts_of
from tagprism.bulk.look import Looking
from tagprism.bulk.shards import Manifest
from tagprism.images.decode import MAX_PIXELS
from tagprism.images.metadata import read_metadata
from tagprism.images.stream import process_pictures
from tagprism.images.walk import find_pictures
from tagprism.search.conditions import searched
from tagprism.search.contract import Picture
from tagprism.search.stored import as_json
from tagprism.tagging.ranker import LabelRanker

_TICKS = os.sysconf("SC_CLK_TCK")
_IDS = 24  # bytes in memory for the number of a point and its version
_OF_FILTERS = 5 * 16  # bytes in memory: moment, stars, north, east twice, as a value and a number each
_COPIES = 2
_OTHERS = "others of Ray"


def main() -> None:
    """Measure or count, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, nargs=2, default=[500, 3000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--by-hand", action="store_true")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--model", default="photos-lite")
    arguments = parser.parse_args()
    console = Console(width=120)
    if arguments.sizes:
        console.print(_sizes(arguments.model))
        return
    if arguments.by_hand:
        console.print_json(json.dumps(_by_hand(arguments.photos, arguments.model, arguments.rounds)), indent=None)
        return
    files = find_pictures([arguments.photos])[: max(arguments.pictures)]
    with tempfile.TemporaryDirectory() as place:
        folders = [_some(files[:count], Path(place) / f"{count}") for count in arguments.pictures]
        rounds = []
        for _ in range(arguments.rounds):
            rounds.append([_both_ways(folder) for folder in folders])
            console.print_json(json.dumps({"load": os.getloadavg()[0], "seconds": rounds[-1]}), indent=None)
    spent = {way: [_median([one[at][way] for one in rounds]) for at in (0, 1)] for way in _WAYS}
    title = f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.0f}, {len(rounds)} rounds"
    totals = {way: [sum(one.values()) for one in both] for way, both in spent.items()}
    console.print(_costs(title, totals, arguments.pictures))
    few, many = spent["Ray"]
    by_process = {what: [few.get(what, 0.0), many[what]] for what in sorted(many, key=lambda one: -many[one])}
    console.print(_costs("Ray, by process", by_process, arguments.pictures))
    one, ray = (totals[way][1] - totals[way][0] for way in ("one machine", "Ray"))
    console.print(f"A picture costs {ray / one:.2f} times as much on Ray.")


_WAYS: dict[str, Callable[[Path], list[str]]] = {
    "one machine": lambda folder: ["--into", f"{folder}.index"],
    "Ray": lambda folder: ["--ray", "auto", "--shards", f"{folder}.shards"],
}


def _both_ways(folder: Path) -> dict[str, dict[str, float]]:
    """Seconds of processor time of each way's processes, which begin with nothing."""
    found = {}
    for way, options in _WAYS.items():
        found[way] = _processor_time(["index", str(folder), "--quiet", *options(folder)])
        shutil.rmtree(options(folder)[-1])
    return found


def _by_hand(photos: Path, model: str, rounds: int) -> dict[str, float]:
    """Milliseconds of processor time a picture, the median of parts."""
    tagger = load(model)
    manifest = Manifest(
        model=model, digest=tagger.bundle.digest, **tagger.bundle.shape._asdict(), max_pixels=MAX_PIXELS
    )
    look, ranker = Looking(manifest).open(), LabelRanker(tagger, None)

    def network(pixels: np.ndarray) -> list[object]:
        records = tagger.network(pixels)
        return list(zip(records, ranker.best(records, 10, None), strict=True))

    def as_index(part: Part) -> None:
        with threadpool_limits(1, "blas"):
            for one in process_pictures([item.name for item in part], tagger.preprocess, network):
                read_metadata(one.path)

    spent: dict[str, list[float]] = {"as an actor": [], "as index, without its writing": []}
    parts = list(islice(parts_of(Listing([str(photos)]).items()), rounds))
    for part in parts[:1] + parts:  # the first one twice, as it warms up
        for name, way in zip(spent, (look, as_index), strict=True):
            began = time.process_time()
            way(part)
            spent[name].append(1000 * (time.process_time() - began) / len(part))
    return {name: round(statistics.median(its[1:]), 1) for name, its in spent.items()}


def _median(rounds: list[dict[str, float]]) -> dict[str, float]:
    names = {name for one in rounds for name in one}
    return {name: statistics.median(one.get(name, 0.0) for one in rounds) for name in names}


def _costs(title: str, spent: dict[str, list[float]], pictures: list[int]) -> Table:
    table = Table(title=title)
    for column in ("", *(f"{count:,} pictures, s" for count in pictures), "ms a picture", "fixed, s"):
        table.add_column(column, justify="left" if not column else "right")
    for what, (few, many) in spent.items():
        cost = (many - few) / (pictures[1] - pictures[0])
        table.add_row(what, f"{few:.1f}", f"{many:.1f}", f"{1000 * cost:.2f}", f"{few - pictures[0] * cost:.1f}")
    return table


def _some(files: list[Path], folder: Path) -> Path:
    folder.mkdir()
    for place, file in enumerate(files):
        shutil.copy(file, folder / f"{place:06d}{file.suffix}")
    return folder


def _processor_time(arguments: list[str]) -> dict[str, float]:
    """Seconds of processor time of a command and of all that it started, by what the processes are."""
    before = set(_processes())
    command = subprocess.Popen([sys.executable, "-m", "tagprism", *arguments])
    spent: dict[int, tuple[str, float]] = {}
    below = {command.pid}
    while command.poll() is None:
        for pid, (parent, seconds) in _processes().items():
            if pid not in before and (parent in below or pid in below):
                below.add(pid)
                known = spent.get(pid, ("", 0.0))[0]  # at its end it has no name any more
                what = "the command" if pid == command.pid else _what(pid)
                spent[pid] = known if what == _OTHERS and known else what, seconds
        time.sleep(0.25)
    if command.returncode not in (0, 4):
        sys.exit(f"{' '.join(arguments)} ended with {command.returncode}")
    found: dict[str, float] = {}
    for what, seconds in spent.values():
        found[what] = found.get(what, 0.0) + seconds
    return found


def _what(pid: int) -> str:
    """What a process of Ray is: an actor of ours, or one of its own."""
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return _OTHERS
    kinds = {"_Process": "the actors", "raylet/raylet": "raylet", "gcs_server": "gcs_server"}
    return next((what for mark, what in kinds.items() if mark in said), _OTHERS)


def _processes() -> dict[int, tuple[int, float]]:
    """Number -> parent and seconds of processor time, of all processes there are."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        found[int(file.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def _sizes(model: str) -> Table:
    M, D, S = load(model).bundle.shape
    tags = tuple((name, 0.5) for name in load(model).vocabulary.names[:10])
    picture = Picture(
        1, "/photos/2024/07/IMG_20240731_180509.jpg", 4_000_000, 1_722_448_509_000_000_000, 64 * "0", 4032, 3024,
        "2024-07-31T18:05:09", tags, "EXIF:DateTimeOriginal", "NIKON CORPORATION D90", 3, "jpeg", (47.4, 8.5),
    )  # fmt: skip
    payload = len(json.dumps({**as_json(picture), **searched(picture)}))
    hot = D + S + _IDS + _OF_FILTERS
    disk = 2 * (M * D + D + S) + (D + S) + payload
    table = Table(title=f"{model}: {M} x {D} and {S} numbers; {hot:,} bytes a picture in memory, {disk:,} on the disk")
    for column in ("pictures", "hot memory, GB", "disk, GB", f"with {_COPIES} copies: memory", "disk"):
        table.add_column(column, justify="right")
    for count in (10**6, 10**7, 10**8):
        values = (hot * count, disk * count, _COPIES * hot * count, _COPIES * disk * count)
        table.add_row(f"{count:,}", *(f"{value / 1e9:.3g}" for value in values))
    return table


if __name__ == "__main__":
    main()
