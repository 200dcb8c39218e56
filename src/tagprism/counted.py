"""Counts with their nouns, in whatever is said to people. Knows English nouns that take an -s."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """A count and its noun: `1 picture`, `2,484 pictures`, `0 labels`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
