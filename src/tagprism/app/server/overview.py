"""All pictures of an index at a glance: the newest first, which of them meet filters, how frequent each label is.

For threads; knows no HTTP.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from tagprism.app.server.answers import LabelOut, LabelsAnswer
from tagprism.images.formats import say_not_read
from tagprism.labels.phrases import normalise_phrase
from tagprism.search.catalog import not_read
from tagprism.search.collection import Collection
from tagprism.search.conditions import folded, moment, moments
from tagprism.search.contract import Index
from tagprism.search.match import LIKELY, log_match
from tagprism.search.parse import leaves
from tagprism.search.query import InPath, Leaf, Query, Taken
from tagprism.search.stored import catalog_file
from tagprism.tagging.tagger import Tagger

_QUICK = 0.2  # seconds: an overview that takes no longer is made anew whenever the index has changed
_RARELY = 30.0  # seconds between two overviews of a larger index


@dataclass(frozen=True)
class Overview:
    """All pictures at a glance.

    Args:
        ids: the newest photo first.
        moments: when each was taken, as `contract.moment` has it; -1 where that is not known.
        paths: of each, as filters compare them.
        labels: label -> in how many pictures it is a likely tag, or among the best where there are no probabilities.
        stamp: of the index, which is another one once it has changed.
        seconds: time it took.
        made: when, by `time.monotonic`.
    """

    ids: Int64[np.ndarray, " N"]
    moments: Int64[np.ndarray, " N"]
    paths: tuple[str, ...]
    labels: Counter[str]
    stamp: tuple[int, ...]
    seconds: float
    made: float


def not_read_of(collection: Collection) -> str:
    """A sentence about the files in a collection's folders that are of kinds that are not read, or nothing."""
    return say_not_read(not_read(catalog_file(collection.where)))


class Overviews:
    """Overviews of an index that may change, of which the latest is kept.

    Args:
        index: the pictures.
        tagger: its model.
        catalog: its file, which changes with the index; it need not be there.
    """

    def __init__(self, index: Index, tagger: Tagger, catalog: Path) -> None:
        self._index, self._tagger, self._catalog = index, tagger, catalog
        self._vocabulary = vocabulary = tagger.vocabulary
        self._spellings = [
            (normalise_phrase(text), name)
            for name in vocabulary.names
            for text in (name, *vocabulary.aliases.get(name, ()))
        ]
        self._trained = frozenset(vocabulary.seen)
        self._making = threading.Lock()
        self._latest = self._make()

    def latest(self) -> Overview:
        """All pictures; of a large index as they were at most half a minute ago, or while this one is being made."""
        last = self._latest
        old = time.monotonic() - last.made
        if (last.seconds < _QUICK or old > _RARELY) and last.stamp != self._stamp() and self._making.acquire(False):
            if last.seconds < _QUICK:
                self._renew()
            else:
                threading.Thread(target=self._renew, name="overview", daemon=True).start()
        return self._latest

    def _renew(self) -> None:
        try:
            self._latest = self._make()
        finally:
            self._making.release()

    def _stamp(self) -> tuple[int, ...]:
        """How many pictures there are, and when the catalog was changed: as many others may have taken their place."""
        times = [self._index.info().pictures]
        for end in ("", "-wal"):
            with suppress(OSError):
                times.append(self._catalog.with_name(self._catalog.name + end).stat().st_mtime_ns)
        return tuple(times)

    def _make(self) -> Overview:
        began, stamp, labels, rows = time.monotonic(), self._stamp(), Counter[str](), []
        for picture in self._index.pictures():
            labels.update(label for label, found in picture.tags if found is None or found >= LIKELY)
            rows.append((picture.taken or "", picture.modified, picture.id, folded(picture.path)))
        rows.sort(reverse=True)
        ids = np.array([number for _, _, number, _ in rows], np.int64)
        moments = np.array([moment(taken) if taken else -1 for taken, *_ in rows], np.int64)
        now = time.monotonic()
        return Overview(ids, moments, tuple(path for *_, path in rows), labels, stamp, now - began, now)

    def newest(self, filters: Query | None) -> list[int]:
        """Ids of the pictures that meet a query of filters alone, or of all, the newest first."""
        all_of = self.latest()
        if filters is None:
            return list(map(int, all_of.ids))
        known: dict[Leaf, np.ndarray] = {}
        for leaf in leaves(filters):
            if isinstance(leaf, InPath):
                text = folded(leaf.text)
                meets = np.fromiter((text in path for path in all_of.paths), bool, len(all_of.paths))
            else:
                assert isinstance(leaf, Taken)
                first, last = moments((leaf.first, leaf.last))
                meets = (all_of.moments >= first) & (all_of.moments <= last)
            known[leaf] = np.where(meets, np.inf, -np.inf)
        return list(map(int, all_of.ids[log_match(filters, known) == 0]))

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
        return LabelsAnswer(known=not self._tagger.unknown_words(prefix), labels=labels, near=near)
