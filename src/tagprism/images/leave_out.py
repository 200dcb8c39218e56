"""Which entries of folders are left out: what programs keep beside photos, and what people name. Opens no picture."""

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
_KEPT_BY_PROGRAMS = {  # in small letters
    *("@eadir", "#recycle", "#snapshot"),  # Synology
    *("@recycle", "@recently-snapshot", ".@__thumb"),  # QNAP
    *("$recycle.bin", "recycler", "system volume information"),  # Windows
    *("lost+found", "__macosx"),
}
_PACKAGES = (  # folders that macOS shows as one file, and the previews of Lightroom
    *(".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary", ".theater"),
    *(".app", ".imovielibrary", ".fcpbundle", ".tvlibrary", ".musiclibrary", ".lrdata", ".lrlibrary"),
)


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
    """What the `.tagprismignore` of a folder says, if there is one.

    Raises:
        InputError: it cannot be read, or a line is no pattern.
    """
    path = os.path.join(folder, IGNORE_FILE)
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if not os.path.lexists(path):  # its name would be too long, or the folder cannot be entered: walking says so
            return ()
        raise InputError(f"cannot be read ({error}).", where=path, remedy="Save it as UTF-8 text.") from error
    return patterns(folder, lines, path)


def reason_to_leave_out(folder: str, name: str, is_folder: bool, rules: Iterable[Patterns]) -> str | None:
    """Why an entry is left out: what it is counted as; None where it is not.

    Args:
        folder: in which it is.
        name: of the entry.
        is_folder: whether it is a folder, or a link to one.
        rules: those that hold in the folder; what later ones say goes before what earlier ones say.
    """
    reason = None
    if name.startswith("."):
        reason = name if is_folder else "hidden"
    elif is_folder and name.casefold() in _KEPT_BY_PROGRAMS:
        reason = name
    elif is_folder and name.lower().endswith(_PACKAGES):
        reason = f"*{os.path.splitext(name)[1].lower()}"  # noqa: PTH122 (texts)
    for rule in rules:
        said = rule.leave_out(os.path.join(folder, name) + ("/" if is_folder else ""))
        if said is not None:
            reason = "by patterns" if said else None
    return reason
