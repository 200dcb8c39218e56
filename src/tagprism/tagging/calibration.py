"""From scores to probabilities, for any label. Knows only arrays and phrases; it is fitted in `training.calibrate`.

A score says how a label stands in one picture. What it is worth differs by label: `outdoors` is high everywhere. So
a score is set against the same label's scores over a fixed collection of other pictures (the background, whose
records are kept in the bundle; any label can be scored there), and a monotone map makes a probability of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Integer

from tagprism.bundle.record import ClassAffinity, Records, score_records, scoring_vectors
from tagprism.errors import InputError
from tagprism.files import read_tensors, write_tensors
from tagprism.labels.phrases import other_names
from tagprism.labels.vocabulary import Role, Vocabulary

if TYPE_CHECKING:
    from tagprism.tagging.phrase_calibration import PhraseParts
else:
    from typing import Any as PhraseParts  # which are made of calibrations

KIND, VERSION = "calibration", 4
"""Version 1 kept the background with the shared numbers in every row, 2 had no words, 3 no weights of the first shared
number."""
_WITHOUT_WEIGHTS = 3
_CHUNK = 2048  # labels whose scores over the background are held at once
_ABOVE = 1 + 1e-4  # a `person` comes before the `man` who is one, though float32 scores them a little differently
_LEAST_DEVIATION = 1e-3  # a label that scores alike everywhere says nothing; nothing is divided by zero
FEATURES = ("deviations above the label's mean", "score", "best score of a trained label in the picture")


@dataclass(frozen=True)
class MonotoneMap:
    """Features of (picture, label) pairs to probabilities; never falls with the score.

    A weighted sum of the features, then a rising line of straight pieces to the logit.

    Args:
        weights: one per feature; those of the first two (which rise with the score) are not negative.
        knots: where the pieces meet, rising; the first and last piece go on beyond the ends.
        logits: the logit at each knot, never falling.
    """

    weights: Float64[np.ndarray, " F"]
    knots: Float64[np.ndarray, " K"]
    logits: Float64[np.ndarray, " K"]

    def __call__(
        self, features: Float[np.ndarray, "n F"], offsets: Float[np.ndarray, " n"] | float = 0.0
    ) -> Float64[np.ndarray, " n"]:
        """Probabilities (n,), each in 0..1; `offsets` are added to the weighted sums."""
        probabilities: Float64[np.ndarray, " n"] = 0.5 * (1 + np.tanh(self.logits_of(features, offsets) / 2))
        return probabilities

    def logits_of(
        self, features: Float[np.ndarray, "n F"], offsets: Float[np.ndarray, " n"] | float = 0.0
    ) -> Float64[np.ndarray, " n"]:
        """The logits (n,) of these probabilities."""
        sums, logits = features.astype(np.float64) @ self.weights + offsets, self.logits
        first, last = np.diff(logits[:2]) / np.diff(self.knots[:2]), np.diff(logits[-2:]) / np.diff(self.knots[-2:])
        inside = np.interp(sums, self.knots, logits)
        below, above = np.minimum(sums - self.knots[0], 0), np.maximum(sums - self.knots[-1], 0)
        found: Float64[np.ndarray, " n"] = inside + first * below + last * above
        return found


@dataclass(frozen=True)
class WordKnowledge:
    """What is known of words and of pictures apart from the scores.

    Args:
        offsets: (L,) what a word of the vocabulary adds to the weighted sums, by how often people use it of photos.
        other_offset: the same for all other words.
        familiar: (D + S + 1,) a logistic regression on the mean row, the shared numbers and 1: whether a picture is of
            a kind that was trained on. Probabilities are multiplied by it.
        shared_weights: (L,) what the first shared number, `-mu / sd` of the labels trained on, counts in the weighted
            sum of a word of the vocabulary; it is lower where nobody is, so words for people have one.
        kinds: (n, 2) rows of the vocabulary: a label, and a kind of it; who is a `man` is a `person`. A label is at
            least as probable as that one of its kinds is there: the mean of what this is if the kinds always come
            together (the largest probability) and if they come independently.
    """

    offsets: Float32[np.ndarray, " L"]
    other_offset: float
    familiar: Float32[np.ndarray, " Q1"]
    kinds: Int32[np.ndarray, "n 2"]
    shared_weights: Float32[np.ndarray, " L"]

    def familiarity(self, records: Records) -> Float64[np.ndarray, " B"]:
        """How probably each picture is of a kind that was trained on (B,), 0..1."""
        parts = records.rows.mean(axis=1, dtype=np.float32), records.shared.astype(np.float32, copy=False)
        sums = np.concatenate(parts, axis=1) @ self.familiar[:-1] + self.familiar[-1]
        found: Float64[np.ndarray, " B"] = 0.5 * (1 + np.tanh(sums.astype(np.float64) / 2))
        return found


@dataclass(frozen=True)
class Calibration:
    """What makes probabilities of scores.

    Args:
        background: records of b training pictures, float16.
        maps: by role: `seen` for labels trained on; `other` for the further words of a large vocabulary, few of which
            any picture has; `unseen` for all else.
        statistics: (L, 2) mean and deviation of the vocabulary's labels over the background, so that using it costs
            nothing.
        classes: affinities of labels to the classes of the bundle's class columns; None where it has none.
        words: what is known apart from the scores; None where nothing is.
        best_rows: of the bundle's scores, as `score_records` takes it.
    """

    background: Records
    maps: dict[Role, MonotoneMap]
    statistics: Float32[np.ndarray, "L 2"]
    classes: ClassAffinity | None = None
    words: WordKnowledge | None = None
    best_rows: int = 1

    def shared_weights_of(self, labels: Sequence[str], vocabulary: Vocabulary) -> Float32[np.ndarray, " L"]:
        """What the first shared number counts for labels (`WordKnowledge`), beside a score that counts 1."""
        rows = np.array([-1 if (row := vocabulary.find_alike(label)) is None else row for label in labels], int)
        if self.words is None or not self.maps["seen"].weights[1]:
            return np.zeros(len(labels), np.float32)
        weights = np.append(self.words.shared_weights, 0.0)[rows] / self.maps["seen"].weights[1]
        found: Float32[np.ndarray, " L"] = weights.astype(np.float32)
        return found

    def usual_best(self, vocabulary: Vocabulary) -> float:
        """Mean over the background of the best score of a label trained on."""
        reference = reference_vectors(vocabulary, self.classes)
        return float(score_records(self.background, reference, best_rows=self.best_rows)[0].max(axis=1).mean())

    def save(self, path: Path, **notes: Any) -> None:
        """Write it, whole or not at all, with notes (JSON values) in its header."""
        tensors = {"rows": self.background.rows, "shared": self.background.shared, "statistics": self.statistics}
        for name, its in self.maps.items():
            tensors |= {f"{name}_weights": its.weights, f"{name}_knots": its.knots, f"{name}_logits": its.logits}
        if self.words is not None:
            tensors |= {"offsets": self.words.offsets, "other_offset": np.array([self.words.other_offset], np.float32)}
            tensors |= {name: getattr(self.words, name) for name in ("familiar", "kinds", "shared_weights")}
        version = VERSION if "shared_weights" in tensors else _WITHOUT_WEIGHTS  # which older programs read, too
        write_tensors(path, KIND, version, {"features": list(FEATURES), **notes}, tensors)

    @classmethod
    def load(cls, path: Path, dimension: int, classes: ClassAffinity | None = None, best_rows: int = 1) -> Calibration:
        """Read what `save` wrote; D and the class affinities are the bundle's and stored elsewhere.

        Raises:
            InputError: the file is absent, damaged or of a newer format.
        """
        header, tensors = read_tensors(path, KIND, VERSION)
        try:
            maps = {
                role: MonotoneMap(*(tensors[f"{role}_{part}"] for part in ("weights", "knots", "logits")))
                for role in get_args(Role)
            }
            if header["version"] == 1:
                background = Records.from_copies(tensors["background"], dimension)
            else:
                background = Records(tensors["rows"], tensors["shared"])
            words = None
            if "offsets" in tensors:
                other = float(tensors["other_offset"].item())
                shared = tensors["shared_weights"] if header["version"] > 3 else np.zeros_like(tensors["offsets"])
                words = WordKnowledge(tensors["offsets"], other, tensors["familiar"], tensors["kinds"], shared)
            return cls(background, maps, tensors["statistics"], classes, words, best_rows)
        except KeyError as error:
            raise InputError(f"the calibration lacks {error}.", where=str(path), remedy="Copy it again.") from error

    def of_labels(
        self, labels: Sequence[str], vectors: Float32[np.ndarray, "L D"], vocabulary: Vocabulary
    ) -> LabelCalibration:
        """Get ready for a list of labels.

        Args:
            labels: words and phrases, known or not.
            vectors: (L, D) their vectors.
            vocabulary: of the bundle; a label that is another spelling of a trained one counts as trained on.
        """
        reference = reference_vectors(vocabulary, self.classes)
        roles = np.array(vocabulary.roles_of(labels))
        if tuple(labels) == vocabulary.names:  # all is known, thousands of labels in no time
            return self._of_rows(np.arange(len(labels)), self.statistics, roles, reference, vocabulary)
        if not vocabulary.seen:  # a list of one's own is not the wide one, though some of its words stand there
            roles = np.full(len(labels), "unseen")
        rows = np.array([-1 if (row := vocabulary.find_alike(label)) is None else row for label in labels])
        own = (vocabulary.vectors[rows] == vectors).all(axis=1) & (rows >= 0)  # other spelling, other vector
        statistics = self.statistics[rows]
        trained = roles[~own] == "seen"
        statistics[~own] = background_statistics(
            self.background, vectors[~own], self.classes, trained, best_rows=self.best_rows
        )
        found = self._of_rows(rows, statistics, roles, reference, vocabulary)
        if self.words is not None and (rows < 0).any():
            from tagprism.tagging.phrase_calibration import phrase_parts  # for phrases alone

            found = replace(found, phrases=phrase_parts(self, labels, rows, vocabulary))
        if tuple(labels[: len(vocabulary.names)]) == vocabulary.names:  # and further ones: each name is there itself
            return found
        named = [(position, row) for position, label in enumerate(labels) for row in other_rows(label, vocabulary)]
        if not named:
            return found
        columns, others = np.array(named).T
        queries = self.queries_of(others, vocabulary)
        of_others = np.array(vocabulary.roles)[others] if vocabulary.seen else np.full(len(others), "unseen")
        its = self._of_rows(others, self.statistics[others], of_others, reference, vocabulary)
        return replace(found, other_names=(columns, queries, its))

    def trained_names(self, label: str, vocabulary: Vocabulary) -> tuple[str, ...]:
        """Labels trained on that stand for a label too: kinds (`person`: man, woman) and other names (`lorry`: truck).

        Untrained ones are left out: the scores of `automobile` say less of a picture than those of `car`.
        """
        same = [row for row in (vocabulary.find_alike(label), *other_rows(label, vocabulary)) if row is not None]
        kinds = [] if self.words is None else self.words.kinds[np.isin(self.words.kinds[:, 0], same), 1].tolist()
        rows = dict.fromkeys((*kinds, *other_rows(label, vocabulary)))
        return tuple(vocabulary.names[row] for row in rows if vocabulary.roles[row] == "seen")

    def queries_of(self, rows: Integer[np.ndarray, " n"], vocabulary: Vocabulary) -> Float32[np.ndarray, "n Q"]:
        """Scoring vectors of labels of the vocabulary."""
        trained = np.array(vocabulary.roles)[rows] == "seen"
        return scoring_vectors(vocabulary.vectors[rows], self.classes, trained)

    def _of_rows(
        self,
        rows: Integer[np.ndarray, " L"],
        statistics: Float32[np.ndarray, "L 2"],
        roles: np.ndarray,
        reference: Float32[np.ndarray, "S Q"],
        vocabulary: Vocabulary,
    ) -> LabelCalibration:
        """Labels by their rows of the vocabulary, -1 for what is not in it."""
        plain = LabelCalibration(self.maps, statistics, roles, reference, self.best_rows)
        if self.words is None:
            return plain
        known = self.words
        offsets = np.where(rows >= 0, known.offsets[rows], np.float32(known.other_offset))
        shared_weights = np.where(rows >= 0, known.shared_weights[rows], np.float32(0))
        kinds = []
        for label in sorted({*known.kinds[:, 0].tolist()}):  # `np.unique` loads masked arrays, for 20 ms
            of_it = known.kinds[known.kinds[:, 0] == label, 1]
            if len(columns := np.flatnonzero(rows == label)):
                its = np.array(vocabulary.roles)[of_it]
                queries = self.queries_of(of_it, vocabulary)
                inner = replace(plain, statistics=self.statistics[of_it], roles=its, offsets=known.offsets[of_it])
                inner = replace(inner, shared_weights=known.shared_weights[of_it])
                kinds.append((columns, queries, inner))
        return replace(plain, offsets=offsets, shared_weights=shared_weights, kinds=tuple(kinds), words=known)


@dataclass(frozen=True)
class LabelCalibration:
    """A calibration for a list of labels.

    Args:
        maps: by role.
        statistics: (L, 2) mean and deviation of each label over the background.
        roles: (L,) of each label.
        reference: (S, Q) scoring vectors of all labels trained on, so that the other labels asked for change nothing.
        best_rows: as in `Calibration`.
        offsets: (L,) added to the weighted sums; none when None.
        shared_weights: (L,) as in `WordKnowledge`; none when None.
        kinds: columns of a label, the scoring vectors of its kinds, and their calibration.
        other_names: columns of labels, and for each the scoring vector of another name of the same thing, with the
            calibration of these; a label is at least as probable as its other names. None where there are none.
        phrases: those that the vocabulary lacks and that are made of names in it; None where there are none.
        words: gives the familiarity of a picture.
    """

    maps: dict[Role, MonotoneMap]
    statistics: Float32[np.ndarray, "L 2"]
    roles: np.ndarray
    reference: Float32[np.ndarray, "S Q"]
    best_rows: int = 1
    offsets: Float32[np.ndarray, " L"] | None = None
    shared_weights: Float32[np.ndarray, " L"] | None = None
    kinds: tuple[tuple[Integer[np.ndarray, " k"], Float32[np.ndarray, "n Q"], LabelCalibration], ...] = ()
    phrases: PhraseParts | None = None
    words: WordKnowledge | None = None
    other_names: tuple[Integer[np.ndarray, " k"], Float32[np.ndarray, "k Q"], LabelCalibration] | None = None

    @cached_property
    def _columns(self) -> dict[Role, Integer[np.ndarray, " K"]]:
        """Columns of the labels of each role."""
        return {role: np.flatnonzero(self.roles == role) for role in self.maps}

    def probabilities(self, records: Records, scores: Float32[np.ndarray, "B L"]) -> Float64[np.ndarray, "B L"]:
        """Probabilities (B, L) of the labels' scores on records, in 0..1."""
        features = pair_features(
            records, scores, self.statistics, self.reference, best_rows=self.best_rows
        )  # (B, L, F)
        found = np.empty(scores.shape)
        for role, columns in self._columns.items():
            its = self.maps[role]
            offsets = np.zeros((len(scores), len(columns)))
            if self.offsets is not None:
                offsets += self.offsets[columns]
            if self.shared_weights is not None:
                offsets += np.outer(records.shared[:, 0], self.shared_weights[columns])
            pairs = features[:, columns].reshape(-1, len(FEATURES))
            found[:, columns] = its(pairs, offsets.ravel()).reshape(offsets.shape)
        for columns, queries, its_kinds in self.kinds:
            its_scores, _ = score_records(records, queries, best_rows=self.best_rows)
            of_kinds = its_kinds.probabilities(records, its_scores)
            one_of_them = (of_kinds.max(axis=1) + 1 - (1 - of_kinds).prod(axis=1)) / 2
            found[:, columns] = np.maximum(found[:, columns], np.minimum(_ABOVE * one_of_them, 1.0)[:, None])
        if self.phrases is not None:
            self.phrases.bound(found, records, self.best_rows)
        if self.words is not None:
            found *= self.words.familiarity(records)[:, None]
        if self.other_names is not None:
            positions, queries, its_names = self.other_names
            its_scores, _ = score_records(records, queries, best_rows=self.best_rows)
            np.maximum.at(found.T, positions, its_names.probabilities(records, its_scores).T)
        return found


def other_rows(label: str, vocabulary: Vocabulary) -> list[int]:
    """Rows of the other names of a thing that the vocabulary has."""
    own = vocabulary.find_alike(label)
    rows = [vocabulary.find_alike(name) for name in other_names(label)]
    return [row for row in dict.fromkeys(rows) if row is not None and row != own]


def reference_vectors(vocabulary: Vocabulary, classes: ClassAffinity | None) -> Float32[np.ndarray, "S Q"]:
    """Scoring vectors of all labels trained on; of the whole vocabulary where it is not known what was."""
    trained = np.array(vocabulary.roles) == "seen"
    known = vocabulary.vectors[trained] if trained.any() else vocabulary.vectors
    return scoring_vectors(known, classes, np.full(len(known), bool(trained.any())))


def pair_features(
    records: Records,
    scores: Float32[np.ndarray, "B L"],
    statistics: Float32[np.ndarray, "L 2"],
    reference: Float32[np.ndarray, "S Q"],
    *,
    best_rows: int = 1,
) -> Float32[np.ndarray, "B L F"]:
    """What a probability depends on, `FEATURES` of every (picture, label) pair; the first two rise with the score."""
    best = score_records(records, reference, best_rows=best_rows)[0].max(axis=1)  # (B,)
    deviations = (scores - statistics[:, 0]) / statistics[:, 1]
    return np.stack([deviations, scores, np.broadcast_to(best[:, None], scores.shape)], axis=-1)


def background_statistics(
    background: Records,
    vectors: Float32[np.ndarray, "L D"],
    classes: ClassAffinity | None = None,
    trained: Bool[np.ndarray, " L"] | None = None,
    *,
    best_rows: int = 1,
) -> Float32[np.ndarray, "L 2"]:
    """Mean and deviation (at least 0.001) of labels' scores over background pictures; see `scoring_vectors`."""
    found = np.empty((len(vectors), 2), np.float32)
    for start in range(0, len(vectors), _CHUNK):
        rows = slice(start, start + _CHUNK)
        of_these = scoring_vectors(vectors[rows], classes, None if trained is None else trained[rows])
        scores, _ = score_records(background, of_these, best_rows=best_rows)
        found[rows] = np.stack([scores.mean(axis=0), np.maximum(scores.std(axis=0), _LEAST_DEVIATION)], axis=1)
    return found
