"""What the server gives out: an index, its model, and what people said of its pictures. For threads; knows no HTTP."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32
from PIL import Image

from tagprism.app.server.answers import (
    Asked,
    ExplainAnswer,
    Explained,
    Hit,
    ImageAnswer,
    KeywordsAnswer,
    SearchAnswer,
    TagOut,
    UndoAnswer,
)
from tagprism.app.server.originals import Size, read_original, thumbnail
from tagprism.app.server.overview import Overviews
from tagprism.bundle.record import Records
from tagprism.errors import InputError, NothingToDoError, PictureError
from tagprism.images.decode import open_picture
from tagprism.keywords import journal, sidecar
from tagprism.labels.phrases import normalise_phrase
from tagprism.search.collection import Collection, is_address, read_settings
from tagprism.search.contract import Picture
from tagprism.search.find import Found, find
from tagprism.search.marks import Marks
from tagprism.search.parse import parse
from tagprism.search.query import show
from tagprism.search.similar import Example
from tagprism.tagging.explain import Explainer, Explanation
from tagprism.tagging.tags import LabelRanker, Tag

_TAGS = 12  # of one picture
_FEW = 3  # of a picture in a grid
_NO_PICTURE = "There is no picture of this number in the index."


class Library:
    """An opened index in use.

    Args:
        collection: the index and its model; loaded in full here, so that no request waits for it.
        marks: tags that people added or rejected.
        naming: which sidecars keywords go into.
    """

    def __init__(self, collection: Collection, marks: Marks, naming: sidecar.Naming) -> None:
        self.collection, self.marks, self.naming = collection, marks, naming
        self.tagger = collection.tagger
        self.words = LabelRanker(self.tagger, None)
        self.overviews = Overviews(collection.index, self.tagger.vocabulary)
        _ = self.tagger.bundle.model
        self._writing = threading.Lock()

    def close(self) -> None:
        """Let go of index and marks."""
        self.marks.close()
        self.collection.close()

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
        began = time.perf_counter()
        index = self.collection.index
        tree = parse(query) if query.strip() else None
        info, exact = index.info(), True
        if tree is None and like is None:
            ids = self.overviews.latest().ids
            pictures = index.get(ids[offset : offset + limit])
            hits, more = [_hit(one) for one in pictures if one is not None], offset + limit < len(ids)
        else:
            example = Example(self._record(like), self.picture(like).path) if like is not None else None
            results = find(self.collection, tree, offset + limit + 1, like=example, marks=self.marks)
            hits = [_hit(*_of(one)) for one in results.found[offset : offset + limit]]
            more, exact = len(results.found) > offset + limit, results.exact
        return SearchAnswer(
            query=show(tree) if tree is not None else "",
            pictures=info.pictures,
            hits=hits,
            more=more,
            exact=exact,
            recall=info.recall,
            seconds=round(time.perf_counter() - began, 6),
        )

    def similar(self, record: Records, limit: int) -> list[Hit]:
        """Pictures like one that is not in the index."""
        found = find(self.collection, None, limit, like=Example(record), marks=self.marks).found if limit else ()
        return [_hit(*_of(one)) for one in found]

    def _record(self, number: int) -> Records:
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

    def original(self, number: int) -> tuple[Picture, bytes]:
        """A picture and the bytes of its file."""
        picture = self.picture(number)
        return picture, read_original(picture, self.folders)

    def thumbnail(self, picture: Picture, size: Size) -> bytes:
        """A picture's thumbnail."""
        return thumbnail(picture, self.folders, size)

    def details(self, number: int) -> ImageAnswer:
        """All about one picture."""
        picture, record = self.picture(number), self._record(number)
        (tags,) = self.words.best(record, _TAGS, None)
        return ImageAnswer(
            id=number,
            name=shown(Path(picture.path).name),
            path=shown(picture.path),
            digest=picture.digest,
            size=picture.size,
            width=picture.width,
            height=picture.height,
            taken=picture.taken,
            tags=self._marked(tags, picture, record),
            keywords=self._keywords(picture),
            explains=self.tagger.bundle.config.places is not None,
        )

    def _marked(self, tags: Sequence[Tag], picture: Picture, record: Records) -> list[TagOut]:
        marks = {
            normalise_phrase(label): (label, added) for label, added in self.marks.of_picture(picture.digest).items()
        }
        its = {normalise_phrase(tag.label): tag for tag in tags}
        further = [label for phrase, (label, _) in marks.items() if phrase not in its]
        rows = [tag_out(tag, marks.get(phrase, ("", None))[1]) for phrase, tag in its.items()]
        rows += [self._further(label, record, mark=marks[normalise_phrase(label)][1]) for label in further]
        return sorted(rows, key=lambda row: {True: 0, None: 1, False: 2}[row.mark])

    def _further(self, label: str, record: Records, *, mark: bool) -> TagOut:
        """A tag of a person's own; one that the model cannot read has no score."""
        try:
            ((tag,),) = LabelRanker(self.tagger, [label]).best(record, 1, None)
        except InputError:
            return TagOut(label=label, score=None, probability=None, vector=None, mark=mark)
        return tag_out(tag, mark)

    def _keywords(self, picture: Picture) -> list[str] | None:
        try:
            return list(sidecar.read_keywords(Path(picture.path), self.naming).flat)
        except PictureError:
            return None

    def explain(self, number: int, labels: Sequence[str]) -> ExplainAnswer:
        """Where some tags of a picture come from."""
        picture, data = self.original(number)
        return self._explained(data, labels, shown(Path(picture.path).name))

    def _explained(self, data: bytes, labels: Sequence[str], name: str) -> ExplainAnswer:
        labels = list(dict.fromkeys(labels))
        return _explained(Explainer(self.tagger, labels).explain(name, labels, data=data))

    # ---- an uploaded picture

    def decode(self, file: BinaryIO, name: str) -> tuple[Image.Image, Float32[np.ndarray, "3 H W"]]:
        """An uploaded picture, and what the network takes of it; read here, so that few are in memory at once."""
        image = open_picture(file.read(), draft_size=self.tagger.preprocess.draft_size, where=name or "the upload")
        return image, self.tagger.preprocess.apply(image)

    def explain_upload(self, file: BinaryIO, labels: Sequence[str], name: str) -> ExplainAnswer:
        """Where some tags of an uploaded picture come from."""
        file.seek(0)
        return self._explained(file.read(), labels, name)

    def look(self, pixels: Sequence[Float32[np.ndarray, "3 H W"]]) -> list[Records]:
        """Records of prepared pixels, in one batch."""
        return list(self.tagger.network(np.stack(pixels)))

    def tags(self, record: Records, labels: Sequence[str] | None, top_k: int) -> list[TagOut]:
        """Tags of a picture's record, from the vocabulary or from some words."""
        words = self.words if labels is None else LabelRanker(self.tagger, list(dict.fromkeys(labels)))
        (tags,) = words.best(record, top_k, None)
        return [tag_out(tag, None) for tag in tags]

    # ---- what people say

    def mark(self, number: int, label: str, added: bool | None) -> ImageAnswer:
        """Keep, or take back, what a person says of a tag."""
        self.marks.put(self.picture(number).digest, label, added)
        return self.details(number)

    def write_keywords(self, number: int) -> KeywordsAnswer:
        """Write the marks of a picture into its sidecar, so that `tagprism undo` takes it back."""
        picture, _ = self.original(number)  # it is still the picture that the marks are about
        marks = self.marks.of_picture(picture.digest)
        added, rejected = ([label for label, its in marks.items() if its is kind] for kind in (True, False))
        command = {"page": picture.digest, "added": added, "rejected": rejected, "sidecar": self.naming}
        with self._writing:
            change = sidecar.plan_marks(Path(picture.path), self.naming, added, rejected)
            run = None
            if change.is_needed:
                with journal.Journal(command) as kept:
                    (error,) = sidecar.write([change], kept)
                    kept.finish()
                    run = kept.path.stem if kept.path else None
                if error is not None:
                    raise error
        keywords = list(change.new.flat)
        return KeywordsAnswer(sidecar=shown(change.path.name), changed=change.is_needed, keywords=keywords, run=run)

    def undo(self, run: str) -> UndoAnswer:
        """Take a run of `write_keywords`, or of the command line, back.

        Raises:
            NothingToDoError: there is no such run.
        """
        with self._writing:
            try:
                story, files, left = journal.undo(run)
            except InputError as error:
                raise NothingToDoError(error.what, remedy=error.remedy) from error
        return UndoAnswer(run=story.path.stem, files=files, left=[f"{shown(path)}: {why}" for path, why in left])


def shown(path: str) -> str:
    """A path as text, whatever bytes it has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def tag_out(tag: Tag, mark: bool | None) -> TagOut:
    """A tag as it is answered."""
    return TagOut(label=tag.label, score=tag.score, probability=tag.probability, vector=tag.vector, mark=mark)


def _of(found: Found) -> tuple[Picture, float, list[Asked]]:
    return found.picture, found.score, [Asked(label=tag.label, probability=tag.probability) for tag in found.tags]


def _hit(picture: Picture, match: float | None = None, asked: list[Asked] | None = None) -> Hit:
    return Hit(
        id=picture.id,
        name=shown(Path(picture.path).name),
        digest=picture.digest,
        width=picture.width,
        height=picture.height,
        taken=picture.taken,
        tags=[label for label, _ in picture.tags[:_FEW]],
        match=match,
        asked=asked or [],
    )


def _explained(explanation: Explanation) -> ExplainAnswer:
    tags = [
        Explained(
            label=why.label,
            score=why.score,
            vector=why.vector,
            vectors=list(why.vectors),
            places=[[round(float(value), 4) for value in row] for row in why.places],
            without_place=why.without_place,
        )
        for why in explanation.tags
    ]
    return ExplainAnswer(frame=explanation.frame, tags=tags)
