"""What an update of an index did, and when so much is gone that it is in doubt. Knows no index."""

from __future__ import annotations

from dataclasses import dataclass, field

from tagprism.images.walk import WalkReport

_MANY, _SHARE = 10, 0.5  # so many, and this share of a folder, do not vanish unless someone says so


@dataclass
class Report:
    """What an update did, in pictures.

    Args:
        added: of files that were not known.
        changed: of files with other bytes than before, or another time.
        moved: whose file was found elsewhere; not looked at again.
        removed: whose file is gone.
        unchanged: not read at all.
        renewed: of which an older version had read less, or files beside them said other things; not looked at again.
        skipped: that cannot be used; each was told.
        known_bad: that cannot be used either, and could not before; they were not told again.
        doubtful: root -> how many are gone below it: so many that they were kept in the index, as a disk may be away.
        walk: what was left out, and what is of kinds that are not read.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    renewed: int = 0
    skipped: int = 0
    known_bad: int = 0
    doubtful: dict[str, int] = field(default_factory=dict)
    walk: WalkReport = field(default_factory=WalkReport, compare=False, repr=False)

    @property
    def any_change(self) -> bool:
        """Whether the index is not what it was."""
        return bool(self.added or self.changed or self.moved or self.removed or self.renewed)


def is_doubtful(gone: int, held: int) -> bool:
    """Whether so many of the pictures held of a root are gone that a disk may be away."""
    return gone > 0 and (gone == held or (gone >= _MANY and gone > _SHARE * held))
