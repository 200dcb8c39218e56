"""The roots of an index: a folder is one, by whatever path it is reached. Knows no index."""

# ruff: noqa: PTH114, PTH118, PTH119
# Paths are strings here, as in `images.walk`.

from __future__ import annotations

import os
from collections.abc import Sequence

from tagprism.images.leave_out import IGNORE_FILE
from tagprism.images.walk import identity


def lies_in(path: str, root: str) -> bool:
    """Whether a path is that of a root, or goes on from it."""
    return path == root or path.startswith(os.path.join(root, ""))


def reaches_far(path: str) -> bool:
    """Whether a change of this file says something of other files."""
    return os.path.islink(path) or os.path.basename(path) == IGNORE_FILE


def without_nested(roots: Sequence[str]) -> tuple[str, ...]:
    """Roots in alphabetical order, without those that lie in others, by whatever path; of the same the first stays."""
    kept: list[str] = []
    for root in sorted(dict.fromkeys(roots), key=lambda one: len(os.path.realpath(one))):
        if path_in(root, kept) is None:
            kept.append(root)
    return tuple(sorted(kept))


def path_in(path: str, roots: Sequence[str]) -> str | None:
    """The path by which a file or folder lies in one of some roots, or is one; None where it does not.

    A folder is the same one through a link, in another spelling, or mounted twice.
    """
    known = {identity(root): root for root in reversed(roots)}
    for above in (path, os.path.realpath(path)):
        below: list[str] = []
        while True:
            if (root := known.get(identity(above))) is not None:
                return os.path.join(root, *reversed(below))
            folder, name = os.path.split(above)
            if folder == above:
                break
            below.append(name)
            above = folder
    return None
