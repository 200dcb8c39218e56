"""Waits for changes in folders. Knows not what changed: an update finds that out by itself, and quickly."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from watchfiles import watch

_CALM = 1600  # milliseconds over which changes are gathered
_LOOK_AGAIN = 60_000  # milliseconds after which folders that could not be watched are looked for again


def changes(folders: Sequence[str]) -> Iterator[None]:
    """Yield after something changed in a folder, or may have.

    Args:
        folders: files and folders; those that are not there are looked for every minute.
    """
    while True:
        present = [folder for folder in folders if os.path.lexists(folder)]
        if present:
            for found in watch(
                *present, debounce=_CALM, rust_timeout=_LOOK_AGAIN, yield_on_timeout=True, raise_interrupt=True
            ):
                if found or len(present) < len(folders):
                    yield
                if [folder for folder in folders if os.path.lexists(folder)] != present:
                    break
        yield
