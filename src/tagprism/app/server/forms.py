"""What the library knows, in the form of answers. Knows neither index nor HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tagprism.app.server.answers import Asked, ExplainAnswer, Explained, Hit, ImageAnswer, TagOut
from tagprism.bundle.record import Records
from tagprism.errors import InputError
from tagprism.labels.phrases import normalise_phrase
from tagprism.search.contract import Picture
from tagprism.search.results import Found
from tagprism.tagging.explain import Explanation
from tagprism.tagging.ranker import LabelRanker
from tagprism.tagging.tagger import Tagger
from tagprism.tagging.tags import Tag

_FEW = 3  # tags of a picture in a grid
_ALSO = 12  # further names of a thing


def shown(path: str) -> str:
    """A path as text, whatever bytes it has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def tag_out(tag: Tag, mark: bool | None, *, own: bool = False) -> TagOut:
    """A tag as it is answered; what people said of it wins over the model.

    Args:
        tag: of the model.
        mark: what a person said of it on the page.
        own: whether it is a keyword of the file.
    """
    said = mark if mark is not None else True if own else None
    probability = tag.probability if said is None else float(said)
    also = list(tag.also[:_ALSO])
    return TagOut(label=tag.label, score=tag.score, probability=probability, vector=tag.vector, mark=mark, also=also)


def marked_tags(
    tagger: Tagger,
    tags: Sequence[Tag],
    own: Sequence[str],
    said: Mapping[str, tuple[str, bool]],
    record: Records,
) -> list[TagOut]:
    """A picture's tags: those that a person added, then the model's, then those that a person rejected.

    Args:
        tagger: the model.
        tags: its best tags.
        own: keywords of the file.
        said: marks of the picture, by normalised label: the label as written, added?
        record: of the picture.
    """
    its, keywords = {normalise_phrase(tag.label): tag for tag in tags}, set(map(normalise_phrase, own))
    further = [label for phrase, (label, _) in sorted(said.items()) if phrase not in its]
    its |= {normalise_phrase(tag.label): tag for tag in _scored(tagger, further, record)}
    marks: dict[str, bool | None] = {phrase: added for phrase, (_, added) in said.items()}
    rows = [tag_out(tag, marks.get(phrase), own=phrase in keywords) for phrase, tag in its.items()]
    rows += [
        TagOut(label=label, score=None, probability=float(added), vector=None, mark=added)
        for phrase, (label, added) in sorted(said.items())
        if phrase not in its
    ]
    return sorted(rows, key=lambda row: {True: 0, None: 1, False: 2}[row.mark])


def _scored(tagger: Tagger, labels: list[str], record: Records) -> list[Tag]:
    """Labels of a person's own, all embedded at once; those that the model cannot read are left out."""
    if tagger.label_space is None:
        labels = [label for label in labels if tagger.vocabulary.find(label) is not None]
    if not labels:
        return []
    try:
        (tags,) = LabelRanker(tagger, labels).best(record, None, None)
    except InputError:  # one of them has no vector: each by itself
        return [] if len(labels) == 1 else [tag for label in labels for tag in _scored(tagger, [label], record)]
    order = {label: place for place, label in enumerate(labels)}
    return sorted(tags, key=lambda tag: order[tag.label])


def hit_of(found: Found, *, matched: bool = True) -> Hit:
    """A found picture; not `matched` where nothing was asked."""
    picture: Picture = found.picture
    return Hit(
        id=picture.id,
        name=shown(Path(picture.path).name),
        digest=picture.digest,
        width=picture.width,
        height=picture.height,
        taken=picture.taken,
        tags=[label for label, _ in picture.tags[:_FEW]],
        own=list(found.own),
        match=found.score if matched else None,
        likely=found.likely,
        asked=[Asked(label=tag.label, probability=tag.probability) for tag in found.tags],
    )


def image_of(
    picture: Picture, tags: list[TagOut], own: Sequence[str], keywords: list[str] | None, *, explains: bool
) -> ImageAnswer:
    """All about one picture.

    Args:
        picture: as the index knows it.
        tags: as `marked_tags` gives them.
        own: keywords of the file and its sidecar.
        keywords: of its sidecar; None where that cannot be read.
        explains: whether the model says where tags come from.
    """
    return ImageAnswer(
        id=picture.id,
        name=shown(Path(picture.path).name),
        path=shown(picture.path),
        digest=picture.digest,
        size=picture.size,
        width=picture.width,
        height=picture.height,
        taken=picture.taken,
        taken_from=picture.taken_from,
        camera=picture.camera,
        rating=picture.rating,
        tags=tags,
        own=list(own),
        keywords=keywords,
        explains=explains,
    )


def explained(explanation: Explanation) -> ExplainAnswer:
    """Where tags come from."""
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
