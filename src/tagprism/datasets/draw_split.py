"""Draws a zero-shot split: the unseen labels at random, and for every label its share of the pictures in each part.

Out of the seen labels of a split it draws another one, to choose settings by.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tagprism.counted import counted
from tagprism.datasets.near_duplicates import group, near_duplicates
from tagprism.datasets.splits import Split, seeded_draw, shared_labels
from tagprism.datasets.table import ImageTable, first_ten
from tagprism.errors import InputError
from tagprism.labels.phrases import listed
from tagprism.progress import Progress, silent


def draw_split(
    table: ImageTable,
    *,
    unseen: float | Iterable[str] = 0.2,
    test: float = 0.3,
    val: float = 0.0,
    least_positives: int = 4,
    seed: int = 0,
    near_duplicates_together: bool = True,
    groups: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> Split:
    """Draw a zero-shot split: which labels are seen and unseen, and which pictures train and test.

    The same names, labels, seed and shares give the same split. Spellings of one label (`cat`, `cats`) are never on two
    sides. A label with too few positives is on neither side.

    Args:
        table: the data set.
        unseen: share of the usable labels that become unseen, above 0 and below 1; or the unseen labels themselves.
        test: share of the pictures to measure on, above 0 and below 1; every label has about this share of its own.
        val: share of the pictures to choose a model by; 0 for none.
        least_positives: positives that a seen label needs in train and an unseen one in test, at least 1;
            near-duplicates count once. A label that has as many in one of the two is usable.
        seed: another seed, another split.
        near_duplicates_together: keep pictures with the same bytes or the same look in one part. Decodes every picture;
            one that cannot be decoded is in no part then.
        groups: key -> name of its group, each group to be kept in one part, such as pictures of one event, or
            `near_duplicates(table)` for many splits; only these pictures are used then.
        progress: told of every picture that is decoded.

    Returns:
        The split, checked against the table; pictures in the order of the table, labels sorted as there.

    Raises:
        InputError: a share is out of range, or too few labels have enough positives; they are named.

    Source: Sechidis, Tsoumakas, Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1.

    Example:
        >>> from tagprism import ImageTable, draw_split
        >>> labels = [["cat", "grass"], ["cat", "sofa"], ["dog", "grass"], ["dog", "sofa"]]
        >>> table = ImageTable.from_labels((f"photos/{number}.jpg", labels[number % 4]) for number in range(24))
        >>> split = draw_split(table, unseen=0.25, test=0.5)
        >>> len(split.seen), len(split.unseen), len(split.train), len(split.test)
        (3, 1, 12, 12)
    """
    refuse_shares(unseen, test, val, least_positives)
    if groups is None:
        together = near_duplicates_together
        groups = near_duplicates(table, progress=progress) if together else {key: key for key in table.keys}
    table.rows_of(list(groups))  # refuses unknown pictures
    parts = divide_pictures(table, groups, {"train": 1 - test - val, "val": val, "test": test}, seed)
    positives = {part: _positives(table, groups, parts[part]) for part in ("train", "test")}
    if isinstance(unseen, int | float):
        chosen = _unseen_labels(table.labels, positives, unseen, least_positives, seed)
    else:
        chosen = listed(unseen, "unseen")
        table.columns_of(chosen)  # refuses labels that are not in the table
        if rare := [label for label in chosen if positives["test"][label] < least_positives]:
            start = f"of {counted(len(chosen), 'unseen label')} {len(rare)} {'has' if len(rare) == 1 else 'have'}"
            raise _too_few(start, rare, positives["test"], least_positives)
    kept_out = {label for _, label in shared_labels(table.labels, chosen)} | set(chosen)
    others = [label for label in table.labels if label not in kept_out]
    seen = tuple(label for label in others if positives["train"][label] >= least_positives)
    if not seen:
        raise _too_few("the labels left to train on have", others, positives["train"], least_positives, part="train")
    name = f"drawn with seed {seed}"
    split = Split(seen=seen, unseen=chosen, train=parts["train"], val=parts["val"], test=parts["test"], name=name)
    split.check(table)
    return split


def refuse_shares(unseen: float | Iterable[str], test: float, val: float, least_positives: int) -> None:
    """Refuse numbers for `draw_split` that no data set could be divided by.

    Raises:
        InputError: one is out of range, or `test` and `val` leave no picture to train on.
    """
    if not 0 < test < 1:
        raise InputError(f"`test` ({test:g}) must be a share above 0 and below 1.")
    if not 0 <= val < 1:
        raise InputError(f"`val` ({val:g}) must be a share from 0 to below 1.")
    if test + val >= 1:
        raise InputError(f"`test` ({test:g}) and `val` ({val:g}) together must leave pictures to train on.")
    if least_positives < 1:
        raise InputError(f"`least_positives` ({least_positives}) must be at least 1.")
    if isinstance(unseen, int | float) and not 0 < unseen < 1:
        raise InputError(f"`unseen` ({unseen:g}) must be a share above 0 and below 1.")


def divide_pictures(
    table: ImageTable, groups: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, tuple[str, ...]]:
    """Divide pictures so that every label has its share in each part, as far as groups allow.

    Args:
        table: the pictures and labels.
        groups: key -> the group that it belongs to, for the pictures to be used.
        shares: part -> its share of the pictures, 1 together.
        seed: another seed, another division.

    Returns:
        part -> keys, in the order of the table; every group is in one part.
    """
    members: defaultdict[str, list[str]] = defaultdict(list)
    for key, its in groups.items():
        members[its].append(key)
    name_of = {its: min(keys) for its, keys in members.items()}  # the same in whatever order the pictures come
    labels_of = {key: [table.labels[column] for column in table.positive[row]] for row, key in enumerate(table.keys)}
    in_group = {
        name_of[its]: Counter(label for key in keys for label in labels_of[key]) for its, keys in members.items()
    }
    part_of = _stratified(in_group, {name_of[its]: len(keys) for its, keys in members.items()}, shares, seed)
    own = {key: part_of[name_of[its]] for key, its in groups.items()}
    return {part: tuple(key for key in table.keys if own.get(key) == part) for part in shares}


def pseudo_unseen(split: Split, fraction: float, seed: int) -> Split:
    """A split to choose settings by: some seen labels play the unseen ones, the validation pictures the test.

    The true unseen labels and the true test pictures are in no part of it.

    Args:
        split: with a validation part.
        fraction: part of the seen labels that become unseen, between 0 and 1; other spellings of one come along.
        seed: another seed, another part.

    Returns:
        A split without validation part, named after both.

    Raises:
        InputError: when there is no validation part, or no label is left on a side.
    """
    if not split.val:
        remedy = "Use hold_out_validation first."
        raise InputError("the split has no validation part.", where=split.name, remedy=remedy)
    drawn = sorted(split.seen, key=lambda label: seeded_draw(seed, label))[: round(fraction * len(split.seen))]
    unseen = {*drawn, *(label for label, _ in shared_labels(drawn, split.seen))}
    seen = tuple(label for label in split.seen if label not in unseen)
    if not seen or not unseen:
        raise InputError(
            f"{fraction:g} of {counted(len(split.seen), 'seen label')} leaves a side empty.", where=split.name
        )
    chosen = tuple(label for label in split.seen if label in unseen)
    name = f"{split.name}, pseudo-unseen {seed}"
    return Split(seen=seen, unseen=chosen, train=split.train, test=split.val, name=name)


def _stratified(
    in_group: Mapping[str, Counter[str]], sizes: Mapping[str, int], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Part of every group: the label with the fewest pictures left first, each group where that label lacks most."""
    shares = {part: share for part, share in shares.items() if share}
    left = sum(in_group.values(), Counter[str]())
    lacking = {part: {label: share * times for label, times in left.items()} for part, share in shares.items()}
    room = {part: share * sum(sizes.values()) for part, share in shares.items()}
    ordered = sorted(in_group, key=lambda name: (-sizes[name], seeded_draw(seed, name)))
    groups_of: defaultdict[str, list[str]] = defaultdict(list)
    for name in ordered:
        for label in in_group[name]:
            groups_of[label].append(name)
    part_of: dict[str, str] = {}
    while any(left.values()):
        rarest = min((label for label in left if left[label]), key=lambda label: (left[label], label))
        for name in groups_of[rarest]:
            if name in part_of:
                continue
            part = max(shares, key=lambda part: (lacking[part][rarest], room[part]))
            part_of[name] = part
            room[part] -= sizes[name]
            for label, times in in_group[name].items():
                lacking[part][label] -= times
                left[label] -= times
    for name in ordered:  # pictures without any positive
        if name not in part_of:
            part_of[name] = max(shares, key=lambda part: room[part])
            room[part_of[name]] -= sizes[name]
    return part_of


def _positives(table: ImageTable, groups: Mapping[str, str], keys: Sequence[str]) -> Counter[str]:
    """Number of pictures that have each label, near-duplicates counted once."""
    found = {
        (groups[key], column)
        for key, row in zip(keys, table.rows_of(keys).tolist(), strict=True)
        for column in table.positive[row].tolist()
    }
    return Counter(table.labels[column] for _, column in found)


def _unseen_labels(
    labels: Sequence[str], positives: Mapping[str, Counter[str]], share: float, least: int, seed: int
) -> tuple[str, ...]:
    """A share of the usable labels, drawn with all their spellings, of those that have enough positives in test."""
    usable = [label for label in labels if max(counts[label] for counts in positives.values()) >= least]
    wanted = max(1, round(share * len(usable)))
    number = {label: position for position, label in enumerate(labels)}
    pairs = [(number[one], number[other]) for one, other in shared_labels(labels, labels)]
    spellings: defaultdict[int, list[str]] = defaultdict(list)
    for label, first in zip(labels, group(len(labels), same=(), pairs=pairs), strict=True):
        spellings[first].append(label)
    chosen: set[str] = set()
    for names in sorted(spellings.values(), key=lambda names: seeded_draw(seed, min(names))):
        if len(chosen) < wanted:
            chosen |= {label for label in names if positives["test"][label] >= least}
    if len(chosen) < wanted:
        rare = [label for label in labels if label not in chosen]
        are = "is" if wanted == 1 else "are"
        start = f"{counted(wanted, 'unseen label')} {are} wanted, {len(chosen)} can be had: the other labels have"
        raise _too_few(start, rare, positives["test"], least)
    return tuple(label for label in labels if label in chosen)


def _too_few(
    start: str, labels: Iterable[str], positives: Counter[str], least: int, *, part: str = "test"
) -> InputError:
    """Name the labels that fall short, those nearest to enough first, each with its number of positives."""
    nearest = sorted(labels, key=lambda label: (-positives[label], label))
    named = first_ten(f"{label}: {positives[label]}" for label in nearest)
    share = "raise" if part == "test" else "lower"
    remedy = f"Lower `least_positives` or `unseen`, {share} `test`, or give these labels more pictures."
    return InputError(f"{start} fewer than {counted(least, 'positive')} in {part}: {named}.", remedy=remedy)
