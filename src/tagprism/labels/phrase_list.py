"""Lists of words and phrases in text files, one a line. Knows no vectors."""

from __future__ import annotations

from pathlib import Path

from tagprism.errors import InputError
from tagprism.labels.phrases import normalise_phrase


def read_phrases(path: Path) -> list[str]:
    """Read a word list: one phrase a line, empty lines left out, each phrase once.

    Args:
        path: UTF-8 text.

    Raises:
        InputError: no such file, not UTF-8, no phrase in it, or one given twice, with the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the word list cannot be read ({error}).", where=str(path), remedy="Give a UTF-8 text, a phrase a line."
        ) from error
    phrases: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        phrase = " ".join(line.split())
        if not phrase:
            continue
        key = normalise_phrase(phrase)
        if not key:
            raise InputError(f"`{phrase}` is not a word.", where=f"{path}, line {number}")
        if key in phrases:
            raise InputError(f"`{phrase}` is given twice.", where=f"{path}, line {number}", remedy="Keep one of them.")
        phrases[key] = phrase
    if not phrases:
        raise InputError("there is no word in it.", where=str(path), remedy="Write one phrase a line.")
    return list(phrases.values())
