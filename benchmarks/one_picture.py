"""What the first picture costs: `tag one.jpg` as a whole process, with known words and with new phrases, paired.

Run: python benchmarks/one_picture.py PHOTO [--rival SRC] [--rounds 7]
SRC is the `src` folder of another version (`git worktree add OLD COMMIT`), which is asked for known words alone, as it
may have no text encoder; it runs in the same environment, with its own packaged model. Given are medians of processor
time and of the ratios within a round, as other work on the machine disturbs these least.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
KNOWN = ("beach", "cat", "dog", "street", "food")
NEW = ("a red square", "my neighbour's garden gate", "somebody on a ladder", "an empty swimming pool", "muddy boots")
MEASURED = (
    "import json, resource, subprocess, sys, time; began = time.perf_counter(); "
    "subprocess.run([sys.executable, '-m', 'tagprism', *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True); "
    "spent = resource.getrusage(resource.RUSAGE_CHILDREN); "
    "print(json.dumps([spent.ru_utime + spent.ru_stime, time.perf_counter() - began]))"
)


def main() -> None:
    """Measure in rounds and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--rival", type=Path, help="src folder of another version")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        known, new = (_list(Path(folder) / name, words) for name, words in (("known", KNOWN), ("new", NEW)))
        ways = {"known words": (SRC, known), "new phrases": (SRC, new), "the vocabulary": (SRC, None)}
        if options.rival is not None:
            ways = {
                "rival, known words": (options.rival, known),
                "rival, the vocabulary": (options.rival, None),
                **ways,
            }
        spent: dict[str, list[list[float]]] = {name: [] for name in ways}
        for turn in range(options.rounds + 1):
            for name, (source, words) in ways.items():
                cost = _process(source, options.photo, words, Path(folder) / f"cache-{turn}-{len(spent[name])}")
                if turn:  # the first round reads the files from the disk
                    spent[name].append(cost)
    first = next(iter(spent.values()))
    print(f"{'':24} {'processor s':>11} {'s':>6} {'of the first':>13}")
    for name, its in spent.items():
        ratio = statistics.median(one[0] / other[0] for one, other in zip(its, first, strict=True))
        print(f"{name:24} {_median(its, 0):11.2f} {_median(its, 1):6.2f} {ratio:12.2f}x")


def _median(costs: list[list[float]], which: int) -> float:
    return statistics.median(cost[which] for cost in costs)


def _list(file: Path, words: tuple[str, ...]) -> Path:
    file.write_text("\n".join(words))
    return file


def _process(source: Path, photo: Path, words: Path | None, cache: Path) -> list[float]:
    """Processor time and time of one call; phrases are new in each, as nothing is in the cache."""
    command = ["tag", str(photo), "--format", "jsonl", "--quiet", *(["--labels", str(words)] if words else [])]
    environment = os.environ | {"PYTHONPATH": str(source), "TAGPRISM_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], env=environment, capture_output=True, text=True, check=True
    )
    spent: list[float] = json.loads(done.stdout)
    return spent


if __name__ == "__main__":
    main()
