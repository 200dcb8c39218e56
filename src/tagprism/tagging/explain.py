"""Why a picture has a tag: which principal vector won, what each place added, and how the others would have scored.

A score is `<A_m / sd, w> + <c, v>` and `A_m` a sum over places, so places and a share without a place sum to the
score exactly. Needs no torch; draws nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32
from PIL import Image

from tagprism.bundle.bundle import Bundle
from tagprism.bundle.record import Records, score_records
from tagprism.errors import InputError
from tagprism.images.decode import MAX_PIXELS, open_picture
from tagprism.images.views import Box, view_boxes
from tagprism.tagging.ranker import label_spellings
from tagprism.tagging.tagger import Tagger
from tagprism.tagging.tags import Labels

if TYPE_CHECKING:
    from tagprism.bundle.foreign.model import ForeignModel

_TENTHS = 10  # places a side of a picture with views: their borders are at tenths


@dataclass(frozen=True, eq=False)
class TagExplanation:
    """Where the score of one label comes from.

    Args:
        label: the word or phrase.
        spelling: which of the label's spellings scored best; mostly the label itself.
        score: as the tag has it; the sum of `places` and `without_place`.
        vector: which principal vector won, 0..M-1.
        vectors: the score that each of the M vectors alone gives.
        places: (h, w) what each place added to the score or took from it; of a model with views how much better the
            views that hold the place score than the mean of all views, divided by the number of places.
        without_place: the rest of the score, which no place accounts for.
        view: (left, top, right, bottom) of the view that won, in shares of the picture; None without views.
    """

    label: str
    spelling: str
    score: float
    vector: int
    vectors: tuple[float, ...]
    places: Float32[np.ndarray, "h w"]
    without_place: float
    view: Box | None = None


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a picture has its tags.

    Args:
        path: as it was given.
        picture: upright, mode RGB; a large JPEG at reduced size.
        frame: where the grid of places lies over the picture: (left, top, right, bottom) in shares of its width and
            height; beyond 0 and 1 where the network's input was padded.
        tags: in the order asked for.
    """

    path: Path
    picture: Image.Image
    frame: tuple[float, float, float, float]
    tags: tuple[TagExplanation, ...]


def places_of(bundle: Bundle | ForeignModel) -> tuple[int, int]:
    """(h, w) places of a picture that a tag can come from.

    Raises:
        InputError: this model's network does not say where anything comes from.
    """
    if not isinstance(bundle, Bundle):
        what = "a public CLIP or SigLIP does not say where in a picture a tag comes from."
        raise InputError(what, where=bundle.layout.name, remedy="Ask for views (--views 5), or use a bundle.")
    if bundle.config.places is None or bundle.config.foreign is not None:
        raise InputError(
            "cannot say where in a picture a tag comes from: its backbone's features are not the plain mean of a "
            "feature map, or an older tagprism made it.",
            where=str(bundle.path),
            remedy="Train with a backbone that averages its last map, such as tf_efficientnet_lite0.",
        )
    return bundle.config.places


def placed_records(
    bundle: Bundle | ForeignModel, pixels: Float32[np.ndarray, "B 3 H W"]
) -> tuple[Records, Float32[np.ndarray, "B P M D"]]:
    """Records, and what each of the h * w places (row by row) adds to their rows; errors as `places_of`."""
    from tagprism.bundle.onnx_model import RecordNetwork  # it loads ONNX Runtime

    _ = places_of(bundle)
    network = bundle.model
    assert isinstance(network, RecordNetwork), "other networks have no places"
    return network.placed(pixels)


class Explainer:
    """Says why, for the pictures of one model and one list of words.

    Args:
        tagger: the model.
        labels: as for `Tagger.tag`.

    Raises:
        InputError: the bundle cannot say where a tag comes from, or a word has no vector.
    """

    def __init__(self, tagger: Tagger, labels: Labels = None) -> None:
        self.tagger = tagger
        self.grid = places_of(tagger.bundle) if tagger.bundle.views == 1 else (_TENTHS, _TENTHS)
        self._spellings = {group[0]: group for group in label_spellings(labels, tagger.vocabulary)}
        words = list(dict.fromkeys(word for group in self._spellings.values() for word in group))
        self._vectors, places = tagger.embed_apart(words)
        self._words = [words[place] for place in places]
        self._rows = {word: np.flatnonzero(places == place) for place, word in enumerate(words)}
        self._scoring_vectors = tagger.scoring_vectors_of(self._words, self._vectors)

    def explain(
        self,
        path: str | os.PathLike[str],
        names: Sequence[str],
        *,
        max_pixels: int = MAX_PIXELS,
        data: bytes | None = None,
    ) -> Explanation:
        """Explain some labels of a picture.

        Args:
            path: a picture file.
            names: some of the labels.
            max_pixels: cap on the size of the picture.
            data: the file's bytes, where they have been read; then `path` is its name alone.

        Raises:
            PictureError: the picture cannot be used.
        """
        preprocess = self.tagger.preprocess
        source, draft = path if data is None else data, preprocess.draft_size
        picture = open_picture(
            source, max_pixels=max_pixels, draft_size=draft, where=os.fsdecode(path), colour=preprocess.colour
        )
        pixels, bundle = preprocess.apply(picture)[None], self.tagger.bundle
        if bundle.views > 1:
            record, boxes = bundle.records(pixels), view_boxes(bundle.views, *picture.size)
            tags = tuple(self._by_views(name, record, boxes) for name in names)
        else:
            record, places = placed_records(bundle, pixels)
            tags = tuple(self._explain_tag(name, record, places[0]) for name in names)
        return Explanation(Path(path), picture, preprocess.frame(picture), tags)

    def _explain_tag(self, name: str, record: Records, places: Float32[np.ndarray, "P M D"]) -> TagExplanation:
        found, vector = self._scored(name, record)
        k = self.tagger.best_rows
        won = [found.vector] if k == 1 else np.argsort(-(record.rows[0] @ vector), kind="stable")[:k]
        shares = (places[:, won].mean(axis=1) @ vector).reshape(self.grid)
        return _with_places(found, shares)

    def _by_views(self, name: str, record: Records, boxes: Sequence[Box]) -> TagExplanation:
        """No gradients are needed: each view has a score of its own, the best of its rows'."""
        found, _ = self._scored(name, record)
        of_view = np.array(found.vectors, np.float32).reshape(len(boxes), -1).max(axis=1)  # (V,)
        middles = (np.arange(_TENTHS) + 0.5) / _TENTHS
        left, top, right, bottom = np.array(boxes).T[:, :, None]  # (V, 1) each
        across, down = (left < middles) & (middles < right), (top < middles) & (middles < bottom)
        holds = (down[:, :, None] & across[:, None, :]).astype(np.float32)  # (V, h, w)
        of_place = np.tensordot(of_view, holds, axes=1) / holds.sum(axis=0)  # the first view holds all
        places = (of_place - of_view.mean()) / of_place.size
        view = boxes[found.vector // (len(found.vectors) // len(boxes))]
        return replace(_with_places(found, places.astype(np.float32)), view=view)

    def _scored(self, name: str, record: Records) -> tuple[TagExplanation, Float32[np.ndarray, " D"]]:
        """The score of a label, not yet laid over places, and the vector of its best spelling."""
        spellings = self._spellings[name]
        rows = np.concatenate([self._rows[word] for word in spellings])
        vectors, scoring_vectors = self._vectors[rows], self._scoring_vectors[rows]  # (S, D), (S, Q)
        found = score_records(record, scoring_vectors, best_rows=self.tagger.best_rows)
        scores, winners = (array[0] for array in found)
        best = int(np.argmax(scores))
        score, winner = float(scores[best]), int(winners[best])
        without = float(record.shared[0] @ scoring_vectors[best][len(vectors[best]) :])
        each = tuple(map(float, record.rows[0] @ vectors[best] + without))
        nowhere = np.zeros(self.grid, np.float32)
        spelling = self._words[rows[best]]
        return TagExplanation(name, spelling, score, winner, each, nowhere, score), vectors[best]


def _with_places(found: TagExplanation, places: Float32[np.ndarray, "h w"]) -> TagExplanation:
    return replace(found, places=places, without_place=found.score - float(places.sum(dtype=np.float64)))
