"""A person's own hierarchy of keywords: a text file -> where each keyword stands."""

from __future__ import annotations

from pathlib import Path

from tagprism.errors import InputError
from tagprism.keywords.merge import tidy
from tagprism.keywords.xml_tree import can_be_written
from tagprism.labels.phrases import normalise_phrase


def read_hierarchy(path: Path) -> dict[str, str]:
    """Read a mapping file: `animals|cat` puts the keyword `cat`, `kitty = animals|cat` writes `kitty` as that.

    Empty lines, lines that start with `#` and words without a `|`, which have no place, are left out; so a word list
    may be its own mapping file.

    Args:
        path: UTF-8 text, a path a line.

    Returns:
        Keyword, normalised -> its path, levels apart by `|`.

    Raises:
        InputError: it cannot be read, a line has an empty level, or a keyword stands in two places.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"the hierarchy cannot be read ({error})."
        raise InputError(what, where=str(path), remedy="Give a UTF-8 text with lines such as `animals|cat`.") from error
    hierarchy: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith("#") or "|" not in line:
            continue
        where = f"{path}, line {number}"
        before, _, after = line.partition("=")
        levels = [tidy(level) for level in (after or before).split("|")]
        word = tidy(before) if after else levels[-1]
        key = normalise_phrase(word)
        if not key or not all(levels) or not can_be_written(line):
            remedy = "Write `animals|cat`, or `kitty = animals|cat`."
            raise InputError(f"{line.strip()!r} is no place in a hierarchy.", where=where, remedy=remedy)
        if hierarchy.setdefault(key, "|".join(levels)) != "|".join(levels):
            raise InputError(f"`{word}` stands in two places.", where=where, remedy="Keep one of them.")
    if not hierarchy:
        raise InputError("there is no place in it.", where=str(path), remedy="Write lines such as `animals|cat`.")
    return hierarchy
