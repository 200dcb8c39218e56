"""What goes wrong in a server comes to stderr, but never so much that it fills a disk. Knows nothing of what it is."""

from __future__ import annotations

import logging
import time

_LINES, _MINUTE = 20, 60.0


class _Limited(logging.Filter):
    """At most so many records a minute: whoever provokes errors does not fill a disk with them."""

    def __init__(self) -> None:
        super().__init__()
        self._began, self._count = -_MINUTE, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown; the last one of a minute says that it is the last."""
        now = time.monotonic()
        if now - self._began > _MINUTE:
            self._began, self._count = now, 0
        self._count += 1
        if self._count == _LINES:
            record.msg = f"{record.msg} (more of this minute are left out)"
        return self._count <= _LINES


def log_errors() -> None:
    """Show errors of the server, but not what clients do wrong."""
    shown = logging.StreamHandler()
    shown.addFilter(_Limited())
    for name in ("uvicorn.error", "asyncio", "tagprism.server"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [shown], False
        logger.setLevel(logging.ERROR)
