"""How long work says how far it is, without the library printing. Knows no terminal; `tagprism.app` brings one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

Advance = Callable[[int], None]
"""Call with the number of further items done."""

Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""Open a stretch of work: (what is done, how many items in all)."""


@contextmanager
def silent(what: str, total: int) -> Iterator[Advance]:
    """A `Progress` that shows nothing."""
    yield lambda _count: None


_Part = TypeVar("_Part", bound=Sized)


def told(parts: Iterable[_Part], advance: Advance) -> Iterator[_Part]:
    """Parts of items, each counted as done when the next one is asked for."""
    for part in parts:
        yield part
        advance(len(part))
