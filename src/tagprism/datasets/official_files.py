"""Files of an official distribution: where they may lie, and what to say when some are absent. Reads none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from tagprism.errors import InputError

Forms: TypeAlias = Sequence[Sequence[str]]
"""Ways to have one thing, the preferred first; each is the names of the files that it takes."""


def official_folder(folder: Path, kind: str) -> Path:
    """The folder as given, which must exist.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError("there is no such folder.", where=str(folder), remedy=f"Name it as {kind}:DIR.")
    return folder


def find_files(
    folder: Path, wanted: Sequence[Forms], candidates: Callable[[str], Sequence[str]], *, source: str
) -> list[list[Path]]:
    """Find files, or name all that are absent at once: half a download is the usual mistake.

    Args:
        folder: of the data set.
        wanted: per thing, the forms it may have.
        candidates: where a file of a name may lie, in the order in which they are tried.
        source: where the files come from, for the message.

    Returns:
        Per thing, the files of its first form that is there whole.

    Raises:
        InputError: a thing is there in none of its forms; all such are named.
    """
    found: list[list[Path]] = []
    missing: list[str] = []
    for forms in wanted:
        each = ([path for name in names if (path := find_file(folder, candidates(name)))] for names in forms)
        whole = next((paths for names, paths in zip(forms, each, strict=True) if len(paths) == len(names)), None)
        found.append(whole or [])
        if whole is None:
            first = [name for name in forms[0] if find_file(folder, candidates(name)) is None]
            others = [" with ".join(names) for names in forms[1:]]
            missing.append(", ".join(first) + (f" (or {' or '.join(others)})" if others else ""))
    if missing:
        listed = "; ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise InputError(f"files that are needed are not there: {listed}.", where=str(folder), remedy=source)
    return found


def find_file(folder: Path, candidates: Sequence[str]) -> Path | None:
    """The first of some paths below a folder where there is a file or folder."""
    return next((folder / path for path in candidates if (folder / path).exists()), None)
