"""The errors people see: what went wrong, where, and what to do. Knows nothing of any room.

The library raises these and never prints or exits; only `tagprism.app` turns them into an exit code.

    >>> import tagprism
    >>> try:
    ...     tagprism.load("nowhere")
    ... except tagprism.errors.TagprismError as error:
    ...     print(type(error).__name__, error.exit_code)
    InputError 2
"""

from __future__ import annotations


class TagprismError(Exception):
    """Base of every expected error; carries the exit code of the command line.

    Args:
        what: one sentence saying what is wrong.
        where: the file, row, label or setting it is about.
        remedy: one sentence saying what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(": ".join(part for part in (where, what) if part) + (f" {remedy}" if remedy else ""))


class InputError(TagprismError):
    """What was given cannot be used: arguments, recipe, labels, split or bundle."""

    exit_code = 2


class NothingToDoError(TagprismError):
    """There is nothing to do (no pictures, a finished run)."""

    exit_code = 3


class DoneAlreadyError(NothingToDoError):
    """What was asked for is there, made by an earlier call: for a script that is repeated all is well."""

    exit_code = 0


class IndexMismatchError(TagprismError):
    """An index and a model do not fit, or an index is of an older form."""

    exit_code = 5


class MachineError(TagprismError):
    """The machine refused: disk full, permission, network, a missing program."""

    exit_code = 6


class PictureError(TagprismError):
    """One picture cannot be used; the work goes on without it and the command ends with exit code 4.

    Args:
        code: short stable word for machines: `missing`, `empty`, `not_an_image`, `corrupt`, `too_many_pixels`,
            `too_slow`, `unreadable`, `unsupported`; `sidecar` or `embed` where the keywords beside or inside it
            cannot be read or changed.
        message: the sentence for people.
    """

    exit_code = 4

    def __init__(self, code: str, message: str, *, where: str | None = None) -> None:
        self.code, self.message = code, message
        super().__init__(message, where=where)
