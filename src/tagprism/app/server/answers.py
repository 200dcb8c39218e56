"""The exact form of every answer, as the OpenAPI description has it. Knows nothing of where values come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

Probability = Annotated[float, Field(ge=0, le=1)]


class Answer(BaseModel):
    """Base of all: nothing but the fields that are named."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Error(Answer):
    """What went wrong.

    Args:
        what: one sentence.
        where: what it is about.
        remedy: what to do about it.
        column: of a query, from 1, where that is what cannot be read.
    """

    what: str
    where: str | None
    remedy: str | None
    column: int | None = None


class Errors(Answer):
    """The form of every error."""

    error: Error


class Health(Answer):
    """How the server is.

    Args:
        status: `starting`, also when the index has gone, comes with status code 503.
        version: of tagprism.
        device: where its networks run, such as `cpu`; empty while it is starting.
    """

    status: Literal["ok", "starting"]
    version: str
    device: str


class Asked(Answer):
    """A label of the query, and how likely a picture has it.

    Args:
        label: as it was asked for.
        probability: null where the model has no calibration.
    """

    label: str
    probability: Probability | None


class Hit(Answer):
    """A picture among others.

    Args:
        id: of the picture.
        name: of its file.
        digest: SHA-256 of its bytes, the version of its thumbnails.
        width: upright, in pixels.
        height: upright, in pixels.
        taken: when, as the camera says it.
        tags: the best few.
        own: tags that people gave it: on the page, or as keywords of its file.
        match: with the whole of what was asked; null where nothing was.
        likely: whether it is likely what was asked for; null where that is not known.
        asked: the labels of the query.
    """

    id: int
    name: str
    digest: str
    width: int
    height: int
    taken: str | None
    tags: list[str]
    own: list[str]
    match: Probability | None
    likely: bool | None
    asked: list[Asked]


class SearchAnswer(Answer):
    """A part of a ranking.

    Args:
        query: as it was understood, written out.
        remarks: what to know of how its words were read, such as those that are unknown.
        pictures: how many the index holds.
        not_read: where nothing was asked, what is said of files in the folders that are of kinds that are not read.
        hits: best first.
        more: whether there are pictures after these.
        exact: whether the ranking is that of all records.
        recall: measured share of the best 100 of the kept records that this index finds for one word;
            null where it is not measured yet.
        seconds: time it took.
    """

    query: str
    remarks: list[str]
    pictures: int
    not_read: str
    hits: list[Hit]
    more: bool
    exact: bool
    recall: Probability | None
    seconds: float


class TagOut(Answer):
    """One tag of a picture.

    Args:
        label: the word or phrase.
        score: comparable between pictures.
        probability: calibrated, or null where the model has no calibration; 1 or 0 where a person said so.
        vector: the principal vector that fired, from 0; null for a tag that a person added.
        mark: true when a person added it, false when a person rejected it.
        also: other likely names of the same thing.
    """

    label: str
    score: float | None
    probability: Probability | None
    vector: int | None
    mark: bool | None
    also: list[str] = []


class ImageAnswer(Answer):
    """One picture.

    Args:
        id: of the picture.
        name: of its file.
        path: of its file.
        digest: SHA-256 of its bytes.
        size: in bytes.
        width: upright, in pixels.
        height: upright, in pixels.
        taken: when, as the camera says it.
        taken_from: what says so, such as `EXIF:DateTimeOriginal` or `file name`.
        camera: maker and model, or empty.
        rating: stars, 0 to 5, or -1 for rejected.
        tags: best first.
        own: keywords that people gave its file, in it or in a sidecar; they win over the model.
        keywords: in its sidecar that tagprism wrote or a person chose; null where the sidecar cannot be read.
        explains: whether the model can say where a tag comes from.
    """

    id: int
    name: str
    path: str
    digest: str
    size: int
    width: int
    height: int
    taken: str | None
    taken_from: str
    camera: str
    rating: int | None
    tags: list[TagOut]
    own: list[str]
    keywords: list[str] | None
    explains: bool


class OriginalOut(Answer):
    """The file of a picture, for the server alone.

    Args:
        path: real and absolute, its bytes in hex.
        name: of the file as it was indexed, its bytes in hex.
        parts: BLAKE2b of each part of `originals.PART` bytes.
        size: in bytes.
    """

    path: str
    name: str
    parts: list[str]
    size: int


class Explained(Answer):
    """Where the score of one label comes from; `places` and `without_place` sum to `score`.

    Args:
        label: as it was asked for.
        score: of the label.
        vector: the principal vector that fired, from 0.
        vectors: the score that each vector alone gives.
        places: what each place added, in rows.
        without_place: what no place accounts for.
    """

    label: str
    score: float
    vector: int
    vectors: list[float]
    places: list[list[float]]
    without_place: float


class ExplainAnswer(Answer):
    """Why a picture has some tags.

    Args:
        frame: where the places lie over the upright picture: left, top, right, bottom in shares of its sides.
        tags: in the order asked for.
    """

    frame: tuple[float, float, float, float]
    tags: list[Explained]


class TagAnswer(Answer):
    """Tags of an uploaded picture, which is not kept.

    Args:
        width: upright, in pixels; of a large JPEG, which is decoded at reduced size, fewer than it has.
        height: likewise.
        tags: best first.
        remarks: which of the words that were given are unknown, and so left out.
        known: the picture of the index that has the very same bytes, or null.
        similar: pictures of the index that are most like it, as many as asked for.
        preview: the picture as a JPEG in a `data:` address, where that was asked for.
        explanation: where the tags come from, where that was asked for.
    """

    width: int
    height: int
    tags: list[TagOut]
    remarks: list[str]
    known: Hit | None
    similar: list[Hit]
    preview: str | None
    explanation: ExplainAnswer | None


class LabelOut(Answer):
    """A label of the vocabulary.

    Args:
        label: its name.
        pictures: in how many pictures it is a likely tag, or among the best where there are no probabilities.
        trained: whether the model was trained on it.
    """

    label: str
    pictures: int
    trained: bool


class LabelsAnswer(Answer):
    """Labels that go on as asked.

    Args:
        known: whether the model knows every word that was asked as it stands, whatever else goes on so.
        labels: the likeliest first.
        near: labels spelt most alike, where none goes on so.
    """

    known: bool
    labels: list[LabelOut]
    near: list[str]


class MarkIn(Answer):
    """A person's word on a tag.

    Args:
        label: any phrase.
        mark: true adds it, false rejects it, null takes the word back.
    """

    label: Annotated[str, Field(min_length=1, max_length=200)]
    mark: StrictBool | None


class KeywordsAnswer(Answer):
    """What became of a sidecar.

    Args:
        sidecar: its file name.
        changed: whether it had to be written.
        keywords: all that it holds now.
        run: name for `tagprism undo NAME`, and to take it back here; null when nothing was written.
    """

    sidecar: str
    changed: bool
    keywords: list[str]
    run: str | None


class UndoAnswer(Answer):
    """What was taken back.

    Args:
        run: name of the run.
        files: how many sidecars are as they were before the run, new ones removed.
        left: sidecars left alone, each with the reason.
    """

    run: str
    files: int
    left: list[str]


ExportForm = Literal["paths", "csv", "jsonl", "album"]


class MarkedMany(Answer):
    """What became of a word on several pictures.

    Args:
        pictures: how many were there to be marked.
    """

    pictures: int


class KeywordsOfMany(Answer):
    """What became of the sidecars of several pictures.

    Args:
        written: how many were written.
        left: pictures left alone, each with the reason.
        run: name for `tagprism undo NAME`, and to take all of it back here; null when nothing was written.
    """

    written: int
    left: list[str]
    run: str | None
