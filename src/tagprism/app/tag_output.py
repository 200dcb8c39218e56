"""Tags as text: JSONL, CSV and the table on a terminal. Knows no files and no model."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from tagprism.app import console
from tagprism.tagging.tags import ImageTags, Tag


@dataclass(frozen=True)
class TextFormat:
    """A format of lines, which can be written row after row.

    Args:
        header: what stands before the first row.
        row: the line or lines of one picture.
    """

    header: str
    row: Callable[[ImageTags], str]


def _jsonl(row: ImageTags) -> str:
    return json.dumps(_json(row)) + "\n"  # ASCII: any bytes in a name survive


def _json(row: ImageTags) -> dict[str, Any]:
    path = os.fsdecode(row.path)
    if row.error is not None:
        return {"path": path, "error": {"code": row.error.code, "message": row.error.message}}
    tags = [{"label": t.label, "score": t.score, "probability": t.probability, "vector": t.vector} for t in row.tags]
    return {"path": path, "tags": tags}


def _csv(row: ImageTags) -> str:
    path = os.fsencode(row.path).decode("utf-8", "backslashreplace")
    lines = [[path, t.label, f"{t.score:.4f}", _probability(t), str(t.vector), ""] for t in row.tags]
    if not lines:  # a picture without a tag has a line too
        lines = [[path, "", "", "", "", row.error.code if row.error else ""]]
    return _csv_lines(lines)


def _probability(tag: Tag) -> str:
    return "" if tag.probability is None else f"{tag.probability:.4f}"


def _csv_lines(rows: Iterable[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


FORMATS = {
    "jsonl": TextFormat("", _jsonl),
    "csv": TextFormat(_csv_lines([["path", "label", "score", "probability", "vector", "error"]]), _csv),
}


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
        return _styled([*names, *self._beside([Text("─" * self._left, "dim")], [Text("─" * self._right, "dim")])])

    def row(self, row: ImageTags) -> str:
        """Lines of one picture, after its folder where that is another one."""
        if row.error is not None:
            right = self._wrapped(Text(f"{row.error.code}: {console.printable(row.error.message)}", "yellow"))
        elif row.tags:
            right = list(self._filled(row.tags))
        else:
            right = [Text(f"no tag above {self._at_least:g}" if self._at_least is not None else "no tag", "dim")]
        folder, name = os.path.split(os.fsdecode(row.path))
        shown = Text(console.printable(name)).wrap(console.data, self._left - 2)
        lines = self._beside([Text("  ").append(line) for line in shown], right)
        if folder != self._folder:
            self._folder = folder
            lines.insert(0, Text(console.printable(folder) + "/", "bold blue"))
        return _styled(lines)

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


def _styled(lines: Iterable[Text]) -> str:
    with console.data.capture() as captured:
        for line in lines:
            console.data.print(line, soft_wrap=True)
    return captured.get()
