"""Processor time and size of every step of docs/clip_in_ten_minutes.md, on a network of real size with random weights.

    python recipes/clip_siglip/export.py ViT-B-32 --into DIR/ViT-B-32-random
    python benchmarks/clip_in_ten_minutes.py DIR/ViT-B-32-random tagged:DATA --split SPLIT.json#0 --scratch DIR \
        --pictures 150 --using PYTHON_WITHOUT_TORCH

Training runs in the Python that runs this, everything else in `--using`. Times are user and system time of the step's
process, which other work on the machine changes little; memory is the most that it had. With random weights costs are
measured, and no accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tagprism.bundle.write import made_with
from tagprism.datasets.registry import open_data
from tagprism.images.picture_file import PictureFile

RECIPE = Path(__file__).parents[1] / "recipes/on_clip.toml"


class Steps:
    """Runs commands and keeps what each cost.

    Args:
        scratch: folder of everything that is made, with a cache of its own.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch, self.rows = scratch, [("step", "processor time", "memory")]
        self.sizes: list[str] = []

    def run(self, name: str, python: str, *words: str | Path, made: Path | None = None) -> bytes:
        """One command; its output."""
        kept = {f"TAGPRISM_{place.upper()}": str(self._scratch / place) for place in ("cache", "state")}
        command = [python, "-m", "tagprism", *map(str, words)]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as talk:
            environment = os.environ | kept | {"OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=talk)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            talk.seek(0)
            if process.returncode not in (0, 4):
                sys.exit(f"{name}: {' '.join(command)}\n{talk.read().decode()}")
            said = out.read()
        seconds, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3
        self.rows.append((name, f"{seconds:,.1f} s", f"{megabytes:,.0f} MB"))
        if made is not None:
            self.sizes.append(f"{made.name} {on_disk(made) / 1e6:,.0f} MB")
        print(f"{name}: {seconds:,.1f} s, {megabytes:,.0f} MB", file=sys.stderr, flush=True)
        return said


def on_disk(folder: Path) -> int:
    """Bytes that the files in a folder take; what an index only reserves is not counted."""
    return sum(512 * file.stat().st_blocks for file in folder.rglob("*") if file.is_file())


def smaller_split(data: str, split: str, pictures: int, into: Path) -> tuple[Path, list[PictureFile]]:
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


def principal_vectors(steps: Steps, given: argparse.Namespace, split: Path, listed: Path) -> None:
    """Train principal vectors on top of the network, and use them."""
    network, using, n = given.network.resolve(), given.using, given.pictures
    run, index, whole = (given.scratch / name for name in ("run", "sdl.index", "whole"))
    on, words, photo = ("--data", given.data, "--split", split), given.scratch / "words.txt", next(listed.iterdir())
    spec = f"onnx:{network}"
    parts = f'labels.parts=[{{encoder="{spec}", template="a photo of a {{}}"}}]'
    settings = (parts, f'model.backbone="{spec}"', "calibration.folds=0", "training.validation=0")
    sets = tuple(word for one in settings for word in ("--set", one))
    train = ("train", RECIPE, *on, *sets)
    seen = len(json.loads(split.read_text())["seen"])
    steps.run(
        f"train on {n - n // 5} pictures and {seen} labels", sys.executable, *train, "--out", run, made=run / "bundle"
    )
    steps.run("the same with another seed", sys.executable, *train, "--out", f"{run}2", "--set", "seed=1")
    steps.run(
        "tag a picture, words of one's own", using, "tag", photo, "--model", run, "--labels", words, "--top-k", "2"
    )
    steps.run(f"index {n} pictures", using, "index", listed, "--into", index, "--model", run, made=index)
    steps.run("search", using, "search", index, "beach AND sunset", "--format", "jsonl")
    steps.run(f"evaluate on {n // 5} pictures", using, "evaluate", run, *on, "--format", "json")
    both = ("compare", "--model", run, "--model", network, *on, "--format", "json")
    verdicts = json.loads(steps.run("compare with the plain model", using, *both))["verdicts"]
    assert len(verdicts) == 1, verdicts
    bring = ("export", run, "--with-network", "--into", whole, "--photos", listed)
    steps.run("export with the network", using, *bring, made=whole)


def main() -> None:
    """Run every step and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("data")
    parser.add_argument("--split", required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--using", default=sys.executable, help="Python of an environment without torch")
    parser.add_argument("--plain", action="store_true", help="train nothing on top of it")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    split, files = smaller_split(given.data, given.split, given.pictures, given.scratch / "split.json")
    listed = given.scratch / "pictures"
    listed.mkdir(exist_ok=True)
    for number, file in enumerate(files):
        assert isinstance(file, Path), "data of files, not of shards"
        (listed / f"{number}{file.suffix}").write_bytes(file.read_bytes())
    network, using = given.network.resolve(), given.using
    on, plain = ("--data", given.data, "--split", split), given.scratch / "plain.index"
    words = given.scratch / "words.txt"
    words.write_text("a sailing boat\na birthday cake\nsnow\n")
    photo = next(listed.iterdir())
    steps, n, test = Steps(given.scratch), given.pictures, given.pictures // 5
    steps.sizes.append(f"{network.name} {on_disk(network) / 1e6:,.0f} MB")
    steps.run("read 1,000 common words, once", using, "models", "fetch", network)
    steps.run("what the model is", using, "models", "info", network)
    as_plain = ("--model", network)
    steps.run("plain: tag a picture", using, "tag", photo, *as_plain, "--top-k", "5", "--format", "jsonl")
    steps.run("plain: tag it in 5 views", using, "tag", photo, *as_plain, "--views", "5", "--format", "jsonl")
    steps.run(f"plain: index {n} pictures", using, "index", listed, "--into", plain, *as_plain, made=plain)
    steps.run("plain: search", using, "search", plain, "beach AND sunset", "--format", "jsonl")
    steps.run(f"plain: evaluate on {test} pictures", using, "evaluate", network, *on, "--format", "json")
    steps.run(f"plain: calibrate on {n - test} pictures", using, "models", "calibrate", network, *on)
    dry = ("keywords", "write", listed, *as_plain, "--labels", words, "--dry-run")
    steps.run(f"plain: what keywords {n} pictures would get", using, *dry)
    if not given.plain:
        principal_vectors(steps, given, split, listed)
    for at, row in enumerate(steps.rows):
        print(f"| {' | '.join(row)} |")
        if not at:
            print("|---|---:|---:|")
    its = made_with()
    print(f"\nOn disk: {', '.join(steps.sizes)}.")
    print(f"{n} pictures, one thread, onnxruntime {its['versions'].get('onnxruntime')}, commit {its['commit']}.")


if __name__ == "__main__":
    main()
