"""Tags that people gave the pictures of an index: marks of the page, and keywords of the files. Knows no scores.

The keywords are kept in tables of their own beside the catalog, so that a search reads no file.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from tagprism.errors import PictureError
from tagprism.keywords.own import keywords_stamps, own_keywords
from tagprism.labels.phrases import normalise_phrase, variants
from tagprism.progress import Progress
from tagprism.search.catalog import held_with
from tagprism.search.collection import Collection
from tagprism.search.contract import Index, Picture
from tagprism.search.marks import Said
from tagprism.search.settings import catalog_file
from tagprism.sqlite_file import SqliteFile
from tagprism.tagging.learned import Learned
from tagprism.tagging.tags import LabelRanker

_TABLES = """
PRAGMA synchronous=NORMAL;  -- what a power cut takes is read again
CREATE TABLE IF NOT EXISTS keywords_read (id INTEGER PRIMARY KEY, stamp TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keyword (
    phrase TEXT NOT NULL, id INTEGER NOT NULL, place INTEGER NOT NULL, word TEXT NOT NULL, PRIMARY KEY (phrase, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keywords_of ON keyword (id);
"""
_PAGE = 500  # parameters of one statement
_BATCH = 64  # pictures whose keywords are kept at once


class KeywordTable:
    """The keywords of an index's files, for its upkeep.

    Args:
        file: the catalog's; the tables are made when absent.

    Raises:
        MachineError: it is damaged, or cannot be read or written; by every method.
    """

    def __init__(self, file: Path) -> None:
        remedy = "Free space or mend the permission; if it is damaged, delete it: it is made again from the index."
        self._db = SqliteFile(file, "the catalog of the index fails", remedy, _TABLES)

    def update(
        self, held: Mapping[int, str], index: Index, progress: Progress, changed_too: Callable[[Sequence[int]], None]
    ) -> None:
        """Read the keywords of pictures whose files or sidecars have changed since, and forget those that are gone.

        Args:
            held: id -> path of the pictures to look at.
            index: says which of the others are still there.
            progress: told of every picture whose keywords are read.
            changed_too: called with their ids before it is noted that they were read, so that a kill loses nothing.
        """
        stamps = self.stamps()
        absent = [one for one in stamps if one not in held]
        self.forget([one for one, picture in zip(absent, index.get(absent), strict=True) if picture is None])
        now = dict(zip(held, keywords_stamps(held.values()), strict=True))
        changed = [number for number, stamp in now.items() if stamps.get(number) != stamp]
        if not changed:
            return
        with progress("reading keywords", len(changed)) as advance:
            for start in range(0, len(changed), _BATCH):
                some = changed[start : start + _BATCH]
                changed_too(some)
                self.put([(number, now[number], _keywords_of(held[number])) for number in some])
                advance(len(some))

    def stamps(self) -> dict[int, str]:
        """Of each picture whose keywords were read what its files were then."""
        with self._db.errors():
            return dict(self._db.sql.execute("SELECT id, stamp FROM keywords_read"))

    def put(self, read: Sequence[tuple[int, str, Sequence[str]]]) -> None:
        """Keep pictures' keywords in place of those they had: (id, stamp, words) of each."""
        with self._db.transaction():
            self._forget([number for number, _, _ in read])
            for number, stamp, words in read:
                first = {normalise_phrase(word): (place, word) for place, word in reversed(list(enumerate(words)))}
                rows = [(phrase, number, *one) for phrase, one in first.items() if phrase]
                self._db.sql.execute("INSERT INTO keywords_read VALUES (?, ?)", (number, stamp))
                self._db.sql.executemany("INSERT INTO keyword VALUES (?, ?, ?, ?)", rows)

    def forget(self, ids: Sequence[int]) -> None:
        """Let go of the keywords of pictures that are no longer there."""
        with self._db.transaction():
            self._forget(ids)

    def _forget(self, ids: Sequence[int]) -> None:
        for table in ("keyword", "keywords_read"):
            self._db.sql.executemany(f"DELETE FROM {table} WHERE id = ?", ((one,) for one in ids))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _keywords_of(path: str) -> tuple[str, ...]:
    try:
        return own_keywords(Path(path))
    except PictureError:  # it has gone meanwhile; what takes its place has another stamp
        return ()


def kept_keywords(file: Path) -> list[list[Any]]:
    """[id, stamp, words] of each picture whose keywords were read; of no catalog that can be read none."""
    words: dict[int, list[str]] = {}
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", timeout=60, uri=True)) as sql:
            for number, word in sql.execute("SELECT id, word FROM keyword ORDER BY id, place"):
                words.setdefault(number, []).append(word)
            stamps = sql.execute("SELECT id, stamp FROM keywords_read ORDER BY id").fetchall()
    except sqlite3.Error:  # they are read anew from the files
        return []
    return [[number, stamp, words.get(number, [])] for number, stamp in stamps]


class OwnTags:
    """What people said of the pictures of an index, for its searches.

    A mark of the page counts for every copy of a picture and wins over a keyword, which is its file's alone.

    Args:
        collection: the index.
        marks: as `search.marks` keeps them.
    """

    def __init__(self, collection: Collection, marks: Said) -> None:
        self._collection, self._marks, self._file = collection, marks, catalog_file(collection.where)

    def of_label(self, label: str) -> dict[int, bool]:
        """Ids of the pictures of which someone said that they have a label, or have it not."""
        forms = sorted({normalise_phrase(label), *variants(label)})
        said = {one: True for (one,) in self._rows("SELECT id FROM keyword WHERE phrase IN ({})", forms)}
        of_digest: dict[str, bool] = {}
        for digest, its in self._marks.items():
            for form in sorted(forms, key=normalise_phrase(label).__eq__):  # the very spelling comes last, and wins
                if form in its:
                    of_digest[digest] = its[form][1]
        return said | {picture.id: of_digest[picture.digest] for picture in self.with_digests(of_digest)}

    def phrases(self, least: int) -> list[str]:
        """Normalised labels that people gave or refused at least so many pictures, most first."""
        counts = Counter(phrase for its in self._marks.values() for phrase in its)
        counts.update(
            dict(self._rows("SELECT phrase, COUNT(*) FROM keyword GROUP BY phrase HAVING COUNT(*) >= {}", [least]))
        )
        return [phrase for phrase, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count >= least]

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
