"""Processor time and size of every step of docs/clip_in_ten_minutes.md, on a network of real size with random weights.

    python recipes/clip_siglip/export.py ViT-B-32 --into DIR/ViT-B-32-random
    python benchmarks/clip_in_ten_minutes.py DIR/ViT-B-32-random tagged:DATA --split SPLIT.json#0 --scratch DIR \
        --pictures 150 --using PYTHON_WITHOUT_TORCH

Training runs in the Python that runs this, everything else in `--using`. Times are user and system time of the step's
process, which other work on the machine changes little. With random weights costs are measured, and no accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from tagprism.datasets.registry import open_data
from tagprism.provenance import made_with

RECIPE = Path(__file__).parents[1] / "recipes/on_clip.toml"


class Steps:
    """Runs commands and keeps what each cost.

    Args:
        scratch: folder of everything that is made, with a cache of its own.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch, self.rows = scratch, [("step", "processor time")]
        self.sizes: list[str] = []

    def run(self, name: str, python: str, *words: str | Path, made: Path | None = None) -> bytes:
        """One command; its output."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = os.environ | {"TAGPRISM_CACHE": str(self._scratch / "cache"), "OMP_NUM_THREADS": "1"}
        command = [python, "-m", "tagprism", *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode not in (0, 4):
            sys.exit(f"{name}: {' '.join(command)}\n{done.stderr.decode()}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.rows.append((name, f"{seconds:,.1f} s"))
        if made is not None:
            self.sizes.append(f"{made.name} {on_disk(made) / 1e6:,.0f} MB")
        print(f"{name}: {seconds:,.1f} s", file=sys.stderr, flush=True)
        return done.stdout


def on_disk(folder: Path) -> int:
    """Bytes that the files in a folder take; what an index only reserves is not counted."""
    return sum(512 * file.stat().st_blocks for file in folder.rglob("*") if file.is_file())


def smaller_split(data: str, split: str, pictures: int, into: Path) -> tuple[Path, list[Path]]:
    """A split of the first pictures, the last fifth of them for the test; and their files."""
    table, whole = open_data(data, split)
    test = pictures // 5
    small = {
        "seen": whole.seen,
        "unseen": whole.unseen,
        "train": whole.train[: pictures - test],
        "test": whole.test[:test],
    }
    into.write_text(json.dumps({key: list(value) for key, value in small.items()}))
    keys = [*small["train"], *small["test"]]
    return into, [table.files[int(row)] for row in table.rows_of(keys)]


def main() -> None:
    """Run every step and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("data")
    parser.add_argument("--split", required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--using", default=sys.executable, help="Python of an environment without torch")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    split, files = smaller_split(given.data, given.split, given.pictures, given.scratch / "split.json")
    listed = given.scratch / "pictures"
    listed.mkdir(exist_ok=True)
    for number, file in enumerate(files):
        (listed / f"{number}{file.suffix}").write_bytes(file.read_bytes())
    network, using, on = given.network.resolve(), given.using, ("--data", given.data, "--split", split)
    run, index, plain = (given.scratch / name for name in ("run", "sdl.index", "plain.index"))
    words = given.scratch / "words.txt"
    words.write_text("a sailing boat\na birthday cake\nsnow\n")
    photo = next(listed.iterdir())
    steps, n = Steps(given.scratch), given.pictures
    steps.sizes.append(f"{network.name} {on_disk(network) / 1e6:,.0f} MB")
    steps.run("read 1,000 common words, once", using, "models", "fetch", network)
    steps.run("plain: tag a picture", using, "tag", photo, "--model", network, "--top-k", "5", "--format", "jsonl")
    steps.run(f"plain: index {n} pictures", using, "index", listed, "--into", plain, "--model", network, made=plain)
    steps.run("plain: search", using, "search", plain, "beach AND sunset", "--format", "jsonl")
    spec = f"onnx:{network}"
    parts = f'labels.parts=[{{encoder="{spec}", template="a photo of a {{}}"}}]'
    sets = (
        "--set",
        parts,
        "--set",
        f'model.backbone="{spec}"',
        "--set",
        "calibration.folds=0",
        "--set",
        "training.validation=0",
    )
    steps.run(
        f"train on {n - n // 5} pictures and {len(json.loads(split.read_text())['seen'])} labels",
        sys.executable, "train", RECIPE, *on, "--out", run, *sets, made=run / "bundle",
    )  # fmt: skip
    steps.run(
        "the same with another seed", sys.executable, "train", RECIPE, *on, "--out", f"{run}2", *sets, "--set", "seed=1"
    )
    steps.run(
        "tag a picture, words of one's own", using, "tag", photo, "--model", run, "--labels", words, "--top-k", "2"
    )
    steps.run(f"index {n} pictures", using, "index", listed, "--into", index, "--model", run, made=index)
    steps.run("search", using, "search", index, "beach AND sunset", "--format", "jsonl")
    steps.run(f"evaluate on {n // 5} pictures", using, "evaluate", run, *on, "--format", "json")
    found = steps.run(
        "compare with the plain model", using, "compare", "--model", run, "--model", network, *on, "--format", "json"
    )
    verdict = json.loads(found)["verdicts"]
    assert len(verdict) == 1, verdict
    whole = given.scratch / "whole"
    steps.run(
        "export with the network",
        using,
        "export",
        run,
        "--with-network",
        "--into",
        whole,
        "--photos",
        listed,
        made=whole,
    )
    for at, row in enumerate(steps.rows):
        print(f"| {' | '.join(row)} |")
        if not at:
            print("|---|---|")
    its = made_with()
    print(f"\nOn disk: {', '.join(steps.sizes)}.")
    print(f"{n} pictures, one thread, onnxruntime {its['versions'].get('onnxruntime')}, commit {its['commit']}.")


if __name__ == "__main__":
    main()
