"""Find pictures of a collection by a query, an example, or both. Knows not how an index keeps records.

Filters sift in the index, labels rank (`threshold`), a person's marks overrule what labels score.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tagprism.errors import InputError, PictureError
from tagprism.search.collection import Collection
from tagprism.search.conditions import Filter
from tagprism.search.contract import Index, Picture
from tagprism.search.filtered import newest
from tagprism.search.marks import Said
from tagprism.search.match import search_vectors, searched_as
from tagprism.search.own_tags import OwnTags
from tagprism.search.parse import labels_of, leaves, parse
from tagprism.search.query import And, Fact, InPath, Not, Query, Tagged, Taken
from tagprism.search.record_file import one_blas_thread
from tagprism.search.scoring import Ranking, still_held
from tagprism.search.similar import Example, likeness
from tagprism.search.threshold import Search
from tagprism.search.words import Reading, needed, read_words, with_known_vectors
from tagprism.tagging.tags import LabelRanker, Tag

_PAGE = 1000
_MORE = 8  # times as many of the newest are looked at where too few meet a filter that people or an OR make


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


@one_blas_thread()
def find(
    collection: Collection,
    query: Query | str | None,
    limit: int = 20,
    *,
    like: Example | None = None,
    marks: Said | None = None,
    neighbours: int = 0,
    among: frozenset[int] | None = None,
    exact: bool = False,
    offset: int = 0,
    budget: int | None = None,
) -> Results:
    """Find the pictures that match a query and are like an example.

    Args:
        collection: an opened index with its model.
        query: as text or parsed; None for an example alone.
        limit: pictures at most, from 1.
        like: an example.
        marks: what a person has said, as `search.marks` keeps it. An added label is certain, a rejected one absent.
            So is a label that is a keyword of the picture's file.
        neighbours: average the scores of the first pictures over so many that are like each; 0 for none.
        among: ids that are looked at; all when None.
        exact: look at all records, also of a large index.
        offset: pictures to leave out first; only those after them are described.
        budget: pictures times labels after which nothing more is scanned to prove the ranking; None for no end.

    Returns:
        The pictures that match best. Those that cannot match (a filter not met, a rejected label) are left out.

    Raises:
        QueryError: the query cannot be read.
        InputError: neither query nor example, or labels without a vector, with the nearest known ones.
    """
    tree = parse(query) if isinstance(query, str) else query
    if limit < 1:
        raise InputError(f"{limit} pictures cannot be found.", remedy="Ask for 1 or more.")
    if tree is None and like is None:
        raise InputError("there is neither a query nor a picture to find others like.", remedy="Give one of them.")
    index, own = collection.index, OwnTags(collection, marks or {})
    reading = None
    if tree is not None:
        reading = read_words(tree, collection, own)
    if not index.info().pictures:
        return Results((), exact=True, reading=reading)
    if reading is not None:
        tree = with_known_vectors(reading, collection)
    where, rest = divided(tree) if tree is not None else (None, None)
    labels = labels_of(rest) if rest is not None else ()
    tagged = {leaf: _ids_tagged(leaf, own) for leaf in (leaves(rest) if rest else ()) if isinstance(leaf, Tagged)}
    only = _only(rest, tagged, among)
    if not labels and like is None:
        pictures = newest(index, where, rest, offset + limit, tagged, only)[offset:]
        return Results(with_own([Found(picture, 1.0) for picture in pictures], own), exact=True, reading=reading)
    tagger, label_logits = collection.tagger, collection.label_logits
    learned = collection.learned
    vectors, groups, usual = np.empty((0, collection.settings.shape.width), np.float32), None, None
    if labels:
        vectors, groups, usual = search_vectors(labels, tagger, learned)
    likely = likeness(like, tagger, label_logits) if like is not None else None
    by_label = {column: said for column, label in enumerate(labels) if (said := own.of_label(label))}
    copies = frozenset(one.id for one in own.with_digests([like.digest])) if like and like.digest else frozenset()
    shifts = learned.shifts(labels) if learned else None
    phrases = np.array([_is_phrase(label, collection) for label in labels], bool)
    search = Search(
        *(index, where, rest, labels, vectors, likely, label_logits, by_label),
        *(tagged, only, copies, exact, shifts, groups, phrases, usual),
    )
    own_path = like.path if like is not None else None  # the example itself is not shown
    wanted = offset + limit if own_path is None else offset + limit + 1
    ranking = search.best_smoothed(wanted, neighbours) if neighbours else search.best(wanted, budget)
    if own_path is not None:
        ranking = _without(ranking, index, own_path)
    places = np.arange(len(ranking.ids))
    found = tuple(_described(collection, search, ranking.of((places >= offset) & (places < offset + limit))))
    lost = needed(rest, reading.unknown) if rest is not None and reading is not None else ()
    strangers = tuple(label for label in labels if label in lost)
    if strangers or like is not None:
        found = tuple(replace(one, likely=False if strangers else None) for one in found)
    info = index.info()
    as_added = info.exact or (exact and info.storage == "float32")
    return Results(with_own(found, own), as_added and ranking.is_proven and not neighbours, reading, strangers)


def divided(query: Query) -> tuple[Filter | None, Query | None]:
    """What an index sifts by, the filters that stand in the outermost AND, and what pictures are ranked by."""
    parts = query.parts if isinstance(query, And) else (query,)
    bare = [part.part if isinstance(part, Not) else part for part in parts]
    sifting = [isinstance(leaf, Taken | InPath | Fact) for leaf in bare]  # a tag of a person is none of the engine's
    if not any(sifting):
        return None, query
    pairs = [(leaf, isinstance(part, Not)) for leaf, part, sifts in zip(bare, parts, sifting, strict=True) if sifts]
    conditions: list[tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[tuple[str, str], ...]]] = []
    for negated in (False, True):
        so = [leaf for leaf, no in pairs if no == negated]
        times = tuple((leaf.first, leaf.last) for leaf in so if isinstance(leaf, Taken))
        facts = tuple((leaf.name, leaf.text) for leaf in so if isinstance(leaf, Fact))
        conditions.append((times, tuple(leaf.text for leaf in so if isinstance(leaf, InPath)), facts))
    (times, paths, facts), (no_times, no_paths, no_facts) = conditions
    where = Filter(times, paths, no_times, no_paths, facts, no_facts)
    rest = tuple(part for part, sifts in zip(parts, sifting, strict=True) if not sifts)
    return where, And(rest) if len(rest) > 1 else rest[0] if rest else None


def _is_phrase(label: str, collection: Collection) -> bool:
    """Whether the vocabulary lacks a label, and the names of what it stands for, and nobody has taught it."""
    tagger = collection.tagger
    is_word = tagger.vocabulary.find_alike(label) is not None or collection.has_learned(label)
    return not is_word and not searched_as(label, tagger)


def _without(ranking: Ranking, index: Index, path: str) -> Ranking:
    """A ranking without one file, which is among the first of what is like it."""
    for start in range(0, len(ranking.ids), _PAGE):
        pictures = index.get(ranking.ids[start : start + _PAGE].tolist())
        for place, picture in enumerate(pictures, start):
            if picture is not None and picture.path == path:
                return ranking.of(np.arange(len(ranking.ids)) != place)
    return ranking


def _ids_tagged(leaf: Tagged, own: OwnTags) -> frozenset[int]:
    return frozenset(one for one, added in own.of_label(leaf.text).items() if added)


def _only(
    rest: Query | None, tagged: Mapping[Tagged, frozenset[int]], among: frozenset[int] | None = None
) -> frozenset[int] | None:
    """Ids that a match must be among: those given, and where the outermost AND asks for tags of people theirs."""
    parts = rest.parts if isinstance(rest, And) else (rest,)
    wanted = [tagged[part] for part in parts if isinstance(part, Tagged)]
    wanted += [among] if among is not None else []
    return frozenset.intersection(*wanted) if wanted else None


def with_own(found: Sequence[Found], own: OwnTags) -> tuple[Found, ...]:
    """Pictures with the tags that people gave them, and without the model's tags that they rejected."""
    pictures = [one.picture for one in found]
    given, tags = own.of_pictures(pictures), own.model_tags(pictures)
    return tuple(
        replace(one, own=own_of, picture=replace(one.picture, tags=tags_of))
        for one, own_of, tags_of in zip(found, given, tags, strict=True)
    )


def _described(collection: Collection, search: Search, ranking: Ranking) -> list[Found]:
    """Pictures with their tags; those that were removed meanwhile are left out."""
    pictures = collection.index.get(ranking.ids.tolist())
    ranking = ranking.of(np.array([picture is not None for picture in pictures], bool))
    ids, scores = ranking.ids, np.exp(ranking.matches).tolist()
    kept = [picture for picture in pictures if picture is not None]
    if not search.labels or not kept:
        return [Found(*pair) for pair in zip(kept, scores, strict=True)]
    try:
        records = collection.index.records(ids.tolist())
    except KeyError:
        held = np.isin(ids, list(still_held(collection.index, ids.tolist())))
        return _described(collection, search, ranking.of(held))
    order = {label: column for column, label in enumerate(search.labels)}

    def by_order(tag: Tag) -> int:
        return order[tag.label]

    ranker = LabelRanker(collection.tagger, search.labels, learned=collection.learned)
    tags = [
        tuple(_as_said(tag, search.marks.get(order[tag.label], {}).get(number)) for tag in sorted(its, key=by_order))
        for number, its in zip(ids.tolist(), ranker.best(records, None, None), strict=True)
    ]
    matches = search.label_matches(ids, ranking.scores).tolist()
    its = zip(kept, scores, tags, map(tuple, matches), ranking.likely.tolist(), strict=True)
    return [Found(*of_one) for of_one in its]


def _as_said(tag: Tag, said: bool | None) -> Tag:
    """A tag of which a person's word makes the probability certain."""
    return tag if said is None else replace(tag, probability=float(said))


def example_of(collection: Collection, path: str) -> Example:
    """A picture file as an example, read anew; one that is no longer there is taken from the index.

    Raises:
        InputError: it cannot be used, or is neither on the disk nor in the index.
    """
    whole = os.path.abspath(path)  # noqa: PTH100 (a text that the index compares by)
    if Path(whole).exists():
        ((_, outcome, digest),) = collection.tagger.records([whole])
        if isinstance(outcome, PictureError):
            raise InputError(outcome.message, where=path, remedy="Give another picture.") from outcome
        return Example(outcome, whole, digest)
    for picture in collection.index.pictures():
        if picture.path == whole:
            return Example(collection.index.records([picture.id]), whole, picture.digest)
    remedy = "Name a picture that is there, or one that was indexed."
    raise InputError("is neither a file nor a picture of the index.", where=path, remedy=remedy)
