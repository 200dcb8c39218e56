"""Whether a phrase is English, for encoders that learnt nothing else and take any letters. Knows no vectors.

The words are those of SCOWL, see `english_words.LICENSE`; `recipes/english_words` makes the file.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Container
from functools import lru_cache
from importlib.resources import files

from tagprism.labels.phrases import bare_phrase, spoken_phrase

_SHORTEST = 3  # letters of a word that says which language it is of; `le` and `TV` do not
_SHORTEST_PART = 3  # of a word that is written as one with another


def is_english(phrase: str, further: Container[str] = ()) -> bool:
    """Whether each word of a phrase is English, or says nothing of its language.

    One strange word makes a phrase strange: with the vector of the others `Rex qwxzvbn beach` would be any beach. What
    has no letter (a number, an emoji, punctuation) is no word of any language.

    Args:
        phrase: any text.
        further: words that are known besides, lower-case, such as the names of cities.
    """
    words = re.split(r"[\W_]+", spoken_phrase(phrase))
    words = [word for word in words if len(word) >= _SHORTEST or not word.isascii()]
    known = (_is_word(word) or (len(word) > _SHORTEST and bare_phrase(word) in further) for word in words)
    return all(known) and any(map(str.isalpha, phrase))


@lru_cache(maxsize=65536)  # the words of a long list come again and again
def _is_word(word: str) -> bool:
    word = bare_phrase(word)
    if any(map(str.isdigit, word)) or word in _words():
        return True
    positions = range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1)
    return any(word[:position] in _words() and word[position:] in _words() for position in positions)


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    data = files("tagprism.labels").joinpath("english_words.xz").read_bytes()
    return frozenset(lzma.decompress(data).decode().split("\n"))
