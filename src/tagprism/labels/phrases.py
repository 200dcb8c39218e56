"""Label phrases as text: one spelling to compare by, and the spellings that mean the same label. Knows no vectors."""

from __future__ import annotations

import itertools
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.resources import files

from tagprism.errors import InputError

_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"))
_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
_INVISIBLE = str.maketrans(dict.fromkeys("\u00ad\u200b\u2060\ufeff"))  # soft hyphen, zero-width space, joiner, BOM

_FORMS = tomllib.loads(files("tagprism.labels").joinpath("word_forms.toml").read_text(encoding="utf-8"))
_PLURALS_OF: dict[str, list[str]] = _FORMS["irregular"]
_SINGULAR_OF = {plural: singular for singular, plurals in _PLURALS_OF.items() for plural in plurals}
_COMPOUNDING: list[str] = _FORMS["endings"]["of_compounds"]
_NOT_OF_MAN, _NOT_OF_MEN = frozenset(_FORMS["endings"]["not_man"]), frozenset(_FORMS["endings"]["not_men"])
_PLURALS_ALL_THE_SAME = frozenset(_FORMS["endings"]["plural_ics"] + _FORMS["endings"]["plural_us_is"])
_ONE_FORM = frozenset(word for words in _FORMS["one_form"].values() for word in words)
_PUNCTUATION = "()[]{}<>,;:!?.&+*#\"'"
_AROUND = "()[]{}<>,;:!?*\"'\u201c\u201d\u201e\u00ab\u00bb\u00a1\u00bf"  # without what ends C++ and C#
_AFTER = _AROUND + ".\u2026\u3002"  # .net begins with a full stop
_IDENTIFIER = re.compile(r"\s*\(/[a-z]/[0-9a-z_]+\)\s*$")  # Freebase: (/m/0hnnb), (/g/11bc5v_0f)
_ACCENTS = re.compile(r"(?<=[A-Za-z])[\u0300-\u036f]+")
LONGEST = 200  # characters of a phrase in a list, a query or a mark
_SMALL = "a an and at by for from her his in into its my near not of on or our over the their to under with your"
SMALL_WORDS = frozenset(_SMALL.split())
"""Words of phrases that show in no photo; some tables of words lack them."""
_MEANT_OTHERWISE = frozenset(("not", "or"))  # of these; a phrase with one means something else without it
_LONGEST_DIVIDED = 8  # words of a phrase that is divided into names; small ones do not count
_LONGEST_MIXED = 4  # words; a longer phrase gets the evenly spaced, hyphened and joined spellings only


@lru_cache(maxsize=65536)
def normalise_phrase(text: str) -> str:
    """The spelling by which phrases are compared and looked up.

    Unicode compatibility form and case folding (NFKC), typographic dashes and apostrophes as `-` and `'`, invisible
    characters dropped, underscores and slashes as spaces, hyphens kept inside a word only, white space collapsed;
    what is no character (a byte of a file name that is not UTF-8) becomes U+FFFD.

    Args:
        text: any text; may be empty.

    Returns:
        The normalised phrase, empty when nothing is left; normalising it again changes nothing.
    """
    plain = text.lower() if text.isascii() else _compatible(text)  # a vocabulary has thousands that are
    words = (word.strip("-") for word in re.split(r"[\s_/\\]+", plain))
    return " ".join(word for word in words if word)


def _compatible(text: str) -> str:
    """The compatibility form of a text, without case, and with plain dashes and apostrophes."""
    decomposed = re.sub("[\ud800-\udfff]", "\ufffd", text)
    for form in ("NFD", "NFKD"):  # the Unicode standard's compatibility caseless matching (definition D146)
        decomposed = unicodedata.normalize(form, decomposed).casefold()
    return unicodedata.normalize("NFKC", decomposed).translate(_INVISIBLE).translate(_DASHES).translate(_APOSTROPHES)


def bare_phrase(text: str) -> str:
    """The normalised phrase without accents and with its last word in the singular, where that is certain.

    Spellings with the same one are one label for who writes a list: `Cats` and `cat`, `Café` and `cafes`.
    """
    *head, last = without_accents(normalise_phrase(text)).split(" ")
    return " ".join((*head, min(_singulars(last), default=last)))


def without_punctuation(text: str) -> str:
    """A text without the punctuation around it (`dog!`, `*dog*`, `<dog>`); as it is where nothing else is in it.

    What may belong to a name stays: `+`, `#` and `&`, and a full stop before it.
    """
    return text.strip().lstrip(_AROUND).rstrip(_AFTER).strip() or text


def without_accents(text: str) -> str:
    """A text without the accents on its Latin letters (`purée`: `puree`); elsewhere marks make other letters."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))


def listed(words: Iterable[str], what: str) -> tuple[str, ...]:
    """Words that were given as a list; a text, which Python would take for a list of its letters, is refused.

    Args:
        words: any iterable of strings but a string.
        what: the argument's name, for the message.

    Raises:
        InputError: it is a single string, no iterable, or holds something that is no string.
    """
    if not isinstance(words, str | bytes) and isinstance(words, Iterable):
        words = tuple(words)
        stranger = next((word for word in words if not isinstance(word, str)), None)
        if stranger is None:
            return words
        raise InputError(f"`{what}` must be strings, found {stranger!r:.60}.")
    remedy = f"Write {what}=[{words!r:.60}]." if isinstance(words, str) else None
    raise InputError(f"`{what}` must be a list of strings, found {words!r:.60}.", remedy=remedy)


def without_identifier(text: str) -> str:
    """A label without the identifier that tells it from others of its name: `Bat (/m/0hnnb)` is spoken `Bat`.

    Args:
        text: any text.

    Returns:
        The text without a Freebase identifier in parentheses at its end.
    """
    return _IDENTIFIER.sub("", text)


def spoken_phrase(text: str) -> str:
    """The normalised phrase without identifier: what encoders embed, and what tells whether two labels are one."""
    return normalise_phrase(without_identifier(text))


def word_spellings(word: str) -> list[str]:
    """Spellings under which a word may stand in a table of words, in the order in which they are tried.

    As it is; without punctuation around it (`(butterfly)`, `geese,`); without accents (`purée`); each of these in the
    other number (`lions`, `lion`).

    Args:
        word: one word of a normalised phrase.

    Returns:
        Different spellings; none of a word that is punctuation alone (`&`, `:-)`).
    """
    bare = word.strip(_PUNCTUATION)
    if not bare.strip("-"):
        return []
    plain = without_accents(bare)
    own = dict.fromkeys((word, bare, plain or bare))
    return list(own | dict.fromkeys(form for one in own for form in sorted(variants(one)) if " " not in form))


def word_parts(word: str) -> list[str]:
    """Parts of a word at hyphens, full stops and apostrophes, single letters left out (`dall's`: `dall`)."""
    return [part for part in re.split("[-'.]+", word.strip(_PUNCTUATION)) if len(part) > 1 or part.isdigit()]


@lru_cache(maxsize=65536)
def variants(phrase: str) -> frozenset[str]:
    """All spellings of a phrase that certainly mean the same label, normalised, itself included.

    The last word in singular and plural (safe rules and a list of irregular words: `glasses` is no plural of `glass`,
    `news` none of `new`, `people` none of `person`), and words apart, hyphened or joined (`ice cream`, `ice-cream`,
    `icecream`). A joined spelling cannot be taken apart again: see `same_label`.

    Args:
        phrase: the label.

    Returns:
        Normalised spellings.
    """
    plain = spoken_phrase(phrase)
    words, forms = _forms_of(plain)
    if not words:
        return frozenset({plain})
    gaps = len(words) - 1
    even = ((mark,) * gaps for mark in (" ", "-", ""))
    ways = itertools.product((" ", "-", ""), repeat=gaps) if len(words) <= _LONGEST_MIXED else even
    heads = ["".join(itertools.chain(*zip(words, way, strict=False))) for way in ways]
    return frozenset({head + form for head in heads for form in forms} | {plain})


def joined_variants(phrase: str) -> set[str]:
    """The variants of a phrase with all words joined: far fewer, and each variant is one of them but for its marks."""
    plain = spoken_phrase(phrase)
    words, forms = _forms_of(plain)
    head = "".join(words[:-1])
    return {head + form for form in forms} or {plain}


def _forms_of(plain: str) -> tuple[list[str], set[str]]:
    """The words of a normalised phrase, and the forms of the last one in singular and plural."""
    words = [word for word in re.split("[ -]", plain) if word]
    return words, ({words[-1]} | _singulars(words[-1]) | _plurals(words[-1]) if words else set())


def same_label(a: str, b: str) -> bool:
    """Whether two phrases are spellings of one label: one is among the variants of the other.

    Args:
        a: a label.
        b: another label.

    Returns:
        True when they are the same but for case, number of the last word, or hyphen, space or joining.
    """
    return spoken_phrase(b) in variants(a) or spoken_phrase(a) in variants(b)


def names_within(phrase: str, is_name: Callable[[str], bool]) -> tuple[str, ...]:
    """The fewest names that a phrase is made of, in order, beside small words: `dog` and `beach` of `dog on the beach`.

    Args:
        phrase: words and blanks.
        is_name: whether some of its words, with a blank between them, are a name.

    Returns:
        The names; none where there are other words, a `not` or `or` beside names, or more than eight words that are
        not small.
    """
    words = phrase.split()
    if words and is_name(phrase):
        return (phrase,)
    small = [word.lower() in SMALL_WORDS and word.lower() not in _MEANT_OTHERWISE for word in words]
    if small.count(False) > _LONGEST_DIVIDED or len(words) > 2 * _LONGEST_DIVIDED:
        return ()
    best: dict[int, tuple[str, ...]] = {0: ()}  # number of words from the first -> the names they make
    for end in range(1, len(words) + 1):
        ways = [(*best[start], name) for start in best if is_name(name := " ".join(words[start:end]))]
        if small[end - 1] and end - 1 in best:
            ways.append(best[end - 1])
        if ways:
            best[end] = min(ways, key=len)
    return best.get(len(words), ())


def other_names(phrase: str) -> tuple[str, ...]:
    """Other names of what a word or phrase names (`motorbike`: motorcycle), in any case and number; mostly none.

    They are names that certainly mean the same in a photo.
    """
    bare = bare_phrase(phrase)
    return tuple(name for name in _names_of_things().get(bare, ()) if bare_phrase(name) != bare)


def names_of_tags() -> list[list[str]]:
    """The names of things that photos are tagged with, by things; the commonest first.

    Of a thing that comes twice the later list has all names.
    """
    return [*_synonyms()["groups"], *_synonyms()["of_tags"]]


@lru_cache(maxsize=1)
def _names_of_things() -> dict[str, tuple[str, ...]]:
    """The names of a thing by each of them."""
    groups = [*_synonyms()["groups"], *_synonyms()["of_lists"]]
    return {bare_phrase(name): tuple(group) for group in groups for name in group}


@lru_cache(maxsize=1)
def _synonyms() -> dict[str, list[list[str]]]:
    return tomllib.loads(files("tagprism.labels").joinpath("synonyms.toml").read_text(encoding="utf-8"))


def _singulars(word: str) -> set[str]:
    """Words that `word` may be the plural of; empty when it is none, or when that is not certain."""
    if word in _ONE_FORM:
        return set()
    if word in _SINGULAR_OF:
        return {_SINGULAR_OF[word]}
    for ending in _COMPOUNDING:
        plural = _PLURALS_OF[ending][0]
        if word.endswith(plural) and word not in _NOT_OF_MEN:
            return {word.removesuffix(plural) + ending} - _NOT_OF_MAN
    long = (stem for stem in _regular_stems(word) if len(stem) >= 3)
    # What is a plural itself (`cats`) has none (`catses`), or the relation would hold one way alone.
    return {stem for stem in long if not (stem in _ONE_FORM or _is_irregular(stem) or _singulars(stem))}


def _is_irregular(word: str) -> bool:
    """Whether `word` never takes an -s: its plural is irregular, or it is one itself."""
    compound = word not in _NOT_OF_MAN and word.endswith(tuple(_COMPOUNDING))
    return compound or word in _PLURALS_OF or word in _SINGULAR_OF


def _regular_stems(word: str) -> set[str]:
    """What may be left when the ending of a regular plural is undone: `berries` gives `berry`, `horses` `horse`."""
    if not word.endswith("s") or (word.endswith(("ss", "us", "is", "ics")) and word not in _PLURALS_ALL_THE_SAME):
        return set()
    stem = word.removesuffix("s")
    stems = set()
    if not re.search("(s|x|z|ch|sh|[^aeiou]y)$", stem):
        stems.add(stem)
    if re.search("(s|x|z|ch|sh|o)es$", word):
        stems.add(word.removesuffix("es"))
    if re.search("[^aeiou]ies$", word):
        stems.add(word.removesuffix("ies") + "y")
    return stems


def _plurals(word: str) -> set[str]:
    """Plurals of `word`: exactly the words of which it is a singular, so that the relation holds both ways."""
    if _singulars(word):
        return set()  # already a plural
    compounds = [word.removesuffix(end) + _PLURALS_OF[end][0] for end in _COMPOUNDING if word.endswith(end)]
    regular = [word + "s", word + "es", word.removesuffix("y") + "ies"]
    return {plural for plural in (*_PLURALS_OF.get(word, ()), *compounds, *regular) if word in _singulars(plural)}
