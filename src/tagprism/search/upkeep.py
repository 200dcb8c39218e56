"""Bring an index up to date with the picture files in its folders. Knows no engine.

What is done is kept, batch by batch: a run that is interrupted or killed at any moment is continued by the next one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Collection as SomeOf
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Float32
from threadpoolctl import threadpool_limits

from tagprism.bundle.record import Records
from tagprism.device import device_in_use
from tagprism.errors import InputError, PictureError
from tagprism.files import digest_bytes
from tagprism.images.decode import MAX_PIXELS, read_bytes
from tagprism.images.leave_out import patterns
from tagprism.images.metadata import Metadata, read_metadata
from tagprism.images.stream import process_pictures
from tagprism.images.walk import WalkReport, each_picture
from tagprism.images.walk_paths import pictures_at
from tagprism.progress import Progress, silent
from tagprism.search.catalog import Catalog, File, as_files
from tagprism.search.collection import Collection
from tagprism.search.contract import Picture
from tagprism.search.keyword_table import KeywordTable
from tagprism.search.roots import lies_in, path_in, reaches_far, without_nested
from tagprism.search.stored import catalog_file
from tagprism.search.upkeep_report import Report, is_doubtful
from tagprism.tagging.ranker import LabelRanker
from tagprism.tagging.tags import Tag

_BATCH = 64  # pictures that are kept at once: a second's work
_TAGS = 10  # kept with each picture
_REMOVED = 1000  # at once
_FAR = 1000  # at which something changed: more of them are no quicker than a look at everything
_Tags = tuple[tuple[str, float | None], ...]
_PASSING = ("missing", "unreadable")  # errors that say nothing about what the file holds


class Upkeep:
    """Updates a collection, again and again if wanted, while the process has it alone (`create.open_for_update`).

    Args:
        collection: whose index it is; its model looks at the pictures.
        max_pixels: cap on the size of a picture.
        progress: told of every file that is read.
        skipped: told of every file that cannot be used, once as long as it stays as it is.
        remarked: told of every file that is not quite whole and could be read, and of what is wrong with it.
    """

    def __init__(
        self,
        collection: Collection,
        *,
        max_pixels: int = MAX_PIXELS,
        progress: Progress = silent,
        skipped: Callable[[str, PictureError], None] = lambda path, error: None,
        remarked: Callable[[str, str], None] = lambda path, remark: None,
    ) -> None:
        self._collection, self._index, self._tagger = collection, collection.index, collection.tagger
        self._max_pixels, self._progress, self._tell, self._remark = max_pixels, progress, skipped, remarked
        self._catalog = Catalog(catalog_file(collection.where))
        self._keywords = KeywordTable(catalog_file(collection.where))
        self._report = Report()
        self._waiting: list[tuple[Picture, Records]] = []
        self._waiting_of: dict[str, tuple[Picture, Records]] = {}  # the first of them by its digest
        self._next_id = self._first_new = 0  # the latter of those that are new in this run
        self._replaced: Sequence[str] = ()
        self._links = True  # whether a folder may hold pictures by several paths, so that one place says too little
        self._own = (os.path.abspath(collection.where),)  # noqa: PTH100 (texts); thumbnails are kept with the index

    @cached_property
    def _words(self) -> LabelRanker:
        """Made for the first picture that is looked at: of a large vocabulary it takes longer than to find none."""
        return LabelRanker(self._tagger, None)

    def update(
        self,
        roots: Sequence[str] = (),
        *,
        prune: bool = False,
        exclude: Sequence[str] | None = None,
        tell_all: bool = False,
    ) -> Report:
        """Bring the index up to date, and note its roots in the collection.

        Args:
            roots: absolute paths of files and folders, of which nothing is a pattern; what is indexed elsewhere is left
                as it is. Without any those that were indexed before. What is not there is left as it is, too.
            prune: take out all whose file is gone, however many these are, and roots that are gone.
            exclude: patterns of what is left out of all roots from now on; those of before when None.
            tell_all: tell also of files that could not be used before.

        Returns:
            What was done.

        Raises:
            InputError: a root is not there, and nothing is known of it; a pattern is none.
            MachineError: the machine refused; what was done until then is kept.
        """
        known = self._collection.folders
        roots = [path_in(root, known) or root for root in roots] or list(known)
        self._refuse_unknown(roots)
        folders = without_nested([*known, *roots])
        replaced = [root for root in known if root not in folders and path_in(root, folders) != root]
        if prune:
            folders = tuple(folder for folder in folders if folder not in roots or os.path.lexists(folder))
        settings = self._collection.settings
        excluded = settings.exclude if exclude is None else tuple(filter(None, exclude))
        patterns("", excluded, "--exclude")  # what is none is an error before it is kept
        if folders != known or excluded != settings.exclude:
            self._collection.keep_folders(folders, excluded)
        if tell_all:
            self._catalog.forget_bad(roots, all=True)
        passed: list[tuple[str, str]] = []
        self._report = Report(walk=WalkReport(lambda path, kind: passed.append((path, kind))))
        present = [root for root in roots if os.path.lexists(root)]
        paths = each_picture(present, exclude=excluded, without=self._own, report=self._report.walk)
        self._bring_in(paths, replaced)
        self._catalog.keep_not_read(roots, passed)
        for root in roots:
            self._remove_gone(root, self._catalog.gone_below(root), prune)
        for root in replaced:
            self._remove([number for number, _ in self._catalog.gone_below(root)])
        self._catalog.forget_bad(present)
        self._read_keywords(roots)
        self._links = self._report.walk.links > 0 or len(present) < len(folders)
        # Always: an update that was killed may have changed what this one found.
        self._collection.settle(self._progress)
        if all(folder in present for folder in folders):
            self._collection.keep_renewed()
        return self._report

    def follow(self, paths: SomeOf[str]) -> Report:
        """Bring the index up to date with what changed at some paths, after `update` has been called.

        Args:
            paths: absolute paths of files and folders that are new, changed or gone.

        Returns:
            What was done; only what was looked at counts as unchanged.

        Raises:
            InputError: a `.tagprismignore` cannot be used.
            MachineError: the machine refused; what was done until then is kept.
        """
        folders = self._collection.folders
        inside = {root: [path for path in paths if lies_in(path, root)] for root in folders}
        if self._links or len(paths) > _FAR or any(map(reaches_far, paths)):
            return self.update([root for root in folders if os.path.lexists(root)])
        self._report = Report()
        pairs = [(root, path) for root, some in inside.items() for path in some]
        self._bring_in(pictures_at(pairs, exclude=self._collection.settings.exclude, without=self._own))
        for root, some in inside.items():
            gone = (one for path in some for one in self._catalog.gone_below(path, alike=path != root))
            self._remove_gone(root, list(dict.fromkeys(gone)), prune=False)
        self._catalog.forget_bad(paths)
        self._read_keywords({*paths, *chain.from_iterable(map(_without_endings, paths))})
        if self._report.any_change:
            self._collection.settle(self._progress)
        return self._report

    def _bring_in(self, paths: Iterable[str], replaced: Sequence[str] = ()) -> None:
        """Index what is new or changed of some files; those below replaced roots are held by another path now."""
        self._clear_waiting()
        self._replaced = replaced
        self._catalog.heal(self._index)
        self._next_id = self._first_new = self._catalog.next_id()
        hidden: list[str] = []
        self._catalog.scan(as_files(paths, hidden), hidden)
        for folder in hidden:
            self._skip(File(folder, -1, -1), PictureError("unreadable", "The folder cannot be listed.", where=folder))
        seen, count = self._catalog.to_look_at()
        self._report.unchanged = seen - count
        self._look(count)

    def _refuse_unknown(self, roots: list[str]) -> None:
        for root in roots:
            known = root in self._collection.folders or self._catalog.count_below(root)
            if not known and not os.path.lexists(root):
                raise InputError("is not there.", where=root, remedy="Name files or folders that are there.")

    def _skip(self, file: File, error: PictureError) -> None:
        if self._catalog.note_bad(file, error.code):
            self._report.known_bad += 1
        else:
            self._report.skipped += 1
            self._tell(file.path, error)

    def _look(self, count: int) -> None:
        """Index all files that are not held as they are."""
        order: deque[tuple[File, int | None]] = deque()

        def network(pixels: Float32[np.ndarray, "B C H W"]) -> list[tuple[Records, tuple[Tag, ...]]]:
            records = self._tagger.network(pixels)
            return list(zip(records, self._words.best(records, _TAGS, None), strict=True))

        with self._progress("indexing pictures", count) as advance, threadpool_limits(1, "blas"):
            paths = self._new_bytes(order, advance)
            for one in process_pictures(paths, self._tagger.preprocess, network, max_pixels=self._max_pixels):
                file, number = order.popleft()
                advance(1)
                if isinstance(one.output, PictureError):
                    self._cannot_use(file, number, one.output)
                else:
                    if one.remark:
                        self._remark(file.path, one.remark)
                    self._keep_new(file, number, one.digest, *one.output)
        self._commit()

    def _new_bytes(self, order: deque[tuple[File, int | None]], advance: Callable[[int], None]) -> Iterator[str]:
        """Files that the network must see; those whose bytes are known get their record from the index."""
        for file, number in self._catalog.each_to_look_at():
            if self._catalog.has_size(file.size) and self._keep_known(file, number):
                advance(1)
            else:
                order.append((file, number))
                yield file.path

    def _keep_known(self, file: File, number: int | None) -> bool:
        """Whether a file's bytes are indexed already, so that it has been dealt with: moved, copied, or touched."""
        try:
            digest = digest_bytes(read_bytes(file.path))
        except PictureError:
            return False
        found = self._waiting_of.get(digest) or self._held_of(file.size, digest)  # what waits is newer
        if found is None:
            return False
        source, record = found
        try:
            known = read_metadata(file.path)
        except PictureError:
            return False
        replaced = any(lies_in(source.path, root) for root in self._replaced)
        if number is None and (replaced or not os.path.lexists(source.path)):
            self._report.moved += 1
            number = source.id
        elif number is not None:
            (held_as,) = self._index.get([number])
            if held_as and (held_as.size, held_as.modified, held_as.digest) == (file.size, file.modified, digest):
                self._report.renewed += 1
            else:
                self._report.changed += 1
        self._wait(self._picture(file, number, digest, known, source.tags), record)
        return True

    def _held_of(self, size: int, digest: str) -> tuple[Picture, Records] | None:
        """A picture of the index that has these bytes, and its record: one is asked for, whatever copies there are."""
        for number in self._catalog.same_bytes(size, digest):
            (held,) = self._index.get([number])
            if held and held.digest == digest:
                return held, self._index.records([number])
        return None

    def _keep_new(self, file: File, number: int | None, digest: str, record: Records, tags: tuple[Tag, ...]) -> None:
        try:
            known = read_metadata(file.path)
        except PictureError as error:
            self._skip(file, error)
            return
        if number is not None:
            self._report.changed += 1
        best = tuple((tag.label, tag.probability) for tag in tags)
        self._wait(self._picture(file, number, digest, known, best), record)

    def _picture(self, file: File, number: int | None, digest: str, known: Metadata, tags: _Tags) -> Picture:
        if number is None:
            number = self._next_id
            self._next_id += 1
            self._report.added += 1
        size = known.width, known.height
        return Picture(number, *file, digest, *size, tags=tags, kind=known.kind, **_said(known))

    def _cannot_use(self, file: File, number: int | None, error: PictureError) -> None:
        self._skip(file, error)
        if number is not None and error.code not in _PASSING:  # what is indexed is of bytes that are no more
            self._remove([number])

    def _wait(self, picture: Picture, record: Records) -> None:
        self._waiting.append((picture, record))
        self._waiting_of.setdefault(picture.digest, (picture, record))
        if len(self._waiting) >= _BATCH:
            self._commit()

    def _commit(self) -> None:
        if not self._waiting:
            return
        pictures = [picture for picture, _ in self._waiting]
        records = Records.joined(record for _, record in self._waiting)
        with self._catalog.change([picture.id for picture in pictures]):
            self._index.add(pictures, records)
            self._catalog.keep(pictures)
        self._collection.keep_device(device_in_use())
        self._clear_waiting()

    def _clear_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_of.clear()

    def _remove(self, ids: list[int]) -> None:
        for start in range(0, len(ids), _REMOVED):
            some = ids[start : start + _REMOVED]
            with self._catalog.change(some):
                self._index.remove(some)
                self._catalog.forget(some)
            self._report.removed += len(some)

    def _remove_gone(self, root: str, gone: list[tuple[int, str]], prune: bool) -> None:
        """Take out what is gone of a root, or is there but left out from now on; unless a disk may be away."""
        held = self._catalog.count_below(root)
        kept = set()
        if not prune and is_doubtful(len(gone), held):
            away = {number for number, path in gone if not os.path.lexists(path)}
            if is_doubtful(len(away), held):
                self._report.doubtful[root] = len(away)
                kept = away
        self._remove([number for number, _ in gone if number not in kept])

    def _read_keywords(self, paths: Iterable[str]) -> None:
        """Take in what people tagged in the pictures below some paths, and in their sidecars."""
        roots = self._collection.folders
        held = dict(chain.from_iterable(self._catalog.held_below(one, alike=one not in roots) for one in paths))
        self._keywords.update(held, self._index, self._progress, self._read_metadata)

    def _read_metadata(self, ids: Sequence[int]) -> None:
        """Take in what files beside some pictures say now; of those that are new in this run it has just been read."""
        for picture in self._index.get([one for one in ids if one < self._first_new]):
            if picture is None:
                continue
            try:
                known = read_metadata(picture.path)
            except PictureError:  # it has gone meanwhile; what takes its place is read by the next run
                continue
            if (now := replace(picture, **_said(known))) != picture:
                self._wait(now, self._index.records([picture.id]))
                self._report.renewed += 1
                self._report.unchanged = max(0, self._report.unchanged - 1)  # of a sidecar alone it was not counted
        self._commit()

    def close(self) -> None:
        """Let go of the catalog; the collection stays open."""
        self._keywords.close()
        self._catalog.close()


def _said(known: Metadata) -> dict[str, Any]:
    """What a file, and those beside it, say of a picture."""
    return {name: getattr(known, name) for name in ("taken", "taken_from", "camera", "rating", "location")}


def _without_endings(path: str) -> Iterator[str]:
    """What a file may lie beside: `photo.jpg` of `photo.jpg.xmp`."""
    while (shorter := os.path.splitext(path)[0]) != path:  # noqa: PTH122 (texts)
        yield (path := shorter)
