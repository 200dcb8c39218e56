"""Tags that people gave the pictures of an index, for its searches: marks of the page, and keywords of the files.

Knows no scores, and reads no file of a picture: the keywords are in `keyword_table`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain
from typing import Any

from tagprism.labels.phrases import bare_phrase, normalise_phrase, variants
from tagprism.search.catalog import held_with
from tagprism.search.collection import Collection
from tagprism.search.contract import Picture
from tagprism.search.marks import Said
from tagprism.search.stored import catalog_file
from tagprism.tagging.learned import Learned
from tagprism.tagging.tags import LabelRanker

_PAGE = 500  # parameters of one statement


class OwnTags:
    """What people said of the pictures of an index, for its searches.

    A mark of the page counts for every copy of a picture and wins over a keyword, which is its file's alone.

    Args:
        collection: the index.
        marks: as `search.marks` keeps them.
    """

    def __init__(self, collection: Collection, marks: Said) -> None:
        self._collection, self._marks, self._file = collection, marks, catalog_file(collection.where)
        self._of_label: dict[str, dict[int, bool]] = {}

    def of_label(self, label: str) -> dict[int, bool]:
        """Ids of the pictures of which someone said that they have a label, or have it not; read once."""
        if label not in self._of_label:
            self._of_label[label] = self._said_of(label)
        return self._of_label[label]

    @cached_property
    def _marked(self) -> dict[str, dict[str, bool]]:
        """Normalised label -> digest -> whether the pictures have it."""
        found: dict[str, dict[str, bool]] = {}
        for digest, its in self._marks.items():
            for phrase, (_, is_added) in its.items():
                found.setdefault(phrase, {})[digest] = is_added
        return found

    def _said_of(self, label: str) -> dict[int, bool]:
        forms = sorted({normalise_phrase(label), *variants(label)})
        said = {one: True for (one,) in self._rows("SELECT id FROM keyword WHERE phrase IN ({})", forms)}
        of_digest: dict[str, bool] = {}
        for form in sorted(forms, key=normalise_phrase(label).__eq__):  # the very spelling comes last, and wins
            of_digest |= self._marked.get(form, {})
        return said | {picture.id: of_digest[picture.digest] for picture in self.with_digests(of_digest)}

    def phrases(self, least: int) -> list[str]:
        """Normalised labels that people gave or refused at least so many pictures, or marked at all; most first.

        Of a label in several spellings (`cat`, `cats`) it is the one of most pictures.
        """
        marked = Counter(phrase for its in self._marks.values() for phrase in its)
        counts = marked + Counter(
            dict(self._rows("SELECT phrase, COUNT(*) FROM keyword WHERE id >= {} GROUP BY phrase", [0]))
        )
        spellings: dict[str, list[str]] = {}
        for phrase in sorted(counts, key=lambda one: (-counts[one], one)):
            spellings.setdefault(bare_phrase(phrase), []).append(phrase)
        sums = {its[0]: sum(counts[one] for one in its) for its in spellings.values()}
        asked = [its[0] for its in spellings.values() if sums[its[0]] >= least or not marked.keys().isdisjoint(its)]
        return sorted(asked, key=lambda one: (-sums[one], one))

    def as_written(self, phrase: str) -> str:
        """A normalised label as someone wrote it."""
        marked = (its[phrase][0] for its in self._marks.values() if phrase in its)
        words = (word for (word,) in self._rows("SELECT word FROM keyword WHERE phrase IN ({}) LIMIT 1", [phrase]))
        return next(chain(marked, words), phrase)

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
        for number, phrase, word in self._rows(query, [picture.id for picture in pictures]):
            words.setdefault(number, {})[phrase] = word
        found = []
        for picture in pictures:
            marks = self._marks.get(picture.digest, {})
            added = {phrase: label for phrase, (label, is_added) in sorted(marks.items()) if is_added}
            kept = {phrase: word for phrase, word in words.get(picture.id, {}).items() if phrase not in marks}
            found.append(tuple((added | kept).values()))
        return found

    def model_tags(self, pictures: Sequence[Picture]) -> list[tuple[tuple[str, float | None], ...]]:
        """The model's best tags of each picture, as the index has learned them, without those that people rejected."""
        tags = [picture.tags for picture in pictures]
        if learned := self._collection.learned:
            ranker = LabelRanker(self._collection.tagger, [one.label for one in learned.labels], learned=learned)
            for start in range(0, len(pictures), _PAGE):
                some = slice(start, start + _PAGE)
                tags[some] = self._relearned(pictures[some], ranker, learned)
        return [
            tuple(tag for tag in its if not self.rejects(picture, tag[0]))
            for picture, its in zip(pictures, tags, strict=True)
        ]

    def _relearned(
        self, pictures: Sequence[Picture], ranker: LabelRanker, learned: Learned
    ) -> list[tuple[tuple[str, float | None], ...]]:
        """Stored tags with the learned labels' probabilities of today, as many as are stored."""
        try:
            records = self._collection.index.records([picture.id for picture in pictures])
        except KeyError:  # one was removed meanwhile: its stored tags will do
            return [picture.tags for picture in pictures]
        found = []
        for picture, better in zip(pictures, ranker.best(records, None, None), strict=True):
            kept = [(label, its) for label, its in picture.tags if learned.find(label) is None]
            now = [*kept, *((tag.label, tag.probability) for tag in better if tag.probability is not None)]
            best = sorted(now, key=lambda tag: -(tag[1] or 0.0))[: len(picture.tags)]
            found.append(tuple(best) if better and better[0].probability is not None else picture.tags)
        return found

    def rejects(self, picture: Picture, label: str) -> bool:
        """Whether a person said that a picture has not a label."""
        said = self._marks.get(picture.digest, {}).get(normalise_phrase(label))
        return said is not None and not said[1]

    def _rows(self, query: str, values: Sequence[object]) -> list[Any]:
        """Rows of the keyword table, read beside whoever changes it; none where there is no table yet."""
        for how in ("mode=ro", "immutable=1"):  # the latter where even reading would have to write
            try:
                with closing(sqlite3.connect(f"{self._file.absolute().as_uri()}?{how}", timeout=60, uri=True)) as sql:
                    pages = [values[start : start + _PAGE] for start in range(0, len(values), _PAGE)]
                    return [row for page in pages for row in sql.execute(query.format(",".join("?" * len(page))), page)]
            except sqlite3.Error:
                continue
        return []
