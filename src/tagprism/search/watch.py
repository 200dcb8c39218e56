"""Waits for changes in folders and tells where they were. Knows no pictures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from watchfiles import Change, watch

_CALM = 1600  # milliseconds over which changes are gathered
_LOOK_AGAIN = 5000  # milliseconds after which folders that are not there are looked for again
_POLL = 60.0  # seconds between two looks at everything, where the system does not tell of changes
_LIMIT = (
    "Raise the limits, such as `sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=1024`"
    if sys.platform == "linux"
    else "Close programs that watch many folders"
)


def changes(
    folders: Sequence[str], ignored: str = "", remark: Callable[[str], None] = lambda said: None
) -> Iterator[frozenset[str] | None]:
    """Tell where something changed in folders, or may have.

    Args:
        folders: files and folders, absolute; those that are not there are looked for every few seconds.
        ignored: a folder in which nothing counts, such as that of an index.
        remark: told when the system cannot watch so many folders, and what helps; they are then looked at every minute.

    Yields:
        Paths of files and folders that are new, changed or gone; None where everything must be looked at: when the
        watch begins, and so also for what changed before that nobody has told.
    """
    own = os.path.join(ignored, "")  # noqa: PTH118 (texts)

    def counts(change: Change, path: str) -> bool:
        return not (ignored and path.startswith(own))

    while True:
        present = _present(folders)
        try:
            first = True
            for found in watch(
                *present,
                watch_filter=counts,
                debounce=_CALM,
                rust_timeout=_LOOK_AGAIN,
                yield_on_timeout=True,
                raise_interrupt=True,
                ignore_permission_denied=True,
            ):
                if found or first:
                    yield None if first else frozenset(path for _, path in found)
                    first = False
                if _present(folders) != present:
                    break
        except FileNotFoundError:
            time.sleep(_LOOK_AGAIN / 1000)  # it went while the watch was set up
        except (OSError, RuntimeError) as error:  # watchfiles has no errors of its own for a limit that is reached
            reason = str(error).partition(" about ")[0].rstrip(".")
            what = "the system cannot tell of changes in so many folders"
            remark(f"{what} ({reason}): they are looked at every minute. {_LIMIT}, then start again.")
            while True:
                yield None
                time.sleep(_POLL)


def _present(folders: Sequence[str]) -> list[str]:
    return [folder for folder in folders if os.path.lexists(folder)]
