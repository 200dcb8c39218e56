"""The words of a query as a model and people know them: one tag or several, whom to ask for it, and what to say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tagprism.bundle.bundle import Bundle
from tagprism.errors import InputError
from tagprism.labels.phrases import other_names
from tagprism.search.collection import Collection
from tagprism.search.own_tags import OwnTags
from tagprism.search.parse import MOST_LABELS
from tagprism.search.query import And, Label, Not, Or, Query, Tagged, Weighted, labels_of
from tagprism.tagging.tagger import Tagger

_LONGEST = 8  # words of a phrase that is taken apart
_JOINING = ("and", "or", "not")
_YEAR = re.compile("(?:19|20)[0-9]{2}")


@dataclass(frozen=True)
class Reading:
    """A query as it is searched for.

    Args:
        query: with AND between tags that were written as one phrase.
        apart: those phrases, each with its tags.
    """

    query: Query
    apart: Mapping[str, tuple[str, ...]]


def read_words(query: Query, collection: Collection, own: OwnTags) -> Reading:
    """Take bare words apart that are no tag together, but each by itself.

    `dogs beach` becomes `dogs AND beach`, as the vocabulary has both and not the two; `polar bear snow` becomes `polar
    bear AND snow`. A quoted phrase stays whole, and so does one with a word that is no tag (`dog on a beach`). The
    fewest tags are taken. A foreign model reads any phrase as it was trained to, and is asked so.

    Args:
        query: as it was parsed.
        collection: its model's vocabulary holds tags.
        own: what people gave its pictures are tags, too.
    """
    if not isinstance(collection.tagger.bundle, Bundle):
        return Reading(query, {})
    vocabulary = collection.tagger.vocabulary
    apart: dict[str, tuple[str, ...]] = {}

    def is_tag(phrase: str) -> bool:
        if vocabulary.find_alike(phrase) is not None or any(own.of_label(phrase).values()):
            return True
        named = any(vocabulary.find_alike(name) is not None for name in other_names(phrase))
        return named and collection.tagger.label_space is not None  # `rubbish bin` is a tag as `trash can` is

    def read(part: Query) -> Query:
        match part:
            case And(parts):
                return And(tuple(inner for one in parts for inner in _joined(one, read(one))))
            case Or(parts):
                return Or(tuple(map(read, parts)))
            case Not(inner):
                return Not(read(inner))
            case Weighted(weight, inner):
                return Weighted(weight, read(inner))
            case Label(text, quoted) if not quoted and len(tags := _fewest(text.split(" "), is_tag)) > 1:
                apart[text] = tags
                return And(tuple(map(Label, tags)))
            case _:
                return part

    found = read(query)
    return Reading(found, apart) if len(labels_of(found)) <= MOST_LABELS else Reading(query, {})


def _joined(part: Query, read: Query) -> tuple[Query, ...]:
    """The parts that a part of an AND becomes."""
    return read.parts if isinstance(part, Label) and isinstance(read, And) else (read,)


def _fewest(words: list[str], is_tag: Callable[[str], bool]) -> tuple[str, ...]:
    """The fewest tags that words are made of, in order; the words as one where that is a tag, or there are none."""
    whole = (" ".join(words),)
    if len(words) == 1 or len(words) > _LONGEST or is_tag(whole[0]):
        return whole
    best: dict[int, tuple[str, ...]] = {0: ()}  # number of words from the first -> the tags they make
    for end in range(1, len(words) + 1):
        ways = [(*best[start], phrase) for start in best if is_tag(phrase := " ".join(words[start:end]))]
        if ways:
            best[end] = min(ways, key=len)
    return best.get(len(words), whole)


def with_known_vectors(tree: Query, collection: Collection, own: OwnTags) -> Query:
    """The query, where labels that the model does not know are asked of people alone.

    One that people gave no picture stays as it is where every match must have it: then nothing is likely (`needs`),
    and else its scores, which are noise, would rank the pictures that an OR or a NOT is about.

    Raises:
        InputError: labels that neither the model nor people know.
    """
    learned = collection.learned
    labels = tuple(label for label in labels_of(tree) if not learned.is_known(label))
    if not labels:
        return tree
    unknown = collection.tagger.unknown(labels)
    peoples = {label for label in unknown if any(own.of_label(label).values())}
    if rest := [label for label in labels if label not in peoples]:
        collection.tagger.embed(rest)
    strangers = set(unknown) - peoples
    return _asked_of_people(tree, peoples | (set() if needs(tree, strangers) else strangers))


def _asked_of_people(query: Query, labels: set[str]) -> Query:
    match query:
        case And(parts):
            return And(tuple(_asked_of_people(part, labels) for part in parts))
        case Or(parts):
            return Or(tuple(_asked_of_people(part, labels) for part in parts))
        case Not(part):
            return Not(_asked_of_people(part, labels))
        case Weighted(weight, part):
            return Weighted(weight, _asked_of_people(part, labels))
        case Label(text) if text in labels:
            return Tagged(text)
        case _:
            return query


def needs(query: Query, unknown: set[str]) -> bool:
    """Whether every match must have a label that the model does not know: its score is noise, and nothing is likely."""
    match query:
        case Label(text):
            return text in unknown
        case And(parts):
            return any(needs(part, unknown) for part in parts)
        case Or(parts):
            return all(needs(part, unknown) for part in parts)
        case Weighted(_, part):
            return needs(part, unknown)
        case _:
            return False


def remarks(reading: Reading, tagger: Tagger, given: Iterable[str]) -> list[str]:
    """What a person should know of how the words of a query were read.

    Args:
        reading: of the query.
        tagger: the model.
        given: tags that people gave the pictures that were found, of which the model need not know anything.

    Returns:
        Sentences: phrases that were taken apart, small words that may be meant as operators, and words that the model
        does not know, with the nearest that it knows.
    """
    said = [
        f"`{phrase}` was read as {' AND '.join(tags)}; put it in quotes to ask for it as one tag."
        for phrase, tags in reading.apart.items()
    ]
    labels, given = labels_of(reading.query), set(given)
    unknown = set(tagger.unknown(labels)) - given
    for label in labels:
        joining = [word for word in label.split() if word in _JOINING]
        if joining and tagger.vocabulary.find(label) is None:
            said.append(f"`{label}` was taken as one tag; write {joining[0].upper()} in capitals where it joins tags.")
        elif label in unknown:
            said.append(_unknown(label, "", tagger))
        elif " " in label and label not in given and tagger.vocabulary.find_alike(label) is None:
            said += [_unknown(word, f" (in `{label}`)", tagger) for word in tagger.unknown(label.split())]
    return said


def unknown_words(words: Iterable[str], tagger: Tagger) -> InputError:
    """The error of a query of which every match must have words that nobody knows."""
    what = " ".join(_unknown(word, "", tagger) for word in words)
    return InputError(what, where="query", remedy="Use other words; --all shows the pictures nearest to the letters.")


def _unknown(word: str, where: str, tagger: Tagger) -> str:
    if _YEAR.fullmatch(word):
        return f"`{word}`{where} is unknown to this model; photos of a year are found by `taken:{word}`."
    near = " or ".join(f"`{one}`" for one in tagger.nearest_known(word))
    return f"`{word}`{where} is unknown to this model" + (f"; is {near} meant?" if near else ".")
