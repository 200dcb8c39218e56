"""Refuse results measured on what was trained on. Knows digests and label names, neither pictures nor models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tagprism.counted import counted
from tagprism.errors import InputError
from tagprism.labels.phrases import variants

SHOWN = 10


class LeakError(InputError):
    """Test images, or labels called unseen, were trained on."""


@dataclass(frozen=True)
class Leak:
    """What of the test was trained on; false when nothing was.

    Args:
        images: keys of test images whose bytes were trained on, in the order of the test.
        labels: pairs (label called unseen, trained label that means the same).
        of_images: number of test images.
    """

    images: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    of_images: int = 0

    def __bool__(self) -> bool:
        """Whether anything leaked."""
        return bool(self.images or self.labels)


def find_leak(
    trained_images: AbstractSet[str],
    trained_labels: Iterable[str],
    test_digests: Mapping[str, str],
    unseen: Iterable[str],
    aliases: Mapping[str, Sequence[str]] | None = None,
    allowed: AbstractSet[tuple[str, str]] = frozenset(),
) -> Leak:
    """Look for test images and unseen labels among what a run was trained on.

    A label is also found by its plural, its other spellings and its aliases; looked up in a table of spellings, so that
    thousands of labels take no time.

    Args:
        trained_images: SHA-256 of the bytes of every training image.
        trained_labels: names of the training labels.
        test_digests: SHA-256 of each test image's bytes, by its key.
        unseen: names of the labels that the test calls unseen.
        aliases: other names of labels, by name; of either side.
        allowed: pairs (label called unseen, trained label) that a published protocol names; they are no leak.

    Returns:
        The leak, false when there is none. Of a label with several trained spellings the first is given.
    """
    aliases = aliases or {}
    trained_as: defaultdict[str, list[str]] = defaultdict(list)
    for label in trained_labels:
        for spelling in _spellings(label, aliases):
            trained_as[spelling].append(label)
    pairs = []
    for label in unseen:
        found = (trained for spelling in _spellings(label, aliases) for trained in trained_as.get(spelling, ()))
        pairs += [pair for trained in found if (pair := (label, trained)) not in allowed][:1]
    images = tuple(key for key, digest in test_digests.items() if digest in trained_images)
    return Leak(images, tuple(pairs), len(test_digests))


def check_leak(leak: Leak) -> None:
    """Raise `LeakError`, naming the first ten images and labels, when there is a leak."""
    if not leak:
        return
    parts = []
    if leak.images:
        of_all = f"{len(leak.images)} of {counted(leak.of_images, 'test image')}"
        parts.append(f"on {of_all} ({_first(leak.images)})")
    if leak.labels:
        names = [repr(own) if own == other else f"{own!r} as {other!r}" for own, other in leak.labels]
        parts.append(f"on {counted(len(names), 'label')} called unseen ({_first(names)})")
    raise LeakError(
        f"the model was trained {' and '.join(parts)}.",
        remedy="Evaluate on the split that the run was trained with, or pass --allow-leak to get a result so marked.",
    )


def _spellings(label: str, aliases: Mapping[str, Sequence[str]]) -> list[str]:
    """All spellings of a label and its aliases, its own name's first."""
    return [spelling for name in (label, *aliases.get(label, ())) for spelling in sorted(variants(name))]


def _first(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
