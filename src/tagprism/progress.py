"""How long work says how far it is, without the library printing. Knows no terminal; `tagprism.app` brings one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
"""Call with the number of further items done."""

Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""Open a stretch of work: (what is done, how many items in all)."""


@contextmanager
def silent(what: str, total: int) -> Iterator[Advance]:
    """A `Progress` that shows nothing."""
    yield lambda _count: None
