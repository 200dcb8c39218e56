"""A published division of a data set, and where it departs from our rules. Only data sets make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Protocol:
    """Which labels and pictures a published benchmark uses, of those that are on this machine.

    Args:
        name: as results name it.
        seen: labels to train on.
        unseen: labels never trained on.
        train: keys of the training pictures that are there; `val` and `test` alike.
        val: may be empty.
        test: to measure on.
        official: number of pictures that the publishers list for each part, there or not.
        same_label: pairs (unseen, seen) that are one label by our rules and that the published lists hold nevertheless.
        remarks: what else a result must say.
    """

    name: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    train: Sequence[str]
    val: Sequence[str]
    test: Sequence[str]
    official: Mapping[str, int]
    same_label: frozenset[tuple[str, str]] = frozenset()
    remarks: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, object]:
        """What a result says of it."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {
            "name": self.name,
            "pictures": {part: {"official": count, "there": len(parts[part])} for part, count in self.official.items()},
            "same_label_allowed": [list(pair) for pair in sorted(self.same_label)],
            "remarks": list(self.remarks),
        }

    def summary(self) -> str:
        """One line for people."""
        there = len(self.test)
        line = f"{self.name}: {there:,} of {self.official['test']:,} official test pictures are there"
        pairs = len(self.same_label)
        return line + (f"; {pairs} unseen/seen pairs of one label are part of the protocol" if pairs else "")
