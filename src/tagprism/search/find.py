"""Find pictures of a collection by a query, an example, or both; and what people said of them.

Filters sift in the index, labels rank (`scoring`), what people said overrules what labels score: marks of the page, and
keywords of the files, which are read from the catalog and not from the files. Knows not how an index keeps records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from tagprism.errors import InputError
from tagprism.labels.phrases import normalise_phrase, variants
from tagprism.search.catalog import held_with
from tagprism.search.collection import Collection
from tagprism.search.contract import Index, Picture
from tagprism.search.filtered import divided, newest
from tagprism.search.marks import Said
from tagprism.search.match import search_vectors, searched_as
from tagprism.search.parse import labels_of, leaves, parse
from tagprism.search.query import And, Field, InPath, Query, Tagged, Taken
from tagprism.search.record_file import one_blas_thread
from tagprism.search.results import Found, Results
from tagprism.search.scoring import Ranking, still_held
from tagprism.search.similar import Example, likeness
from tagprism.search.stored import catalog_file
from tagprism.search.threshold import Search
from tagprism.search.words import needed, read_words, with_known_vectors
from tagprism.tagging.learned import Learned, Stored
from tagprism.tagging.ranker import LabelRanker
from tagprism.tagging.tags import Tag

_PAGE, _AT_ONCE = 1000, 500  # pictures that are read together; parameters of one statement


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
        reading = read_words(tree, collection, own.is_given)
    if not index.info().pictures:
        return Results((), exact=True, reading=reading)
    if reading is not None:
        tree = with_known_vectors(reading, collection)
    sifting = tree is not None and any(isinstance(leaf, Taken | InPath | Field) for leaf in leaves(tree))
    where, rest = divided(tree) if tree is not None and sifting else (None, tree)
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
    positions = np.arange(len(ranking.ids))
    found = tuple(_described(collection, search, ranking.of((positions >= offset) & (positions < offset + limit))))
    lost = needed(rest, reading.unknown) if rest is not None and reading is not None else ()
    strangers = tuple(label for label in labels if label in lost)
    if strangers or like is not None:
        found = tuple(replace(one, likely=False if strangers else None) for one in found)
    info = index.info()
    as_added = info.exact or (exact and info.storage == "float32")
    return Results(with_own(found, own), as_added and ranking.is_proven and not neighbours, reading, strangers)


def _is_phrase(label: str, collection: Collection) -> bool:
    """Whether the vocabulary lacks a label, and the names of what it stands for, and nobody has taught it."""
    tagger = collection.tagger
    is_word = tagger.vocabulary.find_alike(label) is not None or collection.has_learned(label)
    return not is_word and not searched_as(label, tagger)


def _without(ranking: Ranking, index: Index, path: str) -> Ranking:
    """A ranking without one file, which is among the first of what is like it."""
    for start in range(0, len(ranking.ids), _PAGE):
        pictures = index.get(ranking.ids[start : start + _PAGE].tolist())
        for position, picture in enumerate(pictures, start):
            if picture is not None and picture.path == path:
                return ranking.of(np.arange(len(ranking.ids)) != position)
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


class OwnTags:
    """What people said of the pictures of an index, for its searches.

    A mark of the page counts for every copy of a picture and wins over a keyword, which is its file's alone.

    Args:
        collection: the index.
        marks: as `search.marks` keeps them.
    """

    def __init__(self, collection: Collection, marks: Said) -> None:
        self._collection, self.marks, self._file = collection, marks, catalog_file(collection.where)
        self._of_label: dict[str, dict[int, bool]] = {}

    def of_label(self, label: str) -> dict[int, bool]:
        """Ids of the pictures of which someone said that they have a label, or have it not; read once."""
        if label not in self._of_label:
            self._of_label[label] = self._said_of(label)
        return self._of_label[label]

    def is_given(self, label: str) -> bool:
        """Whether someone said of any picture that it has a label."""
        return any(self.of_label(label).values())

    @cached_property
    def _marked(self) -> dict[str, dict[str, bool]]:
        """Normalised label -> digest -> whether the pictures have it."""
        found: dict[str, dict[str, bool]] = {}
        for digest, its in self.marks.items():
            for phrase, (_, is_added) in its.items():
                found.setdefault(phrase, {})[digest] = is_added
        return found

    def _said_of(self, label: str) -> dict[int, bool]:
        forms = sorted({normalise_phrase(label), *variants(label)})
        said = {one: True for (one,) in self.rows("SELECT id FROM keyword WHERE phrase IN ({})", forms)}
        of_digest: dict[str, bool] = {}
        for form in sorted(forms, key=normalise_phrase(label).__eq__):  # the very spelling comes last, and wins
            of_digest |= self._marked.get(form, {})
        return said | {picture.id: of_digest[picture.digest] for picture in self.with_digests(of_digest)}

    def with_digests(self, digests: Iterable[str]) -> Iterator[Picture]:
        """Pictures that have one of these digests."""
        wanted = frozenset(digests)
        ids = held_with(self._file, wanted) if wanted else []
        found = self._collection.index.pictures() if ids is None else self._collection.index.get(ids)
        return (picture for picture in found if picture is not None and picture.digest in wanted)

    def of_pictures(self, pictures: Sequence[Picture]) -> list[tuple[str, ...]]:
        """The tags that people gave each picture: marks, then keywords that no mark rejects."""
        query = "SELECT id, phrase, word FROM keyword WHERE id IN ({}) ORDER BY id, place"
        words: dict[int, dict[str, str]] = {}
        for number, phrase, word in self.rows(query, [picture.id for picture in pictures]):
            words.setdefault(number, {})[phrase] = word
        found = []
        for picture in pictures:
            marks = self.marks.get(picture.digest, {})
            added = {phrase: label for phrase, (label, is_added) in sorted(marks.items()) if is_added}
            kept = {phrase: word for phrase, word in words.get(picture.id, {}).items() if phrase not in marks}
            found.append(tuple((added | kept).values()))
        return found

    def model_tags(self, pictures: Sequence[Picture]) -> list[tuple[tuple[str, float | None], ...]]:
        """The model's best tags of each picture, as the index has learned them, without those that people rejected."""
        tags = [picture.tags for picture in pictures]
        if learned := self._collection.learned:
            ranker = LabelRanker(self._collection.tagger, [one.label for one in learned.labels], learned=learned)
            for start in range(0, len(pictures), _AT_ONCE):
                some = slice(start, start + _AT_ONCE)
                tags[some] = self._relearned(pictures[some], ranker, learned)
        return [
            tuple(tag for tag in its if not self.rejects(picture, tag[0]))
            for picture, its in zip(pictures, tags, strict=True)
        ]

    def _relearned(self, pictures: Sequence[Picture], ranker: LabelRanker, learned: Learned) -> list[Stored]:
        try:
            records = self._collection.index.records([picture.id for picture in pictures])
        except KeyError:  # one was removed meanwhile: its stored tags will do
            return [picture.tags for picture in pictures]
        ranked = ranker.best(records, None, None)
        return [learned.renewed(picture.tags, its) for picture, its in zip(pictures, ranked, strict=True)]

    def rejects(self, picture: Picture, label: str) -> bool:
        """Whether a person said that a picture has not a label."""
        said = self.marks.get(picture.digest, {}).get(normalise_phrase(label))
        return said is not None and not said[1]

    def rows(self, query: str, values: Sequence[object]) -> list[Any]:
        """Rows of the keyword table, read beside whoever changes it; none where there is no table yet."""
        for how in ("mode=ro", "immutable=1"):  # the latter where even reading would have to write
            try:
                with closing(sqlite3.connect(f"{self._file.absolute().as_uri()}?{how}", timeout=60, uri=True)) as sql:
                    pages = [values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE)]
                    return [row for page in pages for row in sql.execute(query.format(",".join("?" * len(page))), page)]
            except sqlite3.Error:
                continue
        return []
