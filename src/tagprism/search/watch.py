"""Waits for changes in folders. Knows not what changed: an update finds that out by itself, and quickly."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from watchfiles import watch

_CALM = 1600  # milliseconds over which changes are gathered
_LOOK_AGAIN = 5000  # milliseconds after which folders that are not there are looked for again


def changes(folders: Sequence[str]) -> Iterator[None]:
    """Yield after something changed in a folder, or may have.

    Also once when the watch over the folders has begun: what changed before that nobody has told.

    Args:
        folders: files and folders; those that are not there are looked for every few seconds.
    """
    while True:
        present = _present(folders)
        first = True
        for found in watch(
            *present, debounce=_CALM, rust_timeout=_LOOK_AGAIN, yield_on_timeout=True, raise_interrupt=True
        ):
            if found or first:
                first = False
                yield
            if _present(folders) != present:
                break


def _present(folders: Sequence[str]) -> list[str]:
    return [folder for folder in folders if os.path.lexists(folder)]
