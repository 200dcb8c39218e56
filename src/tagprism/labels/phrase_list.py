"""Lists of words and phrases in text files, as people and programs write them. Knows no vectors."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path

from tagprism.counted import counted
from tagprism.errors import InputError
from tagprism.exchange import read_at_most
from tagprism.labels.phrases import LONGEST, bare_phrase, normalise_phrase, without_punctuation

_SHOWN = 40  # of them in a remark
_NAMED = 10  # words that a remark names at most
_MARKS = (  # at the start of a text, saying how it is written; the longer ones first
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LEVELS = re.compile(r"\||\s>\s")  # animals|cat, animals > cat
_BETWEEN = re.compile("[,;]")  # phrases of a line
_LINE_END = re.compile("\r\n?|\n")
_LIST_MARK = re.compile(r"([-*+\u2022\u2023\u25e6\u25aa\u2013\u2014]|\d+[.)])\s+(?=\S)")  # - dog, • dog, 1. dog, 2) dog
_REMEDY = "Save it as UTF-8 text, a phrase a line."
_Entry = tuple[int, list[str]]  # line, and a label with its other spellings
Remark = Callable[[str], None]

LARGEST = 64 << 20  # bytes: some million words


def read_phrases(path: Path, remark: Remark, *, as_written: bool = False) -> dict[str, tuple[str, ...]]:
    """Read a word list: a phrase a line, other spellings of it (aliases) after tabs.

    Commas and semicolons separate phrases, too. Of a hierarchy (`animals|cat`, or Lightroom's, which is indented by
    tabs and has `{other spellings}` and `[headings]`) the last level is the phrase. Empty lines and lines that start
    with `#` are left out, and so are the marks of a list (`- dog`, `1. dog`); white space around and inside a phrase
    is evened. What is there already in another case or number, or with other accents or punctuation around it, is
    kept once.

    Args:
        path: text in UTF-8, UTF-16 or UTF-32, or in Windows-1252, which holds Latin-1.
        remark: told in sentences what was left out or guessed.
        as_written: a line is one phrase whatever separates its words, and a plural is another one than its singular.

    Returns:
        The phrases in order, each with its aliases, mostly none.

    Raises:
        InputError: no such file, one too large, no text, or no phrase in it.
    """
    lines = list(enumerate(_LINE_END.split(_text(path, remark)), start=1))
    entries = _entries_as_written(lines) if as_written else _entries(_without_list_marks(lines, path, remark))
    labels: dict[str, tuple[str, ...]] = {}
    first: dict[str, tuple[str, int]] = {}  # spelling and line of what is the same phrase
    twice, no_words, too_long = list[str](), list[str](), list[str]()
    for number, spellings in entries:
        kept = []
        for spelling in spellings:
            key = normalise_phrase(spelling) if as_written else bare_phrase(without_punctuation(spelling))
            if not key or len(spelling) > LONGEST or not spelling.isprintable():
                why = no_words if len(spelling) <= LONGEST else too_long
                why.append(f"`{spelling[:_SHOWN]}{'...' * (len(spelling) > _SHOWN)}` (line {number})")
            elif key in first:
                if first[key][0] not in kept:  # else it is an alias like its own label
                    twice.append("`{}` (line {}, as `{}` in line {})".format(spelling, number, *first[key]))
            else:
                first[key] = spelling, number
                kept.append(spelling)
        if kept:
            labels[kept[0]] = tuple(kept[1:])
    if not labels:
        hint = " Lines that start with `#` are comments." if any(line.startswith("#") for _, line in lines) else ""
        only = f", only {_some(no_words + too_long)}" if no_words or too_long else ""
        what = f"there is no word in it{only}."
        remedy = f"Write one phrase a line, of at most {LONGEST} characters.{hint}"
        raise InputError(what, where=str(path), remedy=remedy)
    longer = f"left out, as it is longer than {LONGEST} characters"
    remarks = (("given twice and kept once", twice), ("left out, as it is no word", no_words), (longer, too_long))
    for what, some in remarks:
        if some:
            remark(f"{path}: {what}: {_some(some)}.")
    return labels


def _some(words: list[str]) -> str:
    more = f" and {len(words) - _NAMED:,} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more


def _without_list_marks(lines: list[tuple[int, str]], path: Path, remark: Remark) -> list[tuple[int, str]]:
    """Lines without the bullet or number that each item of a pasted list begins with."""
    bare, marked = [], []
    for number, line in lines:
        mark = _LIST_MARK.match(line.strip())
        bare.append((number, line.strip()[mark.end() :] if mark else line))
        if mark:
            marked.append(f"`{line.strip()[:_SHOWN]}` (line {number})")
    if marked:
        count = counted(len(marked), "line")
        remark(f"{path}: list marks left out at the beginning of {count}, the first {marked[0]}.")
    return bare


def _entries_as_written(lines: list[tuple[int, str]]) -> list[_Entry]:
    kept = ((number, line.strip()) for number, line in lines if not line.strip().startswith("#"))
    return [(number, _evened(line.split("\t"))) for number, line in kept if line]


def _entries(lines: list[tuple[int, str]]) -> list[_Entry]:
    """Labels with their spellings, whatever separates them."""
    entries: list[_Entry] = []
    for number, line in lines:
        text = line.strip()
        if not text or text.startswith("#") or (text[0] == "[" and text[-1] == "]"):
            continue
        if text[0] == "{" and text[-1] == "}":  # Lightroom: another spelling of the keyword above
            if entries:
                entries[-1][1].extend(_evened([text[1:-1]]))
            continue
        for part in _BETWEEN.split(text):
            label, *aliases = part.split("\t")
            if spellings := _evened([_LEVELS.split(label)[-1], *aliases]):
                entries.append((number, spellings))
    return entries


def phrases_of(text: str) -> list[str]:
    """The phrases that a person wrote into one line, with commas or semicolons between; what is empty left out."""
    return _evened(_BETWEEN.split(text))


def _evened(spellings: list[str]) -> list[str]:
    """White space inside and quotation marks around each spelling taken out; what is empty left out."""
    evened = (" ".join(spelling.split()) for spelling in spellings)
    bare = (text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text for text in evened)
    return [text for text in bare if text]


def _text(path: Path, remark: Remark) -> str:
    """The text of a file, however it is written."""
    try:
        data = read_at_most(path, LARGEST)
    except OSError as error:
        reason = error.strerror or error
        remedy = "Name a text file with a phrase a line."
        raise InputError(f"the word list cannot be read ({reason}).", where=str(path), remedy=remedy) from error
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", _without_mark(data)))
    try:
        return data.removeprefix(mark).decode(encoding)
    except UnicodeDecodeError as error:
        line = len((data[: error.start] + b".").splitlines())
        if mark or encoding != "utf-8":
            what = f"is not {encoding.upper()}, as it begins"
            raise InputError(f"{what} (line {line}).", where=str(path), remedy=_REMEDY) from error
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise InputError(f"is no text in UTF-8 (line {line}).", where=str(path), remedy=_REMEDY) from error
    shown = _LINE_END.split(text)[line - 1].strip()
    remark(f"{path}: line {line} is not UTF-8: read as Latin-1 (Windows-1252), `{shown}`.")
    return text


def _without_mark(data: bytes) -> str:
    """UTF-16 without its mark has a zero in every second byte of Latin letters; text in other ways has none."""
    zeros = [data[at::2].count(0) for at in (0, 1)]
    if max(zeros) * 4 < len(data) or not max(zeros):
        return "utf-8"
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def spellings(labels: dict[str, tuple[str, ...]]) -> list[str]:
    """All phrases of a list with their aliases, each label before its own."""
    return [spelling for label, aliases in labels.items() for spelling in (label, *aliases)]
