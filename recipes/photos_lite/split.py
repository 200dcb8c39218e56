"""Draw the splits of photos_lite: which photos test, and which labels play the unseen ones.

  python recipes/photos_lite/split.py tagged:JOINED > split.json

All over the same photos, drawn by name and seed 0. `#0`, the proxy: every seventh label is unseen, so that settings can
be chosen and zero-shot figures measured. `#1`, what ships: all labels are seen but those on fewer than 8 photos, which
are in no other either. The yardstick for photos of other people has splits of its own (yardstick.py).
"""

from __future__ import annotations

import json
import sys
from collections import Counter

from names import TEST, copied, place, used

from tagprism.datasets.registry import open_dataset

LEAST = 8

table = open_dataset(sys.argv[1])
rows = table.rows_of([key for key in table.keys if not copied(key)])
counts = dict.fromkeys(table.labels, 0) | Counter(
    table.labels[int(at)] for row in rows for at in table.positive[int(row)]
)
labels = sorted((label for label in counts if counts[label] >= LEAST), key=place)
test = sorted(key for key in used(table.keys) if place(key) < TEST and not copied(key))
train = sorted(key for key in used(table.keys) if place(key) >= TEST)
unseen = sorted(labels[::7])
proxy = {"seen": sorted(set(labels) - set(unseen)), "unseen": unseen, "train": train, "test": test}
rare = sorted(set(counts) - set(labels))
everything = {"seen": sorted(labels), "unseen": rare, "train": train, "test": test}
json.dump([proxy, everything], sys.stdout, indent=1)
