"""Draw the splits of photos_lite: which photos test, and which labels play the unseen ones.

  python recipes/photos_lite/split.py tagged:JOINED > split.json

All over the same photos, drawn by name and seed 0. `#0`, the proxy: every seventh label is unseen, so that settings can
be chosen and zero-shot figures measured. `#1`, what ships: all labels are seen but those on fewer than 8 photos, which
are in no other either. `#2` and `#3`, the yardstick for photos of other people (docs/photos_lite.md): the half of the
caption photos that is not tested on and all other photos train; every other COCO class that is a label, with the labels
that mean the same, is unseen.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256

from tagprism.datasets.registry import open_dataset

LEAST, TEST, CAPTIONS = 8, 0.1, "coco_captions/"
# COCO classes among the labels (those with many photos first), and the labels that say the same in other words
CLASSES = (
    ("bus",), ("dog", "dogs"), ("train", "railroad", "locomotive"), ("horses", "horse", "mare", "foals"),
    ("umbrella",), ("cars", "car"), ("bench",), ("motorcycle",), ("cake",), ("boats", "boat", "sailboats", "ships"),
    ("airplane", "plane", "jet", "prop"), ("bicycle", "bike"), ("chairs", "chair"), ("truck",), ("bear", "grizzly"),
    ("elephant", "elephants", "tusks"), ("cat",), ("cow", "cows"), ("orange",), ("sheep",), ("giraffe",), ("book",),
)  # fmt: skip


def place(name: str) -> float:
    """A number in 0..1 that a name always has."""
    return int(sha256(f"photos-lite 0 {name}".encode()).hexdigest()[:12], 16) / 16**12


table = open_dataset(sys.argv[1])
counts = dict(zip(table.labels, table.label_counts().tolist(), strict=True))
labels = sorted((label for label in counts if counts[label] >= LEAST), key=place)
test = sorted(key for key in table.keys if place(key) < TEST)
train = sorted(set(table.keys) - set(test))
unseen = sorted(labels[::7])
proxy = {"seen": sorted(set(labels) - set(unseen)), "unseen": unseen, "train": train, "test": test}
rare = sorted(set(counts) - set(labels))
everything = {"seen": sorted(labels), "unseen": rare, "train": train, "test": test}
splits = [proxy, everything]
half = sorted(key for key in table.keys if key.startswith(CAPTIONS) and place(key) < 0.5)
for fold in CLASSES[::2], CLASSES[1::2]:
    asked = sorted({group[0] for group in fold} & set(labels))
    kept = sorted(set(labels) - {label for group in fold for label in group})
    splits.append({"seen": kept, "unseen": asked, "train": sorted(set(table.keys) - set(half)), "test": half})
json.dump(splits, sys.stdout, indent=1)
