"""What a search gives, and how its words were read. Knows not how it is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tagprism.search.contract import Picture
from tagprism.search.query import Query
from tagprism.tagging.tags import Tag


@dataclass(frozen=True)
class Reading:
    """A query as it is searched for.

    Args:
        query: with AND between tags that were written as one phrase, or that phrase.
        apart: those phrases, each with its tags; as a whole it is a label of the query too where that suffices.
        without: phrases of which unknown words were left out, each with the phrases and tags of people that are left.
        given: labels that the vocabulary lacks and the index has not learned, but people gave a picture.
        unknown: those of the others that the model does not know.
        own_words: words of these phrases that are tags of people by themselves.
        cut_short: filters that may go on after a blank (`tag:oma erna`), each as it then has to be written, and whether
            that is likely: as the word is unknown, or people have such a tag.
    """

    query: Query
    apart: Mapping[str, tuple[str, ...]]
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    own_words: frozenset[str] = frozenset()
    cut_short: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A picture that was found.

    Args:
        picture: what the index knows of it.
        score: its match with the whole query, above 0 to 1; 1 where there is nothing but filters.
        tags: the labels of the query in its order, with the picture's score and probability for each; what a person
            said of one is certain.
        label_matches: how well each of them matches by itself, 0 to 1; what `score` is made of.
        likely: whether the picture is likely what was asked for; None where that is not known, as with an example.
        own: the tags that people gave the picture.
    """

    picture: Picture
    score: float
    tags: tuple[Tag, ...] = ()
    label_matches: tuple[float, ...] = ()
    likely: bool | None = None
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results:
    """What a search gives.

    Args:
        found: likely ones first, and of them the best; of equal ones the lower id first; where there are only filters,
            the newest first.
        exact: whether no other picture of the index can be among the best; False where the index itself is approximate,
            or where neighbours were asked for, which are looked for among the first pictures alone.
        reading: how the words of the query were read; None without a query.
        strangers: labels that neither the model nor people know and that no match can do without, so that none is
            likely. One below a NOT, or in an OR with a known label, is not among them.
    """

    found: tuple[Found, ...]
    exact: bool
    reading: Reading | None = None
    strangers: tuple[str, ...] = ()
