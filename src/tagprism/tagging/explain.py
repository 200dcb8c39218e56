"""Why a picture has a tag: which principal vector won, what each place added, and how the others would have scored.

A score is `<A_m / sd, w> + <c, v>` and `A_m` a sum over places, so places and a share without a place sum to the
score exactly. Needs no torch; draws nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from tagprism.bundle.record import Records
from tagprism.bundle.score import score_records
from tagprism.images.decode import MAX_PIXELS, open_picture
from tagprism.tagging.tagger import Tagger
from tagprism.tagging.tags import Labels, label_spellings


@dataclass(frozen=True, eq=False)
class TagExplanation:
    """Where the score of one label comes from.

    Args:
        label: the word or phrase.
        spelling: which of the label's spellings scored best; mostly the label itself.
        score: as the tag has it; the sum of `places` and `without_place`.
        vector: which principal vector won, 0..M-1.
        vectors: the score that each of the M vectors alone gives.
        places: (h, w) what each place added to the score or took from it.
        without_place: the rest of the score, which no place accounts for.
    """

    label: str
    spelling: str
    score: float
    vector: int
    vectors: tuple[float, ...]
    places: Float32[np.ndarray, "h w"]
    without_place: float


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


class Explainer:
    """Says why, for the pictures of one model and one list of words.

    Args:
        tagger: the model.
        labels: as for `Tagger.tag`.

    Raises:
        InputError: the bundle cannot say where a tag comes from, or a word has no vector.
    """

    def __init__(self, tagger: Tagger, labels: Labels = None) -> None:
        self.tagger, self.grid = tagger, tagger.bundle.places
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
        picture = open_picture(source, max_pixels=max_pixels, draft_size=draft, where=os.fsdecode(path))
        record, places = self.tagger.bundle.placed_records(preprocess.apply(picture)[None])
        tags = tuple(self._explain_tag(name, record, places[0]) for name in names)
        return Explanation(Path(path), picture, preprocess.frame(picture), tags)

    def _explain_tag(self, name: str, record: Records, places: Float32[np.ndarray, "P M D"]) -> TagExplanation:
        spellings = self._spellings[name]
        rows = np.concatenate([self._rows[word] for word in spellings])
        vectors, scoring_vectors = self._vectors[rows], self._scoring_vectors[rows]  # (S, D), (S, Q)
        k = self.tagger.best_rows
        scores, winners = (array[0] for array in score_records(record, scoring_vectors, best_rows=k))
        best = int(np.argmax(scores))
        score, winner = float(scores[best]), int(winners[best])
        won = [winner] if k == 1 else np.argsort(-(record.rows[0] @ vectors[best]), kind="stable")[:k]
        shares = (places[:, won].mean(axis=1) @ vectors[best]).reshape(self.grid)
        rest = score - float(shares.sum(dtype=np.float64))
        without = float(record.shared[0] @ scoring_vectors[best][len(vectors[best]) :])
        each = tuple(map(float, record.rows[0] @ vectors[best] + without))
        return TagExplanation(name, self._words[rows[best]], score, winner, each, shares, rest)
