"""Find pictures of a collection by a query, an example, or both. Knows not how an index keeps records.

Filters sift in the index, labels rank (`threshold`), a person's marks overrule what labels score.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagprism.errors import InputError, PictureError
from tagprism.labels.phrases import normalise_phrase
from tagprism.search.catalog import held_with
from tagprism.search.collection import Collection, catalog_file
from tagprism.search.contract import Filter, Index, Picture
from tagprism.search.parse import parse
from tagprism.search.query import InPath, Leaf, Query, Taken, divided, labels_of, leaves, log_match
from tagprism.search.similar import Example, likeness
from tagprism.search.threshold import Ranking, Search, filter_logits, still_held
from tagprism.tagging.tags import LabelRanker, Tag


@dataclass(frozen=True)
class Found:
    """A picture that was found.

    Args:
        picture: what the index knows of it.
        score: its match with the whole query, above 0 to 1; 1 where there is nothing but filters.
        tags: the labels of the query in its order, with the picture's score and probability for each.
        label_matches: how well each of them matches by itself, 0 to 1; what `score` is made of.
    """

    picture: Picture
    score: float
    tags: tuple[Tag, ...] = ()
    label_matches: tuple[float, ...] = ()


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
    exact: bool = False,
) -> Results:
    """Find the pictures that match a query and are like an example.

    Args:
        collection: an opened index with its model.
        query: as text or parsed; None for an example alone.
        limit: pictures at most, from 1.
        like: an example.
        marks: what a person has said, as `search.marks` keeps it: (digest of a picture, normalised label) -> added?
            An added label is certain, a rejected one absent.
        neighbours: average the scores of the first pictures over so many that are like each; 0 for none.
        exact: look at all records, also of a large index.

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
    where, rest = divided(tree) if tree is not None else (None, None)
    labels = labels_of(rest) if rest is not None else ()
    index = collection.index
    if not index.info().pictures:
        return Results((), exact=True)
    if not labels and like is None:
        return _newest(index, where, rest, limit)
    tagger, label_logits = collection.tagger, collection.label_logits
    vectors = tagger.scoring_vectors(labels) if labels else np.empty((0, index.info().width), np.float32)
    likely = likeness(like, tagger, label_logits) if like is not None else None
    by_label = _marks_by_label(collection, labels, marks or {})
    search = Search(index, where, rest, labels, vectors, likely, label_logits, by_label, exact)
    own_path = like.path if like is not None else None  # the example itself is not shown
    wanted = limit if own_path is None else limit + 1
    ranking = search.best_smoothed(wanted, neighbours) if neighbours else search.best(wanted)
    found = [one for one in _described(collection, search, ranking) if one.picture.path != own_path]
    info = index.info()
    as_added = info.exact or (exact and info.storage == "float32")
    return Results(tuple(found[:limit]), exact=as_added and not neighbours)


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
    tags = [
        tuple(sorted(its, key=lambda tag: order[tag.label]))
        for its in LabelRanker(collection.tagger, search.labels).best(records, None, None)
    ]
    matches = search.label_matches(ids, ranking.scores).tolist()
    return [Found(*of_one) for of_one in zip(kept, scores, tags, map(tuple, matches), strict=True)]


def _newest(index: Index, where: Filter | None, rest: Query | None, limit: int) -> Results:
    """Pictures that meet filters, the newest first; those of unknown time last."""
    info = index.info()
    (hits,) = index.search(np.zeros((1, info.width), np.float32), info.pictures, where=where)
    met = [picture for picture in index.get(sorted(hit.id for hit in hits)) if picture is not None]
    if rest is not None and met:
        filters = {leaf for leaf in leaves(rest) if isinstance(leaf, Taken | InPath)}
        known: dict[Leaf, np.ndarray] = {leaf: filter_logits(leaf, met) for leaf in filters}
        met = [picture for picture, match in zip(met, log_match(rest, known), strict=True) if match == 0]
    met.sort(key=lambda picture: picture.taken or "", reverse=True)
    return Results(tuple(Found(picture, 1.0) for picture in met[:limit]), exact=True)


def _marks_by_label(
    collection: Collection, labels: Sequence[str], marks: Mapping[tuple[str, str], bool]
) -> dict[int, dict[int, bool]]:
    """Marks of the labels asked for: column of the label -> id of the picture -> added or rejected."""
    of_digest: dict[str, list[tuple[int, bool]]] = {}
    phrases = [normalise_phrase(label) for label in labels]
    for (digest, phrase), added in marks.items():
        columns = [column for column, one in enumerate(phrases) if one == phrase]
        of_digest.setdefault(digest, []).extend((column, added) for column in columns)
    of_digest = {digest: its for digest, its in of_digest.items() if its}
    by_label: dict[int, dict[int, bool]] = {}
    for picture in _with_digests(collection, of_digest):
        for column, added in of_digest.get(picture.digest, ()):
            by_label.setdefault(column, {})[picture.id] = added
    return by_label


def _with_digests(collection: Collection, digests: Container[str]) -> Iterator[Picture]:
    """Pictures that may have one of these digests; without a catalog all."""
    ids = held_with(catalog_file(collection.where), digests) if digests else []
    if ids is None:
        return collection.index.pictures()
    return (picture for picture in collection.index.get(ids) if picture is not None)


def example_of(collection: Collection, path: str) -> Example:
    """A picture file as an example, read anew; one that is no longer there is taken from the index.

    Raises:
        InputError: it cannot be used, or is neither on the disk nor in the index.
    """
    whole = os.path.abspath(path)  # noqa: PTH100 (a text that the index compares by)
    if Path(whole).exists():
        ((_, outcome, _),) = collection.tagger.records([whole])
        if isinstance(outcome, PictureError):
            raise InputError(outcome.message, where=path, remedy="Give another picture.") from outcome
        return Example(outcome, whole)
    for picture in collection.index.pictures():
        if picture.path == whole:
            return Example(collection.index.records([picture.id]), whole)
    remedy = "Name a picture that is there, or one that was indexed."
    raise InputError("is neither a file nor a picture of the index.", where=path, remedy=remedy)
