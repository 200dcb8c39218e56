"""The labels that people gave pictures of an index, from which `learn` learns."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from tagprism.labels.phrases import bare_phrase
from tagprism.search.find import OwnTags


def marked_labels(own: OwnTags, least: int) -> list[str]:
    """Normalised labels that people gave or refused at least so many pictures, or marked at all; most first.

    Of a label in several spellings (`cat`, `cats`) it is the one of most pictures.
    """
    marked = Counter(phrase for its in own.marks.values() for phrase in its)
    counts = marked + Counter(
        dict(own.rows("SELECT phrase, COUNT(*) FROM keyword WHERE id >= {} GROUP BY phrase", [0]))
    )
    spellings: dict[str, list[str]] = {}
    for phrase in sorted(counts, key=lambda one: (-counts[one], one)):
        spellings.setdefault(bare_phrase(phrase), []).append(phrase)
    sums = {its[0]: sum(counts[one] for one in its) for its in spellings.values()}
    asked = [its[0] for its in spellings.values() if sums[its[0]] >= least or not marked.keys().isdisjoint(its)]
    return sorted(asked, key=lambda one: (-sums[one], one))


def as_written(own: OwnTags, phrase: str) -> str:
    """A normalised label as someone wrote it."""
    marked = (its[phrase][0] for its in own.marks.values() if phrase in its)
    words = (word for (word,) in own.rows("SELECT word FROM keyword WHERE phrase IN ({}) LIMIT 1", [phrase]))
    return next(chain(marked, words), phrase)
