"""What an index has learned from marks, put to use: other scoring vectors and shifts for some labels. Fits nothing.

Nothing of the model and of the index changes: without the file `learned.safetensors` all is as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tagprism.errors import InputError
from tagprism.files import read_tensors, write_tensors
from tagprism.labels.phrases import bare_phrase
from tagprism.labels.vocabulary import Vocabulary
from tagprism.progress import Progress, silent
from tagprism.tagging.tags import Tag

if TYPE_CHECKING:
    from tagprism.tagging.ranker import LabelModel
else:
    from typing import Any as LabelModel  # rankers use what was learned

_KIND, _VERSION = "learned", 1
_REMEDY = "Learn again with `tagprism learn`, or forget it with `tagprism learn --forget`; marks stay."
_LEAST = 1e-6  # a probability is that far from 0 and 1, so that its logit is finite


Stored: TypeAlias = tuple[tuple[str, float | None], ...]
"""Tags of a picture as an index stores them: (label, probability), best first."""


@dataclass(frozen=True)
class LearnedLabel:
    """What was learned of one label.

    Args:
        label: as a person wrote it.
        shift: added to the logit by which a search matches it.
        tag_shift: added to the logit of its probability as a tag, where its vector is the model's.
        line: (slope, intercept) of the score to the logit of a tag, where its vector is learned.
        vector: (Q,) its scoring vector where that was learned, else None.
    """

    label: str
    shift: float
    tag_shift: float = 0.0
    line: tuple[float, float] | None = None
    vector: Float32[np.ndarray, " Q"] | None = field(default=None, repr=False)

    def probabilities(self, scores: Float32[np.ndarray, " n"], model: Float64[np.ndarray, " n"]) -> np.ndarray:
        """Probabilities (n,) of the label as a tag, from its scores and the model's own probabilities."""
        if self.line is not None:
            slope, intercept = self.line
            logits = slope * scores.astype(np.float64) + intercept
        else:
            known = np.clip(model, _LEAST, 1 - _LEAST)
            logits = np.log(known / (1 - known)) + self.tag_shift
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)))


@dataclass(frozen=True)
class Learned:
    """What an index has learned; a label is found in any spelling.

    Args:
        labels: each with what was learned of it.
    """

    labels: tuple[LearnedLabel, ...] = ()

    @cached_property
    def _by_phrase(self) -> dict[str, LearnedLabel]:
        return {bare_phrase(one.label): one for one in self.labels}

    def find(self, label: str) -> LearnedLabel | None:
        """What was learned of a label, or None."""
        return self._by_phrase.get(bare_phrase(label))

    def vectors_of(
        self, labels: Sequence[str], tagger: LabelModel, progress: Progress = silent
    ) -> tuple[Float32[np.ndarray, "V D"], Float32[np.ndarray, "V Q"], Int64[np.ndarray, " V"]]:
        """Vectors of labels, several where a label has several; errors as `Tagger.embed`.

        Returns:
            (V, D) the model's vectors, zeros of what was learned; (V, Q) scoring vectors; (V,) the row in `labels` of
            the label that each is of, rising.
        """
        own = {at: vector for at, label in enumerate(labels) if (vector := self._vector(label)) is not None}
        others = [at for at in range(len(labels)) if at not in own]
        vectors, its = np.empty((0, tagger.vocabulary.dimension), np.float32), np.empty(0, np.int64)
        if others:
            vectors, its = tagger.embed_apart([labels[at] for at in others], progress=progress)
        owners = np.concatenate([np.array(others, np.int64)[its], np.array(list(own), np.int64)])
        vectors = np.concatenate([vectors, np.zeros((len(own), vectors.shape[1]), np.float32)])
        order = np.argsort(owners, kind="stable")
        owners, vectors = owners[order], vectors[order]
        scoring = tagger.scoring_vectors_of([labels[at] for at in owners], vectors).copy()  # it may be the tagger's own
        for row in np.flatnonzero(np.isin(owners, list(own))):
            scoring[row] = own[int(owners[row])]
        return vectors, scoring, owners

    def _vector(self, label: str) -> Float32[np.ndarray, " Q"] | None:
        return None if (one := self.find(label)) is None else one.vector

    def shifts(self, labels: Sequence[str]) -> Float64[np.ndarray, " L"]:
        """What is added to the logits of labels in a search."""
        return np.array([one.shift if (one := self.find(label)) else 0.0 for label in labels])

    def renewed(self, stored: Stored, ranked: Sequence[Tag]) -> Stored:
        """Stored tags of a picture with the probabilities that learned labels have today, as many as are stored.

        Args:
            stored: (label, probability), best first.
            ranked: the learned labels as tags of the picture.
        """
        if not ranked or ranked[0].probability is None:
            return stored
        kept = [(label, its) for label, its in stored if self.find(label) is None]
        now = [*kept, *((tag.label, tag.probability) for tag in ranked)]
        return tuple(sorted(now, key=lambda tag: -(tag[1] or 0.0))[: len(stored)])

    def own_labels(self, vocabulary: Vocabulary) -> list[str]:
        """Labels with a learned vector that a vocabulary does not have."""
        return [one.label for one in self.labels if one.vector is not None and vocabulary.find_alike(one.label) is None]

    def is_known(self, label: str) -> bool:
        """Whether a label can be scored without the model knowing it."""
        return self._vector(label) is not None

    def save(self, path: Path, digest: str) -> None:
        """Write it for a model, whole or not at all."""
        header = [[one.label, one.shift, one.tag_shift, one.line] for one in self.labels]
        tensors = {str(position): one.vector for position, one in enumerate(self.labels) if one.vector is not None}
        write_tensors(path, _KIND, _VERSION, {"digest": digest, "labels": header}, tensors)

    @classmethod
    def load(cls, path: Path, digests: Sequence[str], width: int) -> Learned | None:
        """Read what `save` wrote.

        Args:
            path: the file.
            digests: of the model, under all its names.
            width: Q of its records.

        Returns:
            What was learned, or None where that was with another model, or there is no file.

        Raises:
            InputError: the file is damaged, or of a newer version.
        """
        if not path.exists():
            return None
        try:
            header, tensors = read_tensors(path, _KIND, _VERSION)
        except InputError as error:
            raise InputError(
                f"what was learned cannot be read: {error.what}", where=str(path), remedy=_REMEDY
            ) from error
        if header.get("digest") not in digests:
            return None
        try:
            labels = tuple(
                LearnedLabel(
                    str(label),
                    float(shift),
                    float(tag_shift),
                    None if line is None else (float(line[0]), float(line[1])),
                    tensors.get(str(position)),
                )
                for position, (label, shift, tag_shift, line) in enumerate(header["labels"])
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError("what was learned is damaged.", where=str(path), remedy=_REMEDY) from error
        if any(one.vector is not None and (one.vector.shape != (width,) or one.line is None) for one in labels):
            raise InputError("what was learned is of another model.", where=str(path), remedy=_REMEDY)
        return cls(labels)
