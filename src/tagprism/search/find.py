"""Find pictures by a query, an example, or both. Knows neither files nor how an index keeps matrices.

Filters sift in the index, labels rank (`threshold`), a person's marks overrule what labels score.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tagprism.errors import InputError
from tagprism.labels.phrases import normalise_phrase
from tagprism.search.catalog import held_with
from tagprism.search.collection import Collection, catalog_file
from tagprism.search.contract import Filter, Index, Picture
from tagprism.search.label_logits import Odds
from tagprism.search.match import Leaf, divided, log_match
from tagprism.search.query import Query, parse
from tagprism.search.query_tree import InPath, Taken, labels_of, leaves
from tagprism.search.similar import Example, likeness
from tagprism.search.threshold import Ranked, Search, there, truths
from tagprism.tagging.tags import LabelRanker, Tag


@dataclass(frozen=True)
class Found:
    """A picture that was found.

    Args:
        picture: what the index knows of it.
        score: its match with the whole query, above 0 to 1; 1 where there is nothing but filters.
        tags: the labels of the query in its order, with the picture's score and probability for each.
        chances: how well each of them matches by itself, 0 to 1; what `score` is made of.
    """

    picture: Picture
    score: float
    tags: tuple[Tag, ...] = ()
    chances: tuple[float, ...] = ()


@dataclass(frozen=True)
class Results:
    """What a search gives.

    Args:
        found: best first; of equal ones the lower id first; where there are only filters, the newest first.
        exact: whether no other picture of the index can be among the best; False where the index itself is approximate,
            or where neighbours were asked for, which are looked for among the first pictures alone.
    """

    found: tuple[Found, ...]
    exact: bool


def find(
    collection: Collection,
    query: Query | str | None,
    limit: int = 20,
    *,
    like: Example | None = None,
    marks: Mapping[tuple[str, str], bool] | None = None,
    neighbours: int = 0,
) -> Results:
    """Find pictures once; see `Finder.find`."""
    return Finder(collection).find(query, limit, like=like, marks=marks, neighbours=neighbours)


class Finder:
    """Searches of one collection, which share what they are calibrated with.

    Args:
        collection: an opened index with its model.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @cached_property
    def _odds(self) -> Odds:
        return Odds.of(self._collection.tagger, self._collection.index)

    def find(
        self,
        query: Query | str | None,
        limit: int = 20,
        *,
        like: Example | None = None,
        marks: Mapping[tuple[str, str], bool] | None = None,
        neighbours: int = 0,
    ) -> Results:
        """Find the pictures that match a query and are like an example.

        Args:
            query: as text or parsed; None for an example alone.
            limit: pictures at most, from 1.
            like: an example.
            marks: what a person has said, as `search.marks` keeps it: (digest of a picture, normalised label) -> added?
                An added label is certain, a rejected one absent.
            neighbours: average the scores of the first pictures over so many that are like each; 0 for none.

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
        parts = divided(tree) if tree is not None else None
        where, rest = (parts.where, parts.rest) if parts is not None else (None, None)
        labels = labels_of(rest) if rest is not None else ()
        index = self._collection.index
        if not index.info().pictures:
            return Results((), exact=True)
        if not labels and like is None:
            return _newest(index, where, rest, limit)
        tagger = self._collection.tagger
        queries = tagger.scoring_vectors(labels) if labels else np.empty((0, index.info().columns), np.float32)
        likely = likeness(like, tagger, self._odds) if like is not None else None
        said = _said(self._collection, labels, marks or {})
        search = Search(index, where, rest, labels, queries, likely, self._odds, said)
        own = 1 if like is not None and like.path is not None else 0
        if neighbours:
            ranked = search.best_smoothed(limit + own, neighbours, tagger.bundle.config.dimension)
        else:
            ranked = search.best(limit + own)
        found = self._described(search, ranked)
        if like is not None and like.path is not None:
            found = [one for one in found if one.picture.path != like.path]
        return Results(tuple(found[:limit]), exact=index.info().exact and not neighbours)

    def _described(self, search: Search, ranked: Ranked) -> list[Found]:
        """Pictures with their tags; those that were removed meanwhile are left out."""
        pictures = self._collection.index.get(ranked.ids.tolist())
        held = np.array([picture is not None for picture in pictures], bool)
        ranked = ranked.of(held)
        ids, scores = ranked.ids, np.exp(ranked.matches).tolist()
        kept = [picture for picture in pictures if picture is not None]
        if not search.labels or not kept:
            return [Found(*pair) for pair in zip(kept, scores, strict=True)]
        try:
            matrices = self._collection.index.matrices(ids.tolist())
        except KeyError:
            left = np.isin(ranked.ids, list(there(self._collection.index, ids.tolist())))
            return self._described(search, ranked.of(left))
        places = {label: place for place, label in enumerate(search.labels)}
        ranking = LabelRanker(self._collection.tagger, search.labels).best(matrices, None, None)
        tags = [tuple(sorted(its, key=lambda tag: places[tag.label])) for its in ranking]
        chances = search.chances(ids, ranked.scores)
        return [Found(*of_one) for of_one in zip(kept, scores, tags, map(tuple, chances.tolist()), strict=True)]


def _newest(index: Index, where: Filter | None, rest: Query | None, limit: int) -> Results:
    """Pictures that meet filters, the newest first; those of unknown time last."""
    info = index.info()
    (hits,) = index.search(np.zeros((1, info.columns), np.float32), info.pictures, where=where)
    met = [picture for picture in index.get(sorted(hit.id for hit in hits)) if picture is not None]
    if rest is not None and met:
        filters = {leaf for leaf in leaves(rest) if isinstance(leaf, Taken | InPath)}
        known: dict[Leaf, np.ndarray] = {leaf: truths(leaf, met) for leaf in filters}
        met = [picture for picture, match in zip(met, log_match(rest, known), strict=True) if match == 0]
    met.sort(key=lambda picture: picture.taken or "", reverse=True)
    return Results(tuple(Found(picture, 1.0) for picture in met[:limit]), exact=True)


def _said(
    collection: Collection, labels: Sequence[str], marks: Mapping[tuple[str, str], bool]
) -> dict[int, dict[int, bool]]:
    """Marks of the labels asked for: place of the label -> id of the picture -> added or rejected."""
    of_digest: dict[str, list[tuple[int, bool]]] = {}
    phrases = [normalise_phrase(label) for label in labels]
    for (digest, phrase), added in marks.items():
        places = [place for place, one in enumerate(phrases) if one == phrase]
        of_digest.setdefault(digest, []).extend((place, added) for place in places)
    of_digest = {digest: its for digest, its in of_digest.items() if its}
    said: dict[int, dict[int, bool]] = {}
    for picture in _with_digests(collection, of_digest):
        for place, added in of_digest.get(picture.digest, ()):
            said.setdefault(place, {})[picture.id] = added
    return said


def _with_digests(collection: Collection, digests: Container[str]) -> Iterator[Picture]:
    """Pictures that may have one of these digests; without a catalog all."""
    ids = held_with(catalog_file(collection.where), digests) if digests else []
    if ids is None:
        return collection.index.pictures()
    return (picture for picture in collection.index.get(ids) if picture is not None)
