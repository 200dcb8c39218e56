"""Keywords of the page: the marks of pictures into their sidecars, as runs that `tagprism undo` knows too."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tagprism.app.server.answers import UndoAnswer
from tagprism.app.server.forms import shown
from tagprism.errors import InputError, NothingToDoError, PictureError, TagprismError
from tagprism.keywords import sidecar
from tagprism.keywords.journal import Journal
from tagprism.keywords.undo import undo
from tagprism.search.contract import Picture
from tagprism.search.marks import Marks

_AT_ONCE = 16  # sidecars between two times that the journal is on disk


class KeywordWriter:
    """Reads, writes and undoes sidecars, one run at a time.

    Args:
        marks: tags that people added or rejected.
        naming: which sidecars keywords go into.
    """

    def __init__(self, marks: Marks, naming: sidecar.Naming) -> None:
        self._marks, self._naming = marks, naming
        self._writing = threading.Lock()

    def read(self, picture: Picture) -> list[str] | None:
        """The keywords of a picture's sidecar as it is now; None where it cannot be read."""
        try:
            return list(sidecar.read_keywords(Path(picture.path), self._naming).flat)
        except PictureError:
            return None

    def planned(self, picture: Picture) -> sidecar.SidecarChange:
        """What becomes of a picture's sidecar with its marks.

        Raises:
            PictureError: the sidecar cannot be read or changed.
        """
        marks = self._marks.of_picture(picture.digest)
        added, rejected = ([label for label, its in marks.items() if its is kind] for kind in (True, False))
        return sidecar.plan_marks(Path(picture.path), self._naming, added, rejected)

    def write(
        self, changes: Sequence[sidecar.SidecarChange], command: dict[str, Any]
    ) -> tuple[str | None, list[TagprismError]]:
        """Write sidecars as one run: its name, and what was not done."""
        errors: list[TagprismError] = []
        if not changes:
            return None, errors
        command |= {"changes": [[str(one.path), list(one.new.flat)] for one in changes], "sidecar": self._naming}
        with self._writing, Journal(command) as kept:
            for start in range(0, len(changes), _AT_ONCE):
                outcomes = sidecar.write(changes[start : start + _AT_ONCE], kept)
                errors += [error for error in outcomes if error is not None]
            kept.finish()
            return kept.path.stem if kept.path else None, errors

    def undo(self, run: str) -> UndoAnswer:
        """Take a run of `write`, or of the command line, back.

        Raises:
            NothingToDoError: there is no such run.
        """
        with self._writing:
            try:
                done = undo(run)
            except InputError as error:
                raise NothingToDoError(error.what, remedy=error.remedy) from error
        left = [f"{shown(path)}: {why}" for path, why in done.left]
        return UndoAnswer(run=done.run.path.stem, files=done.restored, left=left)
