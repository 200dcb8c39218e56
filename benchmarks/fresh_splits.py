"""Zero-shot splits of a tagged folder like those given for Corel-5k, from other seeds: were settings tuned to those?

Its exact draw is kept, as published numbers were measured on these splits; `tagprism data split` draws better ones.

Run: python benchmarks/fresh_splits.py tagged:DIR fresh_splits.json
     tagprism compare recipes/corel5k.toml --data tagged:DIR --split fresh_splits.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tagprism.datasets.registry import open_dataset
from tagprism.files import write_json

SEEDS = range(100, 108)  # the given ones have 0 to 7
LEAST, LEAST_TRAIN, LEAST_TEST = 8, 2, 4  # photos of a label; of a seen one that train; of an unseen one that test
UNSEEN, TRAIN = 0.2, 0.7


def main() -> None:
    """Write eight splits: 70 % of the photos train, a fifth of the labels is unseen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    table = open_dataset(arguments.data)
    frequent = [label for label, count in zip(table.labels, table.label_counts(), strict=True) if count >= LEAST]
    splits = []
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        keys = draw.permutation(table.keys).tolist()
        train, test = keys[: round(TRAIN * len(keys))], keys[round(TRAIN * len(keys)) :]
        of_train, of_test = ((table.targets(table.rows_of(part), frequent) == 1).sum(axis=0) for part in (train, test))
        often = [label for label, count in zip(frequent, of_test, strict=True) if count >= LEAST_TEST]
        unseen = sorted(draw.permutation(often)[: round(UNSEEN * len(frequent))].tolist())
        trained = [label for label, count in zip(frequent, of_train, strict=True) if count >= LEAST_TRAIN]
        seen = [label for label in trained if label not in set(unseen)]
        splits.append({"seed": seed, "seen": seen, "unseen": unseen, "train": train, "test": test})
    write_json(arguments.out, splits)


if __name__ == "__main__":
    main()
