"""A process that adds and removes pictures until it is killed, and says on stdout what the index has acknowledged.

Each change is one line before (`try add 3 4`) and one after (`did add 3 4`). A picture's record is a function of its id
and of the change that brought it, which is its `size`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tagprism.bundle.record import Records, Shape
from tagprism.search.contract import Picture
from tagprism.search.shared_index import SharedIndex

SHAPE = Shape(3, 5, 2)


def open_shared(folder: Path) -> SharedIndex:
    return SharedIndex(folder, SHAPE)


def record(number: int, change: int) -> Records:
    """Whole numbers, so that any arithmetic is exact."""
    random = np.random.default_rng([number, change])
    rows, shared = (random.integers(-3, 4, (1, *shape)).astype(np.float32) for shape in (SHAPE[:2], SHAPE[2:]))
    return Records(rows, shared)


def picture(number: int, change: int) -> Picture:
    return Picture(number, f"/photos/{number}.jpg", change, 1, f"{number:064x}", 4, 3)


def say(*words: object) -> None:
    print(*words, flush=True)


def main(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    index = open_shared(folder)
    say("open")
    for change in range(1 + 1000 * seed, 1000 + 1000 * seed):
        ids = sorted({int(one) for one in random.integers(1000, 1060, random.integers(1, 8))})
        what = "remove" if random.random() < 0.4 else "add"
        say("try", what, change, *ids)
        if what == "remove":
            index.remove(ids)
        else:
            index.add([picture(one, change) for one in ids], Records.joined(record(one, change) for one in ids))
        say("did", what, change, *ids)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
