"""How the committed split of Open Clip Art was drawn. Needed to draw it again, not to use it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from tagprism.datasets.near_duplicates import drawing_name, group, look_alikes, thumbnail
from tagprism.datasets.openclipart import Drawing, openclipart_table
from tagprism.datasets.splits import Split, check_split, seeded_draw
from tagprism.datasets.table import ImageTable
from tagprism.errors import PictureError
from tagprism.files import digest_bytes, write_text
from tagprism.images.decode import open_picture, read_bytes

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
    split = draw_split(table, near_duplicate_groups(table, drawings))
    write_text(target, json.dumps(split.to_json(), indent=0, ensure_ascii=False) + "\n")


def near_duplicate_groups(table: ImageTable, drawings: Sequence[Drawing]) -> dict[str, str]:
    """For each drawing that can be decoded the group it belongs to, named by the group's first key.

    Args:
        table: N drawings.
        drawings: N times what the author wrote.

    Returns:
        key -> key of the first of its group: same name but for counter, colour and author, same bytes, or same look.
    """
    with ThreadPoolExecutor() as pool:
        seen = [one for one in pool.map(_look, drawings, table.files) if one is not None]
    marks = [one.digest for one in seen], [one.name for one in seen]
    pairs = look_alikes(np.stack([one.thumbnail for one in seen]), [one.size for one in seen])
    groups = group(len(seen), same=marks, pairs=pairs)
    return {one.key: seen[first].key for one, first in zip(seen, groups, strict=True)}


@dataclass(frozen=True)
class _Look:
    """What near-duplicates are told by; `thumbnail` is (24, 24, 3), `size` (width, height) in pixels."""

    key: str
    digest: str
    name: str
    thumbnail: UInt8[np.ndarray, "24 24 3"]
    size: tuple[int, int]


def _look(drawing: Drawing, path: Path) -> _Look | None:
    try:
        data = read_bytes(path)
        image = open_picture(data, where=drawing.key)
    except PictureError:
        return None
    name = drawing_name(drawing.key, drawing.authors)
    return _Look(drawing.key, digest_bytes(data), name, thumbnail(image), image.size)


def draw_split(table: ImageTable, groups: dict[str, str], seed: int = SEED) -> Split:
    """Draw the unseen labels at random, and the parts so that every label has its share in each.

    Args:
        table: the drawings.
        groups: drawing -> its group, for those to be used.
        seed: another seed, another split.

    Returns:
        The split; every group is in one part.
    """
    members: defaultdict[str, list[str]] = defaultdict(list)
    for key, first in groups.items():
        members[first].append(key)
    labels_of = {key: [table.labels[column] for column in table.positive[row]] for row, key in enumerate(table.keys)}
    in_group = {first: Counter(label for key in keys for label in labels_of[key]) for first, keys in members.items()}
    unseen = _unseen_labels(in_group, seed)
    part_of = _stratified(in_group, {first: len(keys) for first, keys in members.items()}, seed)
    keys = {part: tuple(key for key in table.keys if key in groups and part_of[groups[key]] == part) for part in PARTS}
    seen = tuple(label for label in table.labels if label not in unseen)
    split = Split("openclipart", seen, unseen, keys["train"], keys["val"], keys["test"])
    check_split(split, table, where="openclipart")
    return split


def _unseen_labels(in_group: Mapping[str, Counter[str]], seed: int) -> tuple[str, ...]:
    drawings = sum(in_group.values(), Counter[str]())
    groups = Counter(label for counts in in_group.values() for label in counts)
    common = [
        label
        for label, times in drawings.items()
        if times >= UNSEEN_LEAST["drawings"] and groups[label] >= UNSEEN_LEAST["groups"]
    ]
    return tuple(sorted(sorted(common, key=lambda label: seeded_draw(seed, label))[:UNSEEN_LABELS]))


def _stratified(in_group: Mapping[str, Counter[str]], sizes: Mapping[str, int], seed: int) -> dict[str, str]:
    """Part of every group: the label with the fewest drawings left first, each group where that label lacks most.

    Source: Sechidis, Tsoumakas, Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1.
    """
    left = sum(in_group.values(), Counter[str]())
    lacking = {part: {label: share * times for label, times in left.items()} for part, share in PARTS.items()}
    room = {part: share * sum(sizes.values()) for part, share in PARTS.items()}
    groups_of: defaultdict[str, list[str]] = defaultdict(list)
    for first in sorted(in_group, key=lambda first: (-sizes[first], seeded_draw(seed, first))):
        for label in in_group[first]:
            groups_of[label].append(first)
    part_of: dict[str, str] = {}
    while any(left.values()):
        rarest = min((label for label in left if left[label]), key=lambda label: (left[label], label))
        for first in groups_of[rarest]:
            if first in part_of:
                continue
            part = max(PARTS, key=lambda part: (lacking[part][rarest], room[part]))
            part_of[first] = part
            room[part] -= sizes[first]
            for label, times in in_group[first].items():
                lacking[part][label] -= times
                left[label] -= times
    return part_of
