"""Splits of Open Clip Art drawn at random, near-duplicates torn apart: shows what the committed split protects from.

Run: python benchmarks/openclipart_random_splits.py random_splits.json
     tagprism compare recipes/openclipart.toml --data openclipart --split random_splits.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tagprism.datasets.openclipart import open_openclipart
from tagprism.files import write_json

SEEDS, UNSEEN, LEAST, TRAIN = 3, 40, 15, 0.7


def main() -> None:
    """Write three splits: 40 labels of at least 15 drawings unseen, 70 % of the drawings for training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    table = open_openclipart()
    frequent = [label for label, count in zip(table.labels, table.label_counts(), strict=True) if count >= LEAST]
    splits = []
    for seed in range(SEEDS):
        draw = np.random.default_rng(seed)
        unseen = sorted(draw.permutation(frequent)[:UNSEEN].tolist())
        keys = draw.permutation(table.keys).tolist()
        cut = round(TRAIN * len(keys))
        seen = [label for label in table.labels if label not in set(unseen)]
        splits.append({"seed": seed, "seen": seen, "unseen": unseen, "train": keys[:cut], "test": keys[cut:]})
    write_json(arguments.out, splits)


if __name__ == "__main__":
    main()
