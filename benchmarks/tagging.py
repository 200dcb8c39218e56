"""Processor time a picture, and pictures per second, from JPEG files on disk: `tagprism tag` against the plain way.

Run: python benchmarks/tagging.py RUN PHOTOS [--bundle BUNDLE ...]   (in one process, rounds interleaved; medians)
It takes some five minutes for one bundle at 320 px on 2 cores; `--small`, `--large` and `--rounds` make it shorter.
RUN is a finished run; PHOTOS a folder of small JPEG files. The large ones, 12 megapixels, are made from them: enlarged,
with grain, quality 90. `--bundle` adds exports of the same RUN, such as an int8 one. Rivals:
  plain: Pillow decodes in full, PyTorch runs the RUN's weights eagerly in batches of 32;
  bare:  the bundle's ONNX network on pixels that are ready in memory, in its fastest batches: what no program can beat.
Ratios are of processor time, which other work on the machine disturbs least.
Also: `--help`, `tag one.jpg` from a cold start, peak memory at two numbers of files, and stored records re-tagged.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from tagprism import load
from tagprism.bundle.onnx_model import RecordNetwork
from tagprism.bundle.record import Records
from tagprism.evaluation.scores import streamed_scores
from tagprism.images.decode import open_picture
from tagprism.images.preprocess import Preprocess
from tagprism.images.stream import BATCH
from tagprism.tagging.tagger import Tagger
from tagprism.training.torch_engine import torch_records

Costs = tuple[float, float]  # seconds of the clock and of all processors, a picture
LARGE = (4000, 3000)
PLAIN_BATCH = 32
FEW = 80  # words of a list of one's own; the others tag with the whole vocabulary


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, action="append", default=[], help="another bundle of the same RUN")
    parser.add_argument("--small", type=int, default=128, help="small pictures a round; 0 leaves these out")
    parser.add_argument("--large", type=int, default=24, help="large pictures a round; 0 leaves these out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stored", type=int, default=100_000, help="records that are re-tagged")
    arguments = parser.parse_args()
    found = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    small = (found * (arguments.small // len(found) + 1))[: arguments.small]
    taggers = {str(path): load(path) for path in (arguments.run, *arguments.bundle)}
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        large = [enlarge(path, Path(folder) / f"{place}.jpg") for place, path in enumerate(found[: arguments.large])]
        plain = torch_records(arguments.run, taggers[str(arguments.run)].vocabulary)
        for title, files in (("small", small), ("12 megapixels", large)):
            if files:
                console.print(throughput(title, files, taggers, plain, arguments.rounds))
        if small:
            console.print(processes(arguments.run, small))
    console.print(retagging(arguments.stored))
    console.print(
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )


def enlarge(source: Path, target: Path) -> Path:
    """A picture of 12 megapixels as a camera would write it."""
    picture = open_picture(source).resize(LARGE, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 4, (LARGE[1], LARGE[0], 1))
    Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)).save(target, quality=90)
    return target


def throughput(
    title: str,
    files: Sequence[Path],
    taggers: dict[str, Tagger],
    plain: Callable[[np.ndarray], Records],
    rounds: int,
) -> Table:
    """Medians over the rounds, and medians of the ratios within a round."""
    first = next(iter(taggers.values()))
    methods: dict[str, Callable[[], Costs]] = {"plain": lambda: costs(len(files), plain_way, files, first, plain)}
    for name, tagger in taggers.items():
        methods[f"bare {name}"] = partial(bare, tagger, len(files))
        methods[f"tag {name}"] = partial(costs, len(files), tag, tagger, files, tagger.vocabulary.names)
        short = tagger.vocabulary.seen[:FEW]
        methods[f"tag {name}, {FEW} words"] = partial(costs, len(files), tag, tagger, files, short)
    measured: dict[str, list[Costs]] = {name: [] for name in methods}
    for turn in range(rounds + 1):
        for name, method in methods.items():
            cost = method()
            if turn:  # the first round warms up
                measured[name].append(cost)
    table = Table(title=f"{title}: {len(files)} files, {rounds} rounds")
    for column in ("", "processor ms a picture", "plain costs", "its bare network costs", "pictures/s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found in measured.items():
        row = [name, f"{1000 * statistics.median(work for _, work in found):.1f}", _ratio(measured["plain"], found), ""]
        if name.startswith("tag "):
            row[3] = _ratio(measured["bare " + name.removeprefix("tag ").removesuffix(f", {FEW} words")], found)
        table.add_row(*row, f"{1 / statistics.median(seconds for seconds, _ in found):.1f}")
    return table


def _ratio(these: Sequence[Costs], those: Sequence[Costs]) -> str:
    return f"{statistics.median(a / b for (_, a), (_, b) in zip(these, those, strict=True)):.2f}x"


def costs(pictures: int, method: Callable[..., None], *arguments: object) -> Costs:
    """What a call costs, for each of its pictures."""
    began, worked = time.perf_counter(), time.process_time()
    method(*arguments)
    return (time.perf_counter() - began) / pictures, (time.process_time() - worked) / pictures


def plain_way(files: Sequence[Path], tagger: Tagger, network: Callable[[np.ndarray], Records]) -> None:
    """Decode in full, one after the other; torch, eager, in batches; the same preparation and ranking."""
    for start in range(0, len(files), PLAIN_BATCH):
        pixels = [
            tagger.preprocess.apply(Image.open(path).convert("RGB")) for path in files[start : start + PLAIN_BATCH]
        ]
        streamed_scores(network(np.stack(pixels)), tagger.scoring_vectors(tagger.vocabulary.names))


def bare(tagger: Tagger, count: int) -> Costs:
    """The network alone, on all cores, in the way to call it that takes the least processor time of some."""
    assert isinstance(tagger.preprocess, Preprocess), "one view of a picture"
    size = (tagger.preprocess.height, tagger.preprocess.width)
    model = RecordNetwork(tagger.bundle.path / "model.onnx", tagger.bundle.config.dimension)
    ways = []
    for batch in (BATCH, 8, 32):
        pixels = np.random.default_rng(0).standard_normal((batch, 3, *size), np.float32)
        times = max(1, count // (3 * batch))  # the three ways together look at as many as the others

        def run(pixels: np.ndarray = pixels, times: int = times) -> None:
            for _ in range(times):
                model.records(pixels)

        ways.append(costs(batch * times, run))
    return min(ways, key=lambda cost: cost[1])


def tag(tagger: Tagger, files: Sequence[Path], words: Sequence[str]) -> None:
    """From files to tags, as the command line does."""
    assert all(row.error is None for row in tagger.tag_each(files, words))


def processes(model: Path, files: Sequence[Path]) -> Table:
    """Whole processes, from start to end: seconds and peak memory."""
    commands: dict[str, list[str]] = {"--help": ["--help"], "tag one.jpg": [*_tag(model), str(files[0])]}
    for count in (len(files), 8 * len(files)):
        commands[f"tag {count} files"] = [*_tag(model), "-"]
    table = Table(title="whole processes")
    for column in ("", "seconds (median of 5)", "peak memory"):
        table.add_column(column, justify="left" if not column else "right")
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for place in range(8 * len(files)):
            copies.append(Path(folder) / f"{place}.jpg")
            copies[-1].write_bytes(files[place % len(files)].read_bytes())
        for name, command in commands.items():
            count = int(name.split()[1]) if name.endswith(" files") else 0
            listed = "".join(f"{path}\n" for path in copies[:count])
            seconds, peaks = zip(*(_process(command, listed) for _ in range(1 if count else 5)), strict=True)
            table.add_row(name, f"{statistics.median(seconds):.2f}", f"{max(peaks) / 1e6:.0f} MB")
    return table


def _tag(model: Path) -> list[str]:
    return ["tag", "--model", str(model), "--format", "jsonl", "--quiet"]


def _process(arguments: list[str], listed: str) -> tuple[float, float]:
    """Seconds and peak bytes of one call of the command line; `listed` goes to its stdin."""
    # Between the two stands a small process: a child is charged with the memory of the one that forks it.
    code = (
        "import json, resource, subprocess, sys, time; began = time.perf_counter(); "
        "subprocess.run([sys.executable, '-m', 'tagprism', *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True); "
        "seconds = time.perf_counter() - began; "
        "print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))"
    )
    command = [sys.executable, "-c", code, *arguments]
    seconds, peak = json.loads(subprocess.run(command, input=listed, capture_output=True, text=True, check=True).stdout)
    return seconds, peak


def retagging(images: int, labels: int = 1_000, vectors: int = 7, dimension: int = 256) -> Table:
    """Stored records scored against new labels; no picture is read."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((images, vectors, dimension), np.float32)
    records = Records(rows, generator.standard_normal((images, 1), np.float32))
    words = generator.standard_normal((labels, dimension), np.float32)
    began = time.perf_counter()
    best = streamed_scores(records, words).argmax(axis=1)
    seconds = time.perf_counter() - began
    table = Table(title="stored records re-tagged with new labels")
    table.add_column("images x labels (M, D)")
    table.add_column("seconds", justify="right")
    table.add_row(f"{len(best):,} x {labels:,} ({vectors}, {dimension})", f"{seconds:.1f}")
    return table


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
