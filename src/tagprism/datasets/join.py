"""Several data sets as one `tagged:` folder, each keeping its own meaning of a label that is not listed.

Of a source whose unlisted labels are absent, every label of its own list that a picture lacks is written down as a
negative; all else is unknown. Opens no picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagprism.datasets.table import ImageTable, first_ten
from tagprism.errors import InputError
from tagprism.files import link_or_copy, machine_errors, replaced_whole, write_json
from tagprism.images.picture_file import PictureFile, read_bytes
from tagprism.labels.phrases import normalise_phrase, variants
from tagprism.progress import Progress, silent


@dataclass(frozen=True)
class Joined:
    """What was joined.

    Args:
        pictures: how many there are.
        labels: how many there are.
        merged: joined label -> its other spellings, where there were several.
    """

    pictures: int
    labels: int
    merged: dict[str, tuple[str, ...]]


def join_datasets(
    sources: Mapping[str, ImageTable],
    into: Path,
    *,
    unknown: Collection[str] = (),
    progress: Progress = silent,
) -> Joined:
    """Write one `tagged:` folder out of several data sets; pictures are hard links where the disk allows it.

    Labels that are spellings of one another (case, plural, hyphens: `labels.phrases.variants`) become one label, called
    by the spelling with the most pictures (of equal ones the first by name). Where one spelling is positive and another
    negative, the label is positive.

    Args:
        sources: at least two data sets by name; the name becomes the first folder of their pictures' keys.
        into: the folder to write; must not exist.
        unknown: names of sources in which a label that is not listed is unknown, whatever they say themselves.
        progress: told of every picture.

    Raises:
        InputError: fewer than two sources, `into` exists, a name in `unknown` that is no source.
        MachineError: the folder cannot be written.
    """
    if len(sources) < 2:
        raise InputError("there is nothing to join.", remedy="Name two data sets or more.")
    if into.exists():
        raise InputError("exists already.", where=str(into), remedy="Choose another `into`.")
    if strangers := sorted(set(unknown) - set(sources)):
        raise InputError(f"not among the data sets to join: {first_ten(strangers)}.", where="`unknown`")
    names = label_names(list(sources.values()))
    with replaced_whole(into, replace=False) as folder, progress("joining", sum(map(len, sources.values()))) as advance:
        entries: dict[str, Any] = {}
        for source, table in sources.items():
            listed = table.unlisted == "unknown" or source in unknown
            for row, key in enumerate(table.keys):
                entries[f"{source}/{key}"] = _labels_of(table, row, names, listed_only=listed)
                _put(table.files[row], folder / "images" / source / key)
                advance(1)
        write_json(folder / "labels.json", entries)
        write_json(folder / "dataset.json", {"unlisted": "unknown"})
    spellings: dict[str, list[str]] = {}
    for label, name in names.items():
        spellings.setdefault(name, []).extend([label] if label != name else [])
    merged = {name: tuple(sorted(others)) for name, others in sorted(spellings.items()) if others}
    return Joined(len(entries), len(spellings), merged)


def label_names(tables: list[ImageTable]) -> dict[str, str]:
    """The joined name of every label of some data sets: one name for all spellings of a label."""
    pictures: Counter[str] = Counter()
    for table in tables:
        pictures.update(dict(zip(table.labels, table.label_counts().tolist(), strict=True)))
    parent = {normalise_phrase(label): normalise_phrase(label) for label in pictures}

    def root(spelling: str) -> str:
        while parent[spelling] != spelling:
            spelling = parent[spelling]
        return spelling

    for spelling in sorted(parent):
        for other in sorted(variants(spelling) & parent.keys()):
            parent[root(other)] = root(spelling)
    best: dict[str, str] = {}
    for label in sorted(pictures, key=lambda one: (-pictures[one], one)):
        best.setdefault(root(normalise_phrase(label)), label)
    return {label: best[root(normalise_phrase(label))] for label in pictures}


def _labels_of(
    table: ImageTable, row: int, names: Mapping[str, str], *, listed_only: bool
) -> dict[str, list[str]] | list[str]:
    positive = {names[table.labels[position]] for position in table.positive[row]}
    negative = {names[table.labels[position]] for position in table.negative[row]}
    if not listed_only:
        negative |= {names[label] for label in table.labels}
    negative -= positive
    return {"positive": sorted(positive), "negative": sorted(negative)} if negative else sorted(positive)


def _put(source: PictureFile, target: Path) -> None:
    with machine_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            link_or_copy(source.resolve(), target)
        else:
            target.write_bytes(read_bytes(source))
