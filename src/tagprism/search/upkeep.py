"""Bring an index up to date with the picture files in its folders. Knows no engine.

What is done is kept, batch by batch: a run that is interrupted or killed at any moment is continued by the next one.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32
from threadpoolctl import threadpool_limits

from tagprism.bundle.record import Records
from tagprism.errors import InputError, PictureError
from tagprism.files import digest_bytes
from tagprism.images.decode import MAX_PIXELS, read_bytes
from tagprism.images.metadata import read_metadata
from tagprism.images.stream import process_pictures
from tagprism.images.walk import each_picture
from tagprism.progress import Progress, silent
from tagprism.search.catalog import Catalog, File
from tagprism.search.collection import Collection, catalog_file
from tagprism.search.contract import Picture
from tagprism.search.create import without_nested
from tagprism.tagging.tags import LabelRanker, Tag

_BATCH = 64  # pictures that are kept at once: a second's work
_TAGS = 10  # kept with each picture
_WORDS = 16  # that recall is measured with
_REMOVED = 1000  # at once
_MANY, _SHARE = 10, 0.5  # so many, and this share of a folder, do not vanish unless someone says so
_PASSING = ("missing", "unreadable")  # errors that say nothing about what the file holds


@dataclass
class Report:
    """What an update did, in pictures.

    Args:
        added: of files that were not known.
        changed: of files with other bytes than before, or another time.
        moved: whose file was found elsewhere; not looked at again.
        removed: whose file is gone.
        unchanged: not read at all.
        skipped: that cannot be used; each was told.
        doubtful: root -> how many are gone below it: so many that they were kept in the index, as a disk may be away.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    doubtful: dict[str, int] = field(default_factory=dict)

    @property
    def any_change(self) -> bool:
        """Whether the index is not what it was."""
        return bool(self.added or self.changed or self.moved or self.removed)


class Upkeep:
    """Updates a collection, again and again if wanted, while the process has it alone (`create.open_for_update`).

    Args:
        collection: whose index it is; its model looks at the pictures.
        max_pixels: cap on the size of a picture.
        progress: told of every file that is read.
        skipped: told of every file that cannot be used.
    """

    def __init__(
        self,
        collection: Collection,
        *,
        max_pixels: int = MAX_PIXELS,
        progress: Progress = silent,
        skipped: Callable[[str, PictureError], None] = lambda path, error: None,
    ) -> None:
        self._collection, self._index, self._tagger = collection, collection.index, collection.tagger
        self._max_pixels, self._progress, self._tell = max_pixels, progress, skipped
        self._catalog = Catalog(catalog_file(collection.where))
        self._words = LabelRanker(self._tagger, None)
        self._report = Report()
        self._waiting: list[tuple[Picture, Records]] = []
        self._next_id = 0

    def update(self, roots: Sequence[str] = (), *, prune: bool = False) -> Report:
        """Bring the index up to date, and note its roots in the collection.

        Args:
            roots: absolute paths of files and folders, of which nothing is a pattern; what is indexed elsewhere is left
                as it is. Without any those that were indexed before.
            prune: take out all whose file is gone, however many these are, and roots that are gone.

        Returns:
            What was done.

        Raises:
            InputError: a root is not there, and `prune` does not say that it is gone for good.
            MachineError: the machine refused; what was done until then is kept.
        """
        known = self._collection.folders
        roots = list(roots) or list(known)
        folders = without_nested([*known, *roots])
        if prune:
            folders = tuple(folder for folder in folders if folder not in roots or os.path.lexists(folder))
        else:
            self._refuse_absent(roots)
        if folders != known:
            self._collection.keep_folders(folders)
        self._report = Report()
        self._waiting.clear()
        self._catalog.heal(self._index)
        self._next_id = self._catalog.next_id()
        hidden: list[str] = []
        self._catalog.scan(self._walk([root for root in roots if os.path.lexists(root)], hidden), hidden)
        seen, count = self._catalog.to_look_at()
        self._report.unchanged = seen - count
        self._look(count)
        self._remove_gone(roots, prune)
        self._settle()
        return self._report

    def _refuse_absent(self, roots: list[str]) -> None:
        for root in roots:
            if not os.path.lexists(root):
                remedy = "Name files or folders that are there."
                if self._catalog.count_below(root):
                    remedy = "If its disk is not in use, mount it; if it is gone for good, add --prune."
                raise InputError("is not there.", where=root, remedy=remedy)

    def _walk(self, roots: list[str], hidden: list[str]) -> Iterator[File]:
        own = os.path.join(os.path.abspath(self._collection.where), "")  # noqa: PTH100, PTH118 (texts)
        for path in each_picture(roots):
            if path.startswith(own):  # thumbnails that are kept with the index
                continue
            try:
                status = os.stat(path)  # noqa: PTH116
            except (OSError, ValueError):
                yield File(path, -1, -1)  # reading it says what is wrong
                continue
            if stat.S_ISDIR(status.st_mode):
                hidden.append(path)
                self._skip(path, PictureError("unreadable", "The folder cannot be listed.", where=path))
            else:
                yield File(path, status.st_size, status.st_mtime_ns)

    def _skip(self, path: str, error: PictureError) -> None:
        self._report.skipped += 1
        self._tell(path, error)

    def _look(self, count: int) -> None:
        """Index all files that are not held as they are."""
        order: deque[tuple[File, int | None]] = deque()

        def network(pixels: Float32[np.ndarray, "B 3 H W"]) -> list[tuple[Records, tuple[Tag, ...]]]:
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
        if any(picture.digest == digest for picture, _ in self._waiting):
            self._commit()  # the index is asked what it holds of these bytes
        held = self._index.get(self._catalog.same_bytes(file.size, digest))
        source = next((picture for picture in held if picture and picture.digest == digest), None)
        if source is None:
            return False
        if number is None and not os.path.lexists(source.path):
            self._report.moved += 1
            number = source.id
        elif number is not None:
            self._report.changed += 1
        picture = self._picture(file, number, digest, (source.width, source.height), source.taken, source.tags)
        self._wait(picture, self._index.records([source.id]))
        return True

    def _keep_new(self, file: File, number: int | None, digest: str, record: Records, tags: tuple[Tag, ...]) -> None:
        try:
            facts = read_metadata(file.path)
        except PictureError as error:
            self._skip(file.path, error)
            return
        if number is not None:
            self._report.changed += 1
        best = tuple((tag.label, tag.probability) for tag in tags)
        picture = self._picture(file, number, digest, (facts.width, facts.height), facts.taken, best)
        self._wait(picture, record)

    def _picture(
        self,
        file: File,
        number: int | None,
        digest: str,
        size: tuple[int, int],
        taken: str | None,
        tags: tuple[tuple[str, float | None], ...],
    ) -> Picture:
        if number is None:
            number = self._next_id
            self._next_id += 1
            self._report.added += 1
        return Picture(number, file.path, file.size, file.modified, digest, *size, taken, tags)

    def _cannot_use(self, file: File, number: int | None, error: PictureError) -> None:
        self._skip(file.path, error)
        if number is not None and error.code not in _PASSING:  # what is indexed is of bytes that are no more
            self._remove([number])

    def _wait(self, picture: Picture, record: Records) -> None:
        self._waiting.append((picture, record))
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
        self._waiting.clear()

    def _remove(self, ids: list[int]) -> None:
        for start in range(0, len(ids), _REMOVED):
            some = ids[start : start + _REMOVED]
            with self._catalog.change(some):
                self._index.remove(some)
                self._catalog.forget(some)
            self._report.removed += len(some)

    def _remove_gone(self, roots: list[str], prune: bool) -> None:
        for root in roots:
            gone, held = self._catalog.gone_below(root), self._catalog.count_below(root)
            many = len(gone) >= _MANY and len(gone) > _SHARE * held
            if gone and not prune and (many or len(gone) == held):
                self._report.doubtful[root] = len(gone)
            else:
                self._remove(gone)

    def _settle(self) -> None:
        if self._report.any_change:
            names = self._tagger.vocabulary.names
            chosen = np.random.default_rng(0).permutation(len(names))[:_WORDS]
            self._index.settle(self._tagger.scoring_vectors([names[row] for row in chosen]))

    def close(self) -> None:
        """Let go of the catalog; the collection stays open."""
        self._catalog.close()
