"""Lists of words and phrases in text files, one a line, with other spellings after tabs. Knows no vectors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from tagprism.errors import InputError
from tagprism.files import read_at_most
from tagprism.labels.phrases import normalise_phrase

LARGEST = 64 << 20  # bytes: some million words


def read_phrases(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a word list: one phrase a line, other spellings of it (aliases) after tabs, each spelling once.

    Empty lines and lines that start with `#` are left out; white space around and inside a phrase is evened.

    Args:
        path: UTF-8 text, with any line ends.

    Returns:
        The phrases in order, each with its aliases, mostly none.

    Raises:
        InputError: no such file, one too large, not UTF-8, no phrase in it, or a spelling given twice, with the lines.
    """
    labels: dict[str, tuple[str, ...]] = {}
    first: dict[str, int] = {}
    comments = 0
    for number, line in _lines(path):
        if line.startswith("#"):
            comments += 1
            continue
        label, *aliases = (" ".join(part.split()) for part in line.split("\t") if part.strip())
        for spelling in (label, *aliases):
            key = normalise_phrase(spelling)
            if not key:
                raise InputError(f"`{spelling}` is not a word.", where=f"{path}, line {number}")
            if key in first:
                before = f" (first in line {first[key]})" if first[key] != number else ""
                raise InputError(
                    f"`{spelling}` is given twice{before}.", where=f"{path}, line {number}", remedy="Keep one of them."
                )
            first[key] = number
        labels[label] = tuple(aliases)
    if not labels:
        hint = " Lines that start with `#` are comments." if comments else ""
        raise InputError("there is no word in it.", where=str(path), remedy=f"Write one phrase a line.{hint}")
    return labels


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that hold something, stripped, with their numbers from 1."""
    try:
        text = io.StringIO(read_at_most(path, LARGEST).decode("utf-8-sig"), newline=None)
        for number, line in enumerate(text, start=1):
            if stripped := line.strip():
                yield number, stripped
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the word list cannot be read ({error}).", where=str(path), remedy="Give a UTF-8 text, a phrase a line."
        ) from error


def spellings(labels: dict[str, tuple[str, ...]]) -> list[str]:
    """All phrases of a list with their aliases, each label before its own."""
    return [spelling for label, aliases in labels.items() for spelling in (label, *aliases)]
