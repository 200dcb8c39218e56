"""The words of a query as a model and people know them: one tag or several, whom to ask for it, and what to say."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from tagprism.bundle.bundle import Bundle
from tagprism.counted import counted
from tagprism.errors import InputError
from tagprism.labels.phrases import SMALL_WORDS, names_within, other_names
from tagprism.search.collection import Collection
from tagprism.search.parse import MOST_LABELS, labels_of, leaves
from tagprism.search.query import And, Field, InPath, Label, Not, Or, Query, Tagged, Weighted, show
from tagprism.search.results import Reading
from tagprism.tagging.tagger import Tagger
from tagprism.tagging.unknown import nearest_known

if TYPE_CHECKING:
    from tagprism.search.results import Results

_LONGEST = 8  # words of a phrase in which tags of people are looked for
_AS_PHRASE = 0.1  # weight of a phrase beside its tags, by recipes/photos_lite/unseen_phrases.py
_JOINING = {"and": "AND", "or": "OR"} | dict.fromkeys(("not", "without", "no", "except"), "NOT")
_KEPT_WHOLE = frozenset(_JOINING)  # words of phrases that mean something else without some of the others
_NAMED = 5  # unknown words that are answered with the nearest known ones
_YEAR = re.compile("(?:19|20)[0-9]{2}")


def read_words(query: Query, collection: Collection, is_given: Callable[[str], bool]) -> Reading:
    """Take bare words apart that are no tag together, but each by itself.

    `dogs beach` becomes `dogs AND beach`, as the vocabulary has both and not the two; `polar bear on the snow` becomes
    `polar bear AND snow`. What is likely by a phrase of two is likely too (`dogs AND beach OR 0.1*"dogs beach"`), as
    words like `match` in `football match` say little by themselves. A quoted phrase stays whole, and so does one
    with a word that is neither a tag nor small. The fewest tags are taken. A phrase is asked for without its unknown
    words (`sunset in Santorini` as `sunset`), but not below a NOT, which would then exclude more. A foreign model reads
    any phrase as it was trained to, and is asked so.

    Args:
        query: as it was parsed.
        collection: its model's vocabulary holds tags.
        is_given: whether people gave any picture a label, which is a tag, too.
    """
    found, apart, without = query, dict[str, tuple[str, ...]](), dict[str, tuple[str, ...]]()
    if isinstance(collection.tagger.bundle, Bundle):
        known, without = _without_unknown(query, collection, is_given)
        found, apart = _taken_apart(known, collection, is_given)
    if len(labels_of(found)) > MOST_LABELS:
        found, apart, without = query, {}, {}
    find = collection.tagger.vocabulary.find_alike
    new = [label for label in labels_of(found) if find(label) is None and not collection.has_learned(label)]
    given = frozenset(label for label in new if is_given(label))
    unknown = frozenset(collection.tagger.unknown(new)) - given
    words = {word for label in unknown for word in collection.tagger.unknown_words(label)}
    own_words = frozenset(word for word in words if _is_own(collection, is_given, word))
    cut_short = dict(_cut_short(query, collection.tagger, is_given))
    return Reading(found, apart, without, given, unknown, own_words, cut_short)


def _replaced(query: Query, read: Callable[[Label], Query], *, below_not: bool) -> Query:
    """The query with other labels."""

    def inner(part: Query) -> Query:
        match part:
            case And(parts):
                return And(tuple(one for each in parts for one in _joined(each, inner(each))))
            case Or(parts):
                return Or(tuple(map(inner, parts)))
            case Not(one) if below_not:
                return Not(inner(one))
            case Weighted(weight, one):
                return Weighted(weight, inner(one))
            case Label():
                return read(part)
            case _:
                return part

    return inner(query)


def _is_own(collection: Collection, is_given: Callable[[str], bool], phrase: str) -> bool:
    return collection.has_learned(phrase) or is_given(phrase)


def _is_tag(collection: Collection, is_given: Callable[[str], bool], phrase: str) -> bool:
    vocabulary = collection.tagger.vocabulary
    if vocabulary.find_alike(phrase) is not None or is_given(phrase):
        return True
    named = any(vocabulary.find_alike(name) is not None for name in other_names(phrase))
    return named and collection.tagger.label_space is not None  # `rubbish bin` is a tag as `trash can` is


def _without_unknown(
    query: Query, collection: Collection, is_given: Callable[[str], bool]
) -> tuple[Query, dict[str, tuple[str, ...]]]:
    """The query with phrases cut down to the words that are known, and those phrases with what is left of them.

    Tags of people within a phrase that holds an unknown word are asked for by themselves: `Oma Erna on a beach` is
    `Oma Erna AND beach`. A phrase is left whole where something else would be unknown without the words that are cut,
    or mean something else (`dog not Santorini`).
    """
    tagger, without = collection.tagger, dict[str, tuple[str, ...]]()
    is_own, is_tag = partial(_is_own, collection, is_given), partial(_is_tag, collection, is_given)

    def read(label: Label) -> Query:
        words, unknown = label.text.split(), set(tagger.unknown_words(label.text))
        whole = label.quoted or not unknown or not unknown <= set(words)  # without a text encoder it is the phrase
        if whole or not _KEPT_WHOLE.isdisjoint(map(str.lower, words)) or is_own(label.text):
            return label
        if len(names_within(label.text, is_tag)) > 1:
            return label
        parts = _known_parts(words, unknown, is_own if len(words) <= _LONGEST else lambda _: False)
        if not parts or tagger.unknown([part for part in parts if not is_own(part)]):
            return label
        without[label.text] = tuple(parts)
        return Label(parts[0]) if len(parts) == 1 else And(tuple(map(Label, parts)))

    return _replaced(query, read, below_not=False), without


def _known_parts(words: list[str], unknown: Container[str], is_own: Callable[[str], bool]) -> list[str]:
    """The tags of people among words, where they hold an unknown one, and the known words between them."""
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            run, end = words[start : start + length], start + length
            if any(word in unknown for word in run) and is_own(" ".join(run)):
                before, after = (_known_parts(some, unknown, is_own) for some in (words[:start], words[end:]))
                return [*before, " ".join(run), *after]
    rest = list[str]()
    for word, following in pairwise([*words, ""]):
        if word not in unknown:
            rest.append(word)
        elif following.lower() in SMALL_WORDS:  # `photo of Santorini in summer`: of nothing else
            while rest and rest[-1].lower() in SMALL_WORDS:
                rest.pop()
    for position in (-1, 0):  # `sunset in`, `on grass`
        while rest and rest[position].lower() in SMALL_WORDS:
            rest.pop(position)
    return [" ".join(rest)] if rest else []


def _taken_apart(
    query: Query, collection: Collection, is_given: Callable[[str], bool]
) -> tuple[Query, dict[str, tuple[str, ...]]]:
    """The query with AND between tags that were written as one phrase, or it, and those phrases with their tags."""
    apart, is_tag = dict[str, tuple[str, ...]](), partial(_is_tag, collection, is_given)

    def read(label: Label) -> Query:
        tags = () if label.quoted else tuple(dict.fromkeys(names_within(label.text, is_tag)))
        if not tags or tags == (label.text,):
            return label
        apart[label.text] = tags
        if len(tags) == 1:
            return Label(*tags)
        each = And(tuple(map(Label, tags)))
        tagger, side_by_side = collection.tagger, len(tags) == 2 and label.text == " ".join(tags)
        if not side_by_side or tagger.calibration is None or tagger.unknown([label.text]):
            # The vector of more words, and without a calibration any phrase, is likely where one of them is; of others
            # people alone know a word.
            return each
        return either(each, Label(label.text, quoted=True))

    return _replaced(query, read, below_not=True), apart


def either(tags: And, phrase: Label) -> Or:
    """What was typed side by side: the tags, or the phrase, which suffices to be likely and hardly ranks."""
    return Or((tags, Weighted(_AS_PHRASE, phrase)))


def _joined(part: Query, read: Query) -> tuple[Query, ...]:
    """The parts that a part of an AND becomes."""
    return read.parts if isinstance(part, Label) and isinstance(read, And) else (read,)


def _cut_short(query: Query, tagger: Tagger, is_given: Callable[[str], bool]) -> Iterator[tuple[str, bool]]:
    """Filters that a word follows, each written with it, and whether that is likely what was meant."""
    match query:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _cut_short(part, tagger, is_given)
        case Not(part) | Weighted(part=part):
            yield from _cut_short(part, tagger, is_given)
    for part, following in pairwise(query.parts if isinstance(query, And) else ()):
        asked = part.part if isinstance(part, Not) else part
        if not isinstance(asked, Tagged | InPath | Field) or (isinstance(asked, Field) and asked.name != "camera"):
            continue  # the text of the other filters has no blanks
        if isinstance(following, Label) and not following.quoted:
            first = following.text.split()[0]  # `erna` of `tag:oma erna dog`
            if first.lower() in SMALL_WORDS:  # `tag:Rex on the beach`
                continue
            whole = replace(asked, text=f"{asked.text} {first}")
            given = isinstance(whole, Tagged) and is_given(whole.text)
            yield show(whole), given or first in tagger.unknown_words(first)


def with_known_vectors(reading: Reading, collection: Collection) -> Query:
    """The query, where labels that the model does not know are asked of people alone.

    One that people gave no picture stays as it is where every match must have it: then nothing is likely (`needed`),
    and else its scores, which are noise, would rank the pictures that an OR or a NOT is about.

    Raises:
        InputError: labels that neither the model nor people know, and that have no vector.
    """
    labels = [label for label in labels_of(reading.query) if not collection.has_learned(label)]
    peoples = frozenset(collection.tagger.unknown(reading.given))
    if rest := [label for label in labels if label not in peoples]:
        collection.tagger.embed(rest)
    lost = needed(reading.query, reading.unknown)
    asked = peoples if lost else peoples | reading.unknown
    return _replaced(reading.query, lambda label: Tagged(label.text) if label.text in asked else label, below_not=True)


def needed(query: Query, unknown: Container[str], *, met: bool = True) -> frozenset[str]:
    """The unknown labels because of which nothing can be a match, as no picture is known to have them.

    Args:
        query: a query, or a part of it.
        unknown: labels that neither the model nor people know.
        met: whether the part shall be met; below a NOT it shall not.

    Returns:
        Empty where there can be a match: an unknown label in an OR or below a NOT is needed by none.
    """
    match query:
        case Label(text) if met and text in unknown:
            return frozenset({text})
        case And(parts) | Or(parts):
            lost = [needed(part, unknown, met=met) for part in parts]
            each = isinstance(query, And) == met  # else one part suffices
            return frozenset().union(*lost) if each or all(lost) else frozenset()
        case Not(part):
            return needed(part, unknown, met=not met)
        case Weighted(part=part):
            return needed(part, unknown, met=met)
        case _:
            return frozenset()


def remarks(reading: Reading, tagger: Tagger, found: bool) -> list[str]:
    """What a person should know of how the words of a query were read.

    Args:
        reading: of the query.
        tagger: the model.
        found: whether there is any match.

    Returns:
        Sentences: phrases that were taken apart or lost unknown words, small words that may be meant as operators,
        filters that end at a blank, and unknown words, with the nearest that the model knows.
    """
    lost = [label for label in labels_of(reading.query) if label in reading.unknown]
    said = _unknown([*reading.without, *lost], reading, tagger)
    said += [f"`{phrase}` was read as `{' AND '.join(parts)}`." for phrase, parts in reading.without.items()]
    asked = labels_of(reading.query)
    quoted = {leaf.text for leaf in leaves(reading.query) if isinstance(leaf, Label) and leaf.quoted}
    said += [
        f"`{phrase}` was read as {' AND '.join(tags)}{', or the phrase' if phrase in asked else ''}; "
        "put it in quotes to ask for it as one tag."
        for phrase, tags in reading.apart.items()
    ]
    said += _to_be_quoted(reading, found)
    for label in labels_of(reading.query):
        said += _joining(label, tagger) if label not in reading.apart and label not in quoted else []
        if label not in reading.given and tagger.vocabulary.find_alike(label) is None:
            told = tagger.unknown_words(label)
            said += [_of_a_year(word, label) for word in label.split() if _YEAR.fullmatch(word) and word not in told]
    return said


def _joining(label: str, tagger: Tagger) -> list[str]:
    joining = [word for word in label.lower().split() if word in _JOINING]
    if not joining or tagger.vocabulary.find(label) is not None:
        return []
    word = joining[0]
    return [f"`{label}` was taken as one tag; write {_JOINING[word]} in capitals for `{word}` where it joins tags."]


def unknown_words(results: Results, tagger: Tagger) -> InputError:
    """The error of a query of which every match must have words that nobody knows."""
    assert results.reading is not None  # without a query there are none
    said = _unknown(results.strangers, results.reading, tagger)
    said += [hint for label in results.strangers for hint in _joining(label, tagger)]
    said += _to_be_quoted(results.reading, bool(results.found))
    remedy = "Use other words; --all shows the pictures nearest to the letters."
    return InputError(" ".join(said), where="query", remedy=remedy)


def _to_be_quoted(reading: Reading, found: bool) -> list[str]:
    meant = [whole for whole, is_likely in reading.cut_short.items() if is_likely or not found]
    return [f"A blank ends a filter: write `{whole}` where its words belong together." for whole in meant]


def _unknown(labels: Iterable[str], reading: Reading, tagger: Tagger) -> list[str]:
    """What is said of the unknown words of labels; only of the first ones with the nearest, which takes time."""
    asked_for = {word for parts in reading.without.values() for part in parts for word in part.split()}
    unknown = [(word, label) for label in labels for word in tagger.unknown_words(label) if word not in asked_for]
    said = []
    for word, label in unknown[:_NAMED]:
        near = " or ".join(f"`{one}`" for one in nearest_known(tagger, word))
        if word in reading.own_words:
            said.append(f"{_in(word, label)} is a tag of your own; write AND between it and others.")
        elif _YEAR.fullmatch(word):
            said.append(_of_a_year(word, label))
        else:
            said.append(f"{_in(word, label)} is unknown to this model" + (f"; is {near} meant?" if near else "."))
    if (more := len(unknown) - _NAMED) > 0:
        said.append(f"{counted(more, 'more word')} {'is' if more == 1 else 'are'} unknown.")
    return said


def _of_a_year(word: str, label: str) -> str:
    return f"{_in(word, label)} is unknown to this model; photos of a year are found by `taken:{word}`."


def _in(word: str, label: str) -> str:
    return f"`{word}`" + (f" (in `{label}`)" if word != label else "")
