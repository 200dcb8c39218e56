"""What a walk of folders gives of some paths in them, without looking elsewhere. Opens no picture."""

# ruff: noqa: PTH112, PTH118, PTH206
# Paths are strings here, as in `walk`.

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence

from tagprism.images.leave_out import Patterns
from tagprism.images.walk import Walk, rules_in, stem


def pictures_at(
    paths: Iterable[tuple[str, str]], *, exclude: Sequence[str] = (), without: Sequence[str] = ()
) -> Iterator[str]:
    """What `each_picture` gives of some paths.

    Args:
        paths: a folder that would be walked, and a folder or file below it, reached through no link. Of a file that is
            there or not, all that are named alike but for the ending are given, as cameras save files in pairs.
        exclude: as for `each_picture`.
        without: as for `each_picture`.
    """
    walk = _PlacedWalk(exclude, without)
    stems: dict[tuple[str, str], set[str]] = {}
    for root, path in paths:
        if path == root or os.path.isdir(path):
            yield from walk.at(root, path)
        else:
            folder, name = os.path.split(path)
            stems.setdefault((root, folder), set()).add(stem(name))
    for (root, folder), some in stems.items():
        if os.path.isdir(folder):
            yield from walk.at(root, folder, some)


class _PlacedWalk(Walk):
    """A walk that begins below a root, with the rules that hold there."""

    def at(self, root: str, path: str, stems: Collection[str] = ()) -> Iterator[str]:
        """What the walk of a root gives of a folder in it; with stems only the files in it that are named so."""
        if path == root and not stems:
            yield from self.below(root)
            return
        self._excluding = self._excluded(root)
        rules: tuple[Patterns, ...] = ()
        folder = root
        for name in os.path.relpath(path, root).split(os.sep) if path != root else ():
            rules += rules_in(folder)
            if self._reason(folder, name, True, rules):
                return
            folder = os.path.join(folder, name)
        yield from self._folder(path, rules, stems)
