"""Patterns as in a `.gitignore`, by which people say what is left out of their folders. Knows no pictures."""

# ruff: noqa: PTH118, PTH123
# Paths are strings here, as in `walk`.

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.base import GitIgnorePatternError

from tagprism.errors import InputError

IGNORE_FILE = ".tagprismignore"


class Patterns(NamedTuple):
    """Patterns as in a `.gitignore`, which hold below a folder.

    Args:
        folder: its path.
        spec: the patterns.
    """

    folder: str
    spec: GitIgnoreSpec

    def leave_out(self, path: str) -> bool | None:
        """Whether a path below the folder (with a `/` at its end: a folder) is left out; None where nothing says so."""
        below = path[len(self.folder) :].replace(os.sep, "/").lstrip("/")
        return self.spec.check_file(unicodedata.normalize("NFC", below)).include


def patterns(folder: str, lines: Iterable[str], where: str) -> tuple[Patterns, ...]:
    """Patterns that hold below a folder; none where there is no line.

    Raises:
        InputError: a line is no pattern.
    """
    lines = [unicodedata.normalize("NFC", line) for line in lines if line.strip()]
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except GitIgnorePatternError as error:
            remedy = "Write patterns as in a .gitignore, such as exports/ or *.png."
            raise InputError(f"`{line}` is no pattern.", where=where, remedy=remedy) from error
    return (Patterns(folder, GitIgnoreSpec.from_lines(lines)),) if lines else ()


def patterns_in(folder: str) -> tuple[Patterns, ...]:
    """What the `.tagprismignore` of a folder says.

    Raises:
        InputError: it cannot be read, or a line is no pattern.
    """
    path = os.path.join(folder, IGNORE_FILE)
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:  # it went just now
        return ()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"cannot be read ({error}).", where=path, remedy="Save it as UTF-8 text.") from error
    return patterns(folder, lines, path)
