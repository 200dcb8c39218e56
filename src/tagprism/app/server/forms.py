"""What the library knows, in the form of answers. Knows neither index nor HTTP."""

from __future__ import annotations

import os
from pathlib import Path

from tagprism.app.server.answers import Asked, ExplainAnswer, Explained, Hit, TagOut
from tagprism.search.contract import Picture
from tagprism.search.find import Found
from tagprism.tagging.explain import Explanation
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
