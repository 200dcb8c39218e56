"""Waits for changes in folders. Knows not what changed: an update finds that out by itself, and quickly."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from watchfiles import watch

_CALM = 1600  # milliseconds over which changes are gathered
_LOOK_AGAIN = 2000  # milliseconds after which it is seen whether folders have come or gone


def changes(folders: Sequence[str]) -> Iterator[None]:
    """Yield after something changed in a folder, or may have: also once soon after watching begins.

    Args:
        folders: files and folders; those that are not there are looked for again and again.
    """
    while True:
        present = _there(folders)
        if not present:
            time.sleep(_LOOK_AGAIN / 1000)
            continue
        begins = True
        for found in watch(
            *present, debounce=_CALM, rust_timeout=_LOOK_AGAIN, yield_on_timeout=True, raise_interrupt=True
        ):
            if found or begins:  # what changed since the last update, when nothing was watched, is not told
                begins = False
                yield
            if _there(folders) != present:
                break


def _there(folders: Sequence[str]) -> list[str]:
    return [folder for folder in folders if os.path.lexists(folder)]
