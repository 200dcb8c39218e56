"""How the committed split of Open Clip Art was drawn. Needed to draw it again, not to use it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tagprism.datasets.draw_split import divide_pictures
from tagprism.datasets.near_duplicates import drawing_name, near_duplicates
from tagprism.datasets.openclipart import openclipart_table
from tagprism.datasets.splits import Split, seeded_draw
from tagprism.datasets.table import ImageTable
from tagprism.files import write_text

SEED = 0
UNSEEN_LABELS = 40
UNSEEN_LEAST = {"drawings": 15, "groups": 10}
"""An unseen label has at least this many drawings, in so many groups of near-duplicates; rarer ones measure little."""

PARTS = {"train": 0.6, "val": 0.1, "test": 0.3}
"""Parts of the drawings, of all and of those of each label, as far as groups allow."""


def write_split(folder: Path, target: Path) -> None:
    """Draw the split and write it, one name a line.

    Args:
        folder: holds `png/` and `svg/`.
        target: the JSON file.
    """
    table, drawings = openclipart_table(folder)
    groups = near_duplicates(table, [drawing_name(drawing.key, drawing.authors) for drawing in drawings])
    split = draw_openclipart_split(table, groups)
    write_text(target, json.dumps(split.to_json(), indent=0, ensure_ascii=False) + "\n")


def draw_openclipart_split(table: ImageTable, groups: Mapping[str, str], seed: int = SEED) -> Split:
    """Draw the unseen labels at random, and the parts so that every label has its share in each.

    Args:
        table: the drawings.
        groups: drawing -> its group of near-duplicates, for those to be used.
        seed: another seed, another split.

    Returns:
        The split; every group is in one part.
    """
    unseen = _unseen_labels(table, groups, seed)
    seen = tuple(label for label in table.labels if label not in unseen)
    keys = divide_pictures(table, groups, PARTS, seed)
    split = Split(seen=seen, unseen=unseen, train=keys["train"], val=keys["val"], test=keys["test"], name="openclipart")
    split.check(table)
    return split


def _unseen_labels(table: ImageTable, groups: Mapping[str, str], seed: int) -> tuple[str, ...]:
    used = [(groups[key], table.positive[row].tolist()) for row, key in enumerate(table.keys) if key in groups]
    drawings = Counter(column for _, columns in used for column in columns)
    apart = Counter(column for _, column in {(its, column) for its, columns in used for column in columns})
    common = [
        table.labels[column]
        for column, times in drawings.items()
        if times >= UNSEEN_LEAST["drawings"] and apart[column] >= UNSEEN_LEAST["groups"]
    ]
    return tuple(sorted(sorted(common, key=lambda label: seeded_draw(seed, label))[:UNSEEN_LABELS]))
