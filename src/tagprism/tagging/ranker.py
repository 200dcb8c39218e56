"""Words and records in, ranked labels out: a model's word vectors, and what it makes of them. Knows no pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int64, Integer

from tagprism.bundle.bundle import Bundle
from tagprism.bundle.config import CALIBRATION
from tagprism.bundle.record import Records, score_records, scoring_vectors
from tagprism.errors import InputError
from tagprism.files import state_path
from tagprism.labels.phrases import SMALL_WORDS, normalise_phrase
from tagprism.labels.vocabulary import Vocabulary
from tagprism.progress import Progress, silent
from tagprism.tagging.calibration import Calibration
from tagprism.tagging.tags import Labels, SameThing, Tag, best_spellings
from tagprism.tagging.unknown import no_vectors

if TYPE_CHECKING:  # and imported where they are needed: for words of the vocabulary alone none of them is
    from tagprism.bundle.foreign.model import ForeignModel
    from tagprism.labels.label_space import LabelSpace
    from tagprism.tagging.learned import Learned

_POOL = 8  # times as many labels as are wanted are looked at for names of the same thing
_WORDS = 1000  # phrases embedded at once: some seconds of work


class LabelModel:
    """What a model knows of words and phrases, and of their probabilities.

    Args:
        bundle: an opened bundle or foreign model.
    """

    def __init__(self, bundle: Bundle | ForeignModel) -> None:
        self.bundle = bundle
        self.vocabulary: Vocabulary = bundle.vocabulary

    @cached_property
    def own_calibration(self) -> Path | None:
        """The file of the probabilities that a person fitted with `tagprism models calibrate`; None without."""
        file = own_calibration_file(self.bundle.digest)
        return file if file.is_file() else None

    @property
    def best_rows(self) -> int:
        """How many of a picture's rows a label's score is the mean of; 1 is the maximum."""
        return self.bundle.config.best_rows

    @property
    def calibrated(self) -> bool:
        """Whether tags carry probabilities."""
        return self.own_calibration is not None or self.bundle.config.calibration is not None

    @cached_property
    def calibration(self) -> Calibration | None:
        """What makes probabilities of scores: a person's own, else the bundle's; None where there is neither."""
        if self.own_calibration is not None:
            from tagprism.tagging.own_calibration import read_own

            return read_own(self.own_calibration, self.bundle)[0]
        return self.built_in_calibration

    @property
    def built_in_calibration(self) -> Calibration | None:
        """What the bundle itself brings, or None."""
        bundle = self.bundle
        if bundle.config.calibration is None:
            return None
        return Calibration.load(
            bundle.path / CALIBRATION, bundle.config.dimension, bundle.class_affinity, self.best_rows
        )

    @cached_property
    def label_space(self) -> LabelSpace | None:
        """The transform and encoders of the training, or None where an encoder or the whole of `text/` is absent."""
        if not isinstance(self.bundle, Bundle):
            return self.bundle.label_space
        from tagprism.tagging.text_encoders import open_label_space

        return open_label_space(self.bundle)

    def embed(self, labels: Sequence[str], *, progress: Progress = silent) -> Float32[np.ndarray, "L D"]:
        """Vectors (L, D) of words and phrases: stored ones where the vocabulary has them, else by the text encoders.

        Args:
            labels: words and phrases, any number.
            progress: told of those that go through the encoders, where these are many.

        Raises:
            InputError: phrases that nothing here can embed, with the nearest known ones.
        """
        rows = {label: self.vocabulary.find_alike(label) for label in labels}
        vectors = {label: self.vocabulary.vectors[row] for label, row in rows.items() if row is not None}
        new = [label for label, row in rows.items() if row is None]
        if new:
            if self.label_space is None:
                raise no_vectors(self, new)
            with (progress if len(new) > _WORDS else silent)("reading words", len(new)) as advance:
                for start in range(0, len(new), _WORDS):
                    some = new[start : start + _WORDS]
                    vectors |= dict(zip(some, self.label_space.embed(some).vectors, strict=True))
                    advance(len(some))
        return np.stack([vectors[label] for label in labels]).astype(np.float32)

    def unknown(self, labels: Iterable[str]) -> list[str]:
        """Words and phrases that hold a word which is unknown here (`unknown_words`)."""
        return [label for label in labels if self.unknown_words(label)]

    def unknown_words(self, label: str) -> list[str]:
        """The words of a phrase that neither the vocabulary holds, alone or in a name, nor a text encoder here knows.

        Where no encoder is here it is the whole phrase. The list is empty where the phrase is known.
        """
        if self._knows(label):
            return []
        words = [word for word in label.split() if any(map(str.isalpha, word)) and word.lower() not in SMALL_WORDS]
        if self.label_space is None or not words:
            return [label]
        named = self.vocabulary.words_of_names
        return [word for word in words if not self._knows(word) and normalise_phrase(word) not in named]

    def _knows(self, phrase: str) -> bool:
        if self.vocabulary.find_alike(phrase) is not None:
            return True
        return self.label_space is not None and any(one.knows(phrase) for one in self.label_space.encoders.values())

    def embed_apart(
        self, labels: Sequence[str], *, progress: Progress = silent
    ) -> tuple[Float32[np.ndarray, "V D"], Int64[np.ndarray, " V"]]:
        """Vectors (V, D) of words and phrases, all of those that have several, and the position of each one's label.

        Arguments and errors as for `embed`.
        """
        words, vectors = self.vocabulary, self.embed(labels, progress=progress)
        if not words.several:
            return vectors, np.arange(len(labels))
        names = ["" if (row := words.find_alike(label)) is None else words.names[row] for label in labels]
        own = [words.several.get(name, vectors[at : at + 1]) for at, name in enumerate(names)]
        return np.concatenate(own), np.repeat(np.arange(len(labels)), [len(one) for one in own])

    def scoring_vectors(self, labels: Sequence[str]) -> Float32[np.ndarray, "L Q"]:
        """What scores words and phrases on records (`bundle.record`); errors as for `embed`."""
        return self.scoring_vectors_of(labels, self.embed(labels))

    def scoring_vectors_of(
        self, labels: Sequence[str], vectors: Float32[np.ndarray, "L D"]
    ) -> Float32[np.ndarray, "L Q"]:
        """The same, for labels whose vectors are at hand."""
        classes = self.bundle.class_affinity
        if classes is None:
            return scoring_vectors(vectors)
        words = self.vocabulary
        if tuple(labels) == words.names and np.array_equal(vectors, words.vectors):
            return self._vocabulary_scoring_vectors
        return scoring_vectors(vectors, classes, np.array(words.roles_of(labels)) == "seen")

    @cached_property
    def _vocabulary_scoring_vectors(self) -> Float32[np.ndarray, "L Q"]:
        """Those of the whole vocabulary: half a second's work for each call of `tag` of a program."""
        words = self.vocabulary
        found = scoring_vectors(words.vectors, self.bundle.class_affinity, np.array(words.roles) == "seen")
        found.flags.writeable = False
        return found


def own_calibration_file(digest: str) -> Path:
    """Where a model's own calibration is, by the model's digest; beside what must not be lost."""
    return state_path("calibrations") / f"{digest}.safetensors"


def label_spellings(labels: Labels, vocabulary: Vocabulary) -> list[tuple[str, ...]]:
    """The labels that pictures are tagged with, each with its other spellings after it.

    Args:
        labels: as they were given.
        vocabulary: of the model.

    Raises:
        InputError: no labels, or what is no text.
    """
    given: object = vocabulary.names if labels is None else (labels,) if isinstance(labels, str) else labels
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise InputError(f"labels are words, not {given!r}.", remedy="Give a list of words.")
    found = []
    for name, others in given.items() if isinstance(given, Mapping) else ((name, ()) for name in given):
        several = isinstance(others, Iterable) and not isinstance(others, str | bytes)
        group = (name, *(others if several else (others,)))
        if strange := [word for word in group if not isinstance(word, str)]:
            raise InputError(f"labels are words, not {strange[0]!r}.", remedy="Give a list of words.")
        found.append(group)
    if not found:
        raise InputError("there are no labels to choose from.", remedy="Give at least one word.")
    return found


def label_vectors(
    labels: Sequence[str], tagger: LabelModel, learned: Learned | None, progress: Progress = silent
) -> tuple[Float32[np.ndarray, "V D"], Float32[np.ndarray, "V Q"], Int64[np.ndarray, " V"]]:
    """Vectors (V, D) of labels, scoring vectors (V, Q), and the positions (V,) in `labels` of those that they are of.

    A label may have several; those of one stand together. Errors as for `Tagger.embed`.
    """
    if learned is not None:
        return learned.vectors_of(labels, tagger, progress)
    vectors, owners = tagger.embed_apart(labels, progress=progress)
    return vectors, tagger.scoring_vectors_of([labels[at] for at in owners], vectors), owners


class LabelRanker:
    """Ranks labels for pictures; a label has the best of its spellings' scores.

    Args:
        tagger: embeds the labels, and has the calibration.
        labels: one, several, or labels with their other spellings; the vocabulary when None.
        progress: told of words that go through the encoders, where these are many.
        learned: what an index knows better of some labels; its own labels join the vocabulary.
        all_names: give every name of a thing. Else, of a large vocabulary, the one that is likely and common
            (`SameThing`); labels that were given are never left out.

    Attributes:
        names: of the labels.
        words: these with all their other spellings.

    Raises:
        InputError: no labels, or labels without a vector.
    """

    def __init__(
        self,
        tagger: LabelModel,
        labels: Labels,
        progress: Progress = silent,
        learned: Learned | None = None,
        *,
        all_names: bool = False,
    ) -> None:
        spellings = label_spellings(labels, tagger.vocabulary)
        if learned and labels is None:
            spellings += [(one,) for one in learned.own_labels(tagger.vocabulary)]
        self.names = tuple(group[0] for group in spellings)
        flat = [spelling for group in spellings for spelling in group]
        self.words = tuple(flat)
        vectors, self._scoring_vectors, positions = label_vectors(flat, tagger, learned, progress)
        flat = [flat[position] for position in positions]
        self._learned = [(row, one) for row, word in enumerate(flat) if learned and (one := learned.find(word))]
        self._best_rows = tagger.best_rows
        calibration = tagger.calibration
        self._calibrated = calibration.of_labels(flat, vectors, tagger.vocabulary) if calibration is not None else None
        known = tagger.vocabulary.names if labels is None else ()
        strange = set(tagger.unknown(set(flat).difference(known))) if self._calibrated else ()
        self._strange = [row for row, spelling in enumerate(flat) if spelling in strange]
        of_spelling = np.repeat(np.arange(len(spellings)), [len(group) for group in spellings])
        sizes = np.bincount(of_spelling[positions])
        self._starts = None if sizes.max() == 1 else np.concatenate([[0], np.cumsum(sizes[:-1])])  # (L,)
        self._things: SameThing | None = None
        large = "other" in tagger.vocabulary.roles
        if labels is None and not all_names and large and self._calibrated and len(flat) == len(spellings):
            self._things = SameThing.of(tagger.vocabulary, self._scoring_vectors, tagger.bundle.class_affinity)

    def best(
        self, records: Records, top_k: int | None, min_probability: float | None, min_score: float | None = None
    ) -> list[tuple[Tag, ...]]:
        """Tags of B pictures, best first: by probability where there are probabilities, else by score.

        The least probability is for a model that has them, the least score for one that has none.
        """
        at_least = min_score if self._calibrated is None else min_probability
        scores, winners = score_records(records, self._scoring_vectors, best_rows=self._best_rows)
        chances = None if self._calibrated is None else self._calibrated.probabilities(records, scores)
        if chances is not None:
            chances[:, self._strange] = 0.0  # before the learned ones: those are known by their pictures
            for position, one in self._learned:
                chances[:, position] = one.probabilities(scores[:, position], chances[:, position])
        if self._starts is not None:
            pairs = [best_spellings(*of_one, self._starts) for of_one in zip(scores, winners, strict=True)]
            scores, winners = np.stack([one for one, _ in pairs]), np.stack([other for _, other in pairs])
            chances = None if chances is None else np.maximum.reduceat(chances, self._starts, axis=1)
        return [
            self._tags(scores[row], None if chances is None else chances[row], winners[row], top_k, at_least)
            for row in range(len(scores))
        ]

    def _tags(
        self,
        scores: Float32[np.ndarray, " L"],
        chances: Float64[np.ndarray, " L"] | None,
        winners: Integer[np.ndarray, " L"],
        top_k: int | None,
        at_least: float | None,
    ) -> tuple[Tag, ...]:
        ranked = scores if chances is None else chances
        bounded = top_k is not None or at_least is not None
        things = self._things if bounded else None
        wanted = top_k if top_k is None or things is None else _POOL * top_k
        ranked = ranked if things is None else things.with_synonyms(ranked)
        at_least = -np.inf if at_least is None else at_least
        if wanted is not None and wanted < len(
            ranked
        ):  # a full sort of thousands of labels costs more than the network
            at_least = max(at_least, np.partition(ranked, -wanted)[-wanted])
        kept = np.flatnonzero(ranked >= at_least)
        order = kept[np.lexsort((-scores[kept], -ranked[kept]))][:wanted]  # stable: on a tie of both the earlier label
        groups = [[position] for position in range(len(order))]
        if things is not None:
            groups = sorted(things.groups(order, ranked[order].astype(np.float64)), key=lambda group: group[0])
        return tuple(
            Tag(
                self.names[i],
                float(scores[i]),
                None if chances is None else float(ranked[i]),
                int(winners[i]),
                tuple(self.names[order[position]] for position in group[1:]),
            )
            for group in groups[:top_k]
            for i in order[group[:1]]
        )
