"""All pictures of an index at a glance: the latest first, how frequent each label is. For threads; knows no HTTP."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass

from tagprism.app.server.answers import LabelOut, LabelsAnswer
from tagprism.images.formats import say_not_read
from tagprism.labels.phrases import normalise_phrase
from tagprism.labels.vocabulary import Vocabulary
from tagprism.search.catalog import not_read
from tagprism.search.collection import Collection, catalog_file
from tagprism.search.contract import Index

_QUICK = 0.2  # seconds: an overview that takes no longer is made anew whenever the index has changed
_RARELY = 30.0  # seconds between two overviews of a larger index


@dataclass(frozen=True)
class Overview:
    """All pictures at a glance.

    Args:
        ids: the latest photo first.
        labels: label -> in how many pictures it is among the best tags.
        count: pictures that the index had.
        seconds: time it took.
        made: when, by `time.monotonic`.
    """

    ids: tuple[int, ...]
    labels: Counter[str]
    count: int
    seconds: float
    made: float


def not_read_of(collection: Collection) -> str:
    """A sentence about the files in a collection's folders that are of kinds that are not read, or nothing."""
    return say_not_read(not_read(catalog_file(collection.where)))


class Overviews:
    """Overviews of an index that may change, of which the latest is kept.

    Args:
        index: the pictures.
        vocabulary: of its model.
    """

    def __init__(self, index: Index, vocabulary: Vocabulary) -> None:
        self._index, self._vocabulary = index, vocabulary
        self._spellings = [
            (normalise_phrase(text), name)
            for name in vocabulary.names
            for text in (name, *vocabulary.aliases.get(name, ()))
        ]
        self._trained = frozenset(vocabulary.seen)
        self._making = threading.Lock()
        self._latest = self._make()

    def latest(self) -> Overview:
        """All pictures, at most half a minute old."""
        last = self._latest
        changed = self._index.info().pictures != last.count
        old = time.monotonic() - last.made
        if changed and (last.seconds < _QUICK or old > _RARELY) and self._making.acquire(blocking=False):
            try:
                self._latest = self._make()
            finally:
                self._making.release()
        return self._latest

    def _make(self) -> Overview:
        began, labels, order = time.monotonic(), Counter[str](), []
        for picture in self._index.pictures():
            labels.update(label for label, _ in picture.tags)
            order.append((picture.taken or "", picture.modified, picture.id))
        ids = tuple(number for _, _, number in sorted(order, reverse=True))
        now = time.monotonic()
        return Overview(ids, labels, len(ids), now - began, now)

    def labels(self, prefix: str, limit: int) -> LabelsAnswer:
        """Labels of the vocabulary with a word that begins so; without a prefix the most frequent in the index."""
        start, counts = normalise_phrase(prefix), self.latest().labels
        if not start:
            names = [label for label, _ in counts.most_common(limit)]
        else:
            fits = {
                label: spelling.startswith(start)
                for spelling, label in self._spellings
                if f" {start}" in f" {spelling}"
            }
            order = sorted(fits, key=lambda one: (not fits[one], -counts[one], one not in self._trained, len(one), one))
            names = order[:limit]
        labels = [LabelOut(label=name, pictures=counts[name], trained=name in self._trained) for name in names]
        near = self._vocabulary.nearest_names(prefix, 3) if start and not labels else []
        return LabelsAnswer(labels=labels, near=near)
