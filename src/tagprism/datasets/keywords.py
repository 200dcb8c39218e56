"""Free keywords that many people gave to drawings -> one clean list of labels per drawing. Knows no files.

The rules, in order:

1. A keyword is compared in its normalised spelling (`labels.phrases.normalise_phrase`): case, underscores, spaces.
2. Keywords that say nothing about the drawing are dropped: traces of the file system and of broken scripts, names of
   icon themes and programs' folders, the drawing's intended use (`menu`, `webpage`), the name of its author, and
   whatever has no letters.
3. Misspellings and joined or shortened words that are seen often are written out (`SPELLED_OUT`).
4. A keyword of several words that fewer drawings have than a label needs is a list without commas (`historic flag`,
   `football pitch sport soccer`): its words become keywords, each by rules 2 and 3.
5. Spellings of one label (`labels.phrases.same_label`: plural, hyphen, joined words) become one: the spelling with
   spaces where the data have it, else the most frequent one.
6. Labels that too few drawings have are dropped.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tagprism.labels.phrases import normalise_phrase, variants

NOISE = frozenset(
    word
    for words in (
        # the file system, the library's web site, scripts that wrote a Perl reference for a keyword
        ("hash", "unsorted", "special", "miscellany", "signs and symbols", "openclipart", "clipart", "svg", "examples"),
        ("samples", "image", "illustration", "vectorized", "cd cover openclipart", "cd label openclipart", "gradients"),
        # the folders of four decks of playing cards
        ("bordered", "ornamental", "simple", "white"),
        # icon themes and the folders in which programs look for their icons
        ("theme", "lemon theme icon", "icon", "icons", "appicon", "action", "actions", "application", "applications"),
        ("filesystem", "mimetypes", "mime-types", "device", "devices"),
        # what the drawing was meant for
        ("menu", "webpage", "stock"),
    )
    for word in words
)
"""Normalised keywords that are dropped (rule 2)."""

SPELLED_OUT = {
    "airtravel": "air travel",
    "bodypart": "body part",
    "eiffeltower": "eiffel tower",
    "elefant": "elephant",
    "felini": "feline",
    "felino": "feline",
    "foodfruits": "fruit",
    "geagraphy": "geography",
    "icecream": "ice cream",
    "imformation": "information",
    "info": "information",
    "magnifing": "magnifying",
    "mapsym": "map symbol",
    "moon space": "moon",
    "musicstuff": "music",
    "musicsym": "music",
    "networksym": "network",
    "noze": "nose",
    "orchester": "orchestra",
    "religholiday": "holiday",
    "roadsign": "road sign",
    "roadtravel": "road travel",
    "rubish": "rubbish",
    "signalflag": "signal flag",
    "silhouet": "silhouette",
    "stickmen": "stick figure",
    "symboll": "symbol",
    "transportation": "transport",
    "tv": "television",
    "ukrane": "ukraine",
    "unitedstates": "united states",
    "usholiday": "holiday",
    "utensile": "utensil",
    "vegitable": "vegetable",
    "weathersym": "weather",
    "xmas": "christmas",
}
"""Normalised misspellings, joined words and abbreviations, and what they stand for (rule 3)."""

_NO_WORD = re.compile(r"hash\(.*\)|0x[0-9a-f]+|[^a-z]+")


def clean_keywords(
    given: Sequence[Iterable[str]], authors: Sequence[Iterable[str]], *, least: int
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Turn the keywords of a whole collection into labels, by the rules at the top of this file.

    Args:
        given: per drawing, its keywords as found.
        authors: per drawing, the names of its authors.
        least: number of drawings that a label needs, at least 1.

    Returns:
        labels: sorted, each on at least `least` drawings; per_drawing: sorted labels of each drawing, perhaps none.
    """
    first = [_tidy(words, names) for words, names in zip(given, authors, strict=True)]
    drawings = Counter(keyword for keywords in first for keyword in keywords)
    apart = [
        _tidy((part for keyword in keywords for part in _parts(keyword, drawings[keyword] < least)), ())
        for keywords in first
    ]
    spelling = _one_spelling(Counter(keyword for keywords in apart for keyword in keywords))
    merged = [{spelling[keyword] for keyword in keywords} for keywords in apart]
    count = Counter(label for labels in merged for label in labels)
    kept = {label for label, times in count.items() if times >= least}
    return tuple(sorted(kept)), [sorted(labels & kept) for labels in merged]


def _tidy(words: Iterable[str], authors: Iterable[str]) -> set[str]:
    """Rules 1 to 3 on one drawing."""
    names = {normalise_phrase(name) for name in authors}
    keywords = {normalise_phrase(word) for word in words}
    spoken = {SPELLED_OUT.get(word, word) for word in keywords if not _NO_WORD.fullmatch(word)}
    return spoken - NOISE - names


def _parts(keyword: str, rare: bool) -> list[str]:
    return keyword.split() if rare else [keyword]


def _one_spelling(count: Mapping[str, int]) -> dict[str, str]:
    """Rule 5: the spelling that stands for each keyword, by union over pairs of variants."""
    parent = {keyword: keyword for keyword in count}

    def root(keyword: str) -> str:
        while parent[keyword] != keyword:
            keyword = parent[keyword]
        return keyword

    for keyword in sorted(count):
        for other in sorted(variants(keyword)):
            if other in count:
                parent[root(other)] = root(keyword)
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for keyword in count:
        groups[root(keyword)].append(keyword)
    best = {
        name: min(group, key=lambda keyword: (" " not in keyword, -count[keyword], keyword))
        for name, group in groups.items()
    }
    return {keyword: best[root(keyword)] for keyword in count}
