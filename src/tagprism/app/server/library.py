"""What the server gives out: an index, its model, and what people said of its pictures. For threads; knows no HTTP.

It lives in a process of its own (`library_worker`), so every method takes and gives JSON values or bytes alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tagprism.app.server import several
from tagprism.app.server.answers import (
    ExplainAnswer,
    ExportForm,
    Hit,
    ImageAnswer,
    KeywordsAnswer,
    KeywordsOfMany,
    LabelsAnswer,
    MarkedMany,
    OriginalOut,
    SearchAnswer,
    TagAnswer,
    TagOut,
    UndoAnswer,
)
from tagprism.app.server.forms import explained, hit_of, image_of, marked_tags, shown, tag_out
from tagprism.app.server.keyword_writer import KeywordWriter
from tagprism.app.server.originals import describe_original, is_there, read_original, thumbnail
from tagprism.app.server.overview import Overviews, not_read_of
from tagprism.app.server.uploads import Upload, read_upload
from tagprism.app.server.work_queues import BatchingQueue
from tagprism.bundle.record import Records
from tagprism.errors import InputError, PictureError
from tagprism.keywords import sidecar
from tagprism.keywords.own import own_keywords
from tagprism.search.collection import Collection
from tagprism.search.contract import Picture
from tagprism.search.find import OwnTags, find, with_own
from tagprism.search.marks import Marks
from tagprism.search.parse import labels_of, leaves, parse
from tagprism.search.query import InPath, Query, Taken, show
from tagprism.search.results import Found
from tagprism.search.similar import Example
from tagprism.search.stored import SETTINGS, catalog_file, is_address, marks_file, read_settings
from tagprism.search.words import read_words, remarks
from tagprism.tagging.explain import Explainer
from tagprism.tagging.ranker import LabelRanker
from tagprism.tagging.unknown import known_labels

_TAGS = 12  # of one picture
_BATCH, _UPLOADS = 8, 64  # uploads that go through the network at once, and that wait for it
_SCANNED = 4_000_000  # pictures times labels that one search may scan, about two seconds of one processor
_LABELS = 8  # that a search may have in any case
_NO_PICTURE = "There is no picture of this number in the index."


class Library:
    """An opened index in use.

    Args:
        collection: the index and its model; loaded in full here, so that no request waits for it.
        marks: tags that people added or rejected.
        naming: which sidecars keywords go into.
    """

    def __init__(self, collection: Collection, marks: Marks, naming: sidecar.Naming) -> None:
        self.collection, self.marks = collection, marks
        self.tagger = collection.tagger
        self._words = collection.learned, LabelRanker(self.tagger, None, learned=collection.learned)
        self.overviews = Overviews(collection.index, self.tagger, catalog_file(collection.where))
        _ = self.tagger.bundle.model
        self.keywords = KeywordWriter(marks, naming)
        self._network = BatchingQueue("network", self._look, _BATCH, _UPLOADS)
        self._file = self._marks_file()

    def close(self) -> None:
        """Let go of index and marks."""
        self.marks.close()
        self.collection.close()

    @property
    def words(self) -> LabelRanker:
        """Ranks the vocabulary as the index has learned it by now."""
        learned = self.collection.learned
        if learned is not self._words[0]:
            self._words = learned, LabelRanker(self.tagger, None, learned=learned)
        return self._words[1]

    @property
    def is_there(self) -> bool:
        """Whether index and marks are still where they were opened: a deleted file would take marks all the same."""
        where = self.collection.where
        return self._marks_file() == self._file and (is_address(where) or (Path(where) / SETTINGS).is_file())

    def _marks_file(self) -> tuple[int, int] | None:
        try:
            status = os.stat(marks_file(self.collection.where))  # noqa: PTH116 (no exceptions to tell apart)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @property
    def folders(self) -> tuple[str, ...]:
        """The indexed roots as they are now: another process may have added some."""
        where = self.collection.where
        if is_address(where):
            return self.collection.folders
        return Collection(where, read_settings(Path(where)), self.collection.index).folders

    # ---- all pictures

    def search(self, query: str, like: int | None, limit: int, offset: int) -> SearchAnswer:
        """Some of the pictures that match a query or are like a picture, best first; of all when nothing is asked.

        Raises:
            InputError: the query cannot be read, or has words without a vector.
            PictureError: there is no such picture to be like.
        """
        # What it costs is bounded: too many labels are refused, and where the proof that no other picture is better
        # would take too long, the best that are known are given, and `exact` is false.
        began = time.perf_counter()
        index = self.collection.index
        tree = parse(query) if query.strip() else None
        info, exact, passed, said = index.info(), True, "", []
        own = self.picture(like) if like is not None else None
        if own is None and (tree is None or all(isinstance(leaf, Taken | InPath) for leaf in leaves(tree))):
            ids = self.overviews.newest(tree)
            passed = not_read_of(self.collection) if tree is None else ""
            pictures = index.get(ids[offset : offset + limit])
            every = self.described([Found(one, 1.0) for one in pictures if one is not None])
            hits, more = [hit_of(one, matched=tree is not None) for one in every], offset + limit < len(ids)
        else:
            marks = self.marks.said()
            is_given = OwnTags(self.collection, marks).is_given
            reading = read_words(tree, self.collection, is_given) if tree is not None else None
            tree = reading.query if reading is not None else None
            check_cost(tree, info.pictures)
            example = Example(self.record(own.id), own.path, own.digest) if own is not None else None
            results = find(self.collection, tree, limit + 1, like=example, marks=marks, offset=offset, budget=_SCANNED)
            hits = [hit_of(one) for one in results.found[:limit]]
            if reading is not None:
                said = remarks(reading, self.tagger, bool(results.found))
            more, exact = len(results.found) > limit, results.exact
        return SearchAnswer(
            query=show(tree) if tree is not None else "",
            remarks=said,
            pictures=info.pictures,
            not_read=passed,
            hits=hits,
            more=more,
            exact=exact,
            recall=info.recall,
            seconds=round(time.perf_counter() - began, 6),
        )

    def labels(self, prefix: str, limit: int) -> LabelsAnswer:
        """As `Overviews.labels`."""
        return self.overviews.labels(prefix, limit)

    def _similar(self, upload: Upload, record: Records, limit: int) -> list[Hit]:
        """Pictures like an uploaded one, copies of it first."""
        example = Example(record, digest=upload.digest)
        found = find(self.collection, None, limit, like=example, marks=self.marks.said()).found if limit else ()
        return [hit_of(one) for one in found]

    def _known(self, upload: Upload) -> Hit | None:
        """The picture of the index that has the bytes of an uploaded one."""
        pictures = OwnTags(self.collection, {}).with_digests([upload.digest])
        found = self.described([Found(picture, 1.0) for picture in islice(pictures, 1)])
        return hit_of(found[0]) if found else None

    def described(self, found: Sequence[Found]) -> tuple[Found, ...]:
        """Pictures with what people said of them."""
        return with_own(found, OwnTags(self.collection, self.marks.said()))

    def record(self, number: int) -> Records:
        """A picture's record.

        Raises:
            PictureError: `missing`.
        """
        try:
            return self.collection.index.records([number])
        except KeyError as error:
            raise PictureError("missing", _NO_PICTURE, where=str(number)) from error

    # ---- one picture

    def picture(self, number: int) -> Picture:
        """A picture by id.

        Raises:
            PictureError: `missing`.
        """
        (picture,) = self.collection.index.get([number])
        if picture is None:
            raise PictureError("missing", _NO_PICTURE, where=str(number))
        return picture

    def original(self, number: int) -> OriginalOut:
        """Where the file of a picture is, and what its parts are, so that nothing else is given out."""
        return describe_original(self.picture(number), self.folders)

    def original_of(self, number: int) -> tuple[Picture, bytes]:
        """A picture and the bytes of its file."""
        picture = self.picture(number)
        return picture, read_original(picture, self.folders)

    def digest(self, number: int) -> str:
        """SHA-256 of a picture's bytes, the version of its thumbnails.

        Raises:
            PictureError: `missing`: it is not in the index, or its file not where it was indexed.
        """
        picture = self.picture(number)
        if not is_there(picture, self.folders):
            read_original(picture, self.folders)  # it was touched: its bytes decide
        return picture.digest

    def thumbnail(self, number: int, size: int) -> bytes:
        """A picture's thumbnail."""
        return thumbnail(self.picture(number), self.folders, size)

    def details(self, number: int) -> ImageAnswer:
        """All about one picture."""
        picture, record = self.picture(number), self.record(number)
        (tags,) = self.words.best(record, _TAGS, None)
        own = self._own_keywords(picture)
        outs = marked_tags(self.tagger, tags, own, self.marks.said().get(picture.digest, {}), record)
        return image_of(picture, outs, own, self.keywords.read(picture), explains=self.tagger.bundle.explains)

    def _own_keywords(self, picture: Picture) -> tuple[str, ...]:
        """As the file and its sidecars are now."""
        try:
            return own_keywords(Path(picture.path))
        except PictureError:
            return ()

    def explain(self, number: int, labels: Sequence[str]) -> ExplainAnswer:
        """Where some tags of a picture come from."""
        picture, data = self.original_of(number)
        return self._explained(data, labels, shown(Path(picture.path).name))

    def _explained(self, data: bytes, labels: Sequence[str], name: str) -> ExplainAnswer:
        labels = list(dict.fromkeys(labels))
        return explained(Explainer(self.tagger, labels).explain(name, labels, data=data))

    # ---- an uploaded picture

    def tag(
        self, data: bytes, name: str, labels: list[str] | None, top_k: int, similar: int, explain: bool, preview: bool
    ) -> TagAnswer:
        """Tags of an uploaded picture; those that come together go through the network together."""
        upload = read_upload(data, self.tagger, name or "the upload", preview=preview)
        record = self._network.submit(upload.pixels).result()
        tags, remarks = self._tags(record, labels, top_k)
        return TagAnswer(
            width=upload.width,
            height=upload.height,
            tags=tags,
            remarks=remarks,
            known=self._known(upload),
            similar=self._similar(upload, record, similar),
            preview=upload.preview,
            explanation=self._explained(data, [tag.label for tag in tags], name) if explain else None,
        )

    def _look(self, pixels: Sequence[Float32[np.ndarray, "C H W"]]) -> list[Records]:
        """Records of prepared pixels, in one batch."""
        return list(self.tagger.network(np.stack(pixels)))

    def _tags(self, record: Records, labels: Sequence[str] | None, top_k: int) -> tuple[list[TagOut], list[str]]:
        """Tags of a picture's record, from the vocabulary or from those of some words that are known; and remarks."""
        words, remarks = self.words, list[str]()
        if labels is not None:
            learned = self.collection.learned
            known = known_labels(self.tagger, dict.fromkeys(labels, ()), remarks.append, learned, "labels")
            words = LabelRanker(self.tagger, known, learned=learned)
        (tags,) = words.best(record, top_k, None)
        return [tag_out(tag, None) for tag in tags], remarks

    # ---- what people say

    def mark(self, number: int, label: str, added: bool | None) -> ImageAnswer:
        """Keep, or take back, what a person says of a tag."""
        self.marks.put(self.picture(number).digest, label, added)
        return self.details(number)

    def write_keywords(self, number: int) -> KeywordsAnswer:
        """Write the marks of a picture into its sidecar, so that `tagprism undo` takes it back."""
        picture, _ = self.original_of(number)  # it is still the picture that the marks are about
        change = self.keywords.planned(picture)
        run, errors = self.keywords.write([change] if change.is_needed else [], {"page": picture.digest})
        if errors:
            raise errors[0]
        keywords = list(change.new.flat)
        return KeywordsAnswer(sidecar=shown(change.path.name), changed=change.is_needed, keywords=keywords, run=run)

    def undo(self, run: str) -> UndoAnswer:
        """As `KeywordWriter.undo`."""
        return self.keywords.undo(run)

    # ---- several pictures at once

    def mark_several(self, ids: list[int], label: str, added: bool | None) -> MarkedMany:
        """As `several.mark`."""
        return several.mark(self, ids, label, added)

    def write_several(self, ids: list[int]) -> KeywordsOfMany:
        """As `several.write`."""
        return several.write(self, ids)

    def export(self, ids: list[int], form: ExportForm, query: str, like: int | None) -> bytes:
        """As `several.export`."""
        return several.export(self, ids, form, query, like)


def check_cost(query: Query | None, pictures: int) -> None:
    """Refuse a query that would scan too much.

    Raises:
        InputError: it has too many labels for so many pictures.
    """
    labels, most = len(labels_of(query)) if query is not None else 0, max(_LABELS, _SCANNED // max(1, pictures))
    if labels > most:
        raise InputError(
            f"the query has {labels:,} labels; of {pictures:,} pictures at most {most:,} can be asked for at once.",
            remedy="Leave some out, or use `tagprism search`, which takes the time it needs.",
        )
