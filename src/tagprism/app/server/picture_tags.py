"""The tags of one picture: the model's, with what people said of them and what they added. Knows no index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tagprism.app.server.answers import TagOut
from tagprism.app.server.forms import tag_out
from tagprism.bundle.record import Records
from tagprism.errors import InputError
from tagprism.labels.phrases import normalise_phrase
from tagprism.tagging.tagger import Tagger
from tagprism.tagging.tags import LabelRanker, Tag


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
