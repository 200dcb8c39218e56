"""Whether two words merely begin alike, however alike an encoder finds them. Knows no vectors.

A sentence encoder reads pieces of words, so what begins with the same letters is near: `cat` and `cathode`.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import takewhile

from tagprism.labels.phrases import bare_phrase, other_names

_PLACES = ("side", "front", "shore", "way")  # where a place is: the `mountainside` is the mountain
_SAME_START = 3  # letters that words have in common before it can be by chance that their vectors are near
_SAME_SPELLING = 0.75  # share of the letters from which two words are spellings of one (`racket`, `racquet`)


@lru_cache(maxsize=65536)
def only_begin_alike(one: str, other: str) -> bool:
    """Whether two names are single words that begin alike and have nothing else in common.

    Args:
        one: a word or phrase.
        other: another one.

    Returns:
        True for `cat` and `cathode`, `albatross` and `albacore`. False for phrases, other forms of a word (`jump`,
        `jumping`), spellings (`racket`, `racquet`), listed names of one thing, and words that begin otherwise.
    """
    if " " in one + other or bare_phrase(other) in {bare_phrase(name) for name in other_names(one)}:
        return False
    short, long = sorted((bare_phrase(one), bare_phrase(other)), key=len)
    first, second = sorted((_stem(short), _stem(long)), key=len)
    if first == second or long in {short + place for place in _PLACES}:
        return False
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    if start == len(first):  # `coffee` and `coffeemaker` have more in common, though the encoder alone says so
        return start <= _SAME_START
    return start >= _SAME_START and SequenceMatcher(None, first, second).ratio() < _SAME_SPELLING


def _stem(word: str) -> str:
    """A word without an ending: `skiing` and `skis` are `ski`, `hiking` and `hike` are `hik`, `swimming` is `swim`."""
    stem = re.sub(r"(?<=[aeiouy])([b-df-hj-np-tv-z])\1ing$|(?<=..)ing$", r"\1", word)
    return re.sub(r"(?<=..)(?:e?s|e|y)$", "", stem)
