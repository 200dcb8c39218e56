"""The rows of `tagprism tag` as text for this terminal. Knows no model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from tagprism.app import console

if TYPE_CHECKING:
    from tagprism.tagging.tags import ImageTags, Tag


class TagTable:
    """Pictures below their folder, each with its tags, as text for this terminal.

    Args:
        calibrated: whether tags carry probabilities, which are shown in place of the scores.
        at_least: the cut, named where a picture has no tag.
    """

    def __init__(self, *, calibrated: bool, at_least: float | None) -> None:
        self._calibrated, self._at_least = calibrated, at_least
        self._folder = ""
        self._left = max(20, console.data.width * 3 // 8)
        self._right = max(20, console.data.width - self._left - 2)

    @property
    def header(self) -> str:
        """Names of the columns."""
        number = "probability" if self._calibrated else "score"
        names = self._beside([Text("picture", "bold")], [Text(f"tags, each with its {number}", "bold")])
        return console.shown([*names, *self._beside([Text("─" * self._left, "dim")], [Text("─" * self._right, "dim")])])

    def row(self, row: ImageTags) -> str:
        """Lines of one picture, after its folder where that is another one."""
        if row.error is not None:
            right = self._wrapped(Text(f"{row.error.code}: {console.printable(row.error.message)}", "yellow"))
        elif row.tags:
            right = list(self._filled(row.tags))
        else:
            right = [Text(f"no tag above {self._at_least:g}" if self._at_least is not None else "no tag", "dim")]
        folder, name = os.path.split(os.fsdecode(row.path))
        shown = Text("  " + console.printable(name))
        if cell_len(shown.plain) > self._left:  # a name stays whole, to be copied: its tags begin on the next line
            lines = [shown, *self._beside([], right)]
        else:
            lines = self._beside([shown], right)
        if folder != self._folder:
            self._folder = folder
            lines.insert(0, Text(console.printable(folder) + "/", "bold blue"))
        return console.shown(lines)

    def _wrapped(self, text: Text) -> list[Text]:
        return list(text.wrap(console.data, self._right))

    def _filled(self, tags: Iterable[Tag]) -> Iterator[Text]:
        """Lines of tags that keep each number with its label."""
        line = Text()
        for tag in tags:
            number = tag.probability if tag.probability is not None else tag.score
            one = Text.assemble(console.printable(tag.label), (f" {number:.2f}", "cyan"))
            if line and cell_len(line.plain) + 2 + cell_len(one.plain) > self._right:
                yield from self._wrapped(line)
                line = Text()
            line.append("  " if line else "")
            line.append(one)
        yield from self._wrapped(line)

    def _beside(self, left: list[Text], right: list[Text]) -> list[Text]:
        lines = []
        for one, other in zip_longest(left, right):
            line = one.copy() if one else Text()
            if other:
                line.append(" " * (self._left + 2 - cell_len(line.plain)))
                line.append(other)
            line.rstrip()
            lines.append(line)
        return lines
