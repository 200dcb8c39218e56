"""Whether the words of two names tell that they name different things, however alike an encoder finds them.

A sentence encoder reads pieces of words, so what begins with the same letters is near (`cat` and `cathode`), and so is
what belongs together (`train` and `train station`). Knows no vectors.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import takewhile

from tagprism.labels.phrases import bare_phrase, other_names

# Heads that add nothing to what stands before them (`church building`, `remote control`).
_HOLLOW = frozenset({"building", "computer", "control", "equipment", "facility", "set", "store", "system"})
_PLACES = ("side", "front", "shore", "way")  # where a place is: the `mountainside` is the mountain
_SAME_START = 3  # letters that words have in common before it can be by chance that their vectors are near
_SAME_SPELLING = 0.75  # share of the letters from which two words are spellings of one (`racket`, `racquet`)


@lru_cache(maxsize=65536)
def told_apart(one: str, other: str) -> bool:
    """Whether two names are not names of one thing, by their words alone.

    Args:
        one: a word or phrase.
        other: another one.

    Returns:
        True where one only describes what the other names (`train`, `train station`; `snow`, `snowplow`) or single
        words merely begin alike (`albatross`, `albacore`). False where nothing is told: for kinds (`snow leopard`,
        `leopard`), other forms (`jump`, `jumping`), listed names of one thing, and words with nothing in common.
    """
    if bare_phrase(other) in {bare_phrase(name) for name in other_names(one)}:
        return False
    first, second = _stems(one), _stems(other)
    if first[-1] == second[-1]:
        return False
    if len(first) == len(second) == 1:
        short, long = sorted((bare_phrase(one), bare_phrase(other)), key=len)
        return long not in {short + place for place in _PLACES} and _only_begin_alike(*sorted(first + second, key=len))
    return not set(first[:-1]).isdisjoint(second) or not set(second[:-1]).isdisjoint(first)


def _only_begin_alike(short: str, long: str) -> bool:
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(short, long, strict=False)))
    alike = SequenceMatcher(None, short, long).ratio() >= _SAME_SPELLING
    return start == len(short) or (start >= _SAME_START and not alike)


def _stems(name: str) -> list[str]:
    """The words of a name without endings of number and of verbs, and without a hollow head."""
    words = re.split("[ -]+", bare_phrase(name))
    if len(words) > 1 and words[-1] in _HOLLOW:
        del words[-1]
    return [_stem(word) for word in words]


def _stem(word: str) -> str:
    """A word without an ending: `skiing` and `skis` are `ski`, `hiking` and `hike` are `hik`, `swimming` is `swim`."""
    stem = re.sub(r"(?<=[aeiouy])([b-df-hj-np-tv-z])\1ing$|(?<=..)ing$", r"\1", word)
    return re.sub(r"(?<=..)(?:e?s|e|y)$", "", stem)
