"""Learn from what people said of pictures: which labels an index should score otherwise. Trains no network.

A label gets a scoring vector from the pictures that are marked with it: the direction in which these differ from the
collection (Fisher's linear discriminant), alone or beside the model's. A label that was both accepted and rejected gets
a shift of its logit, as far as a prior around 0 lets few marks move it.

Each is kept only where it helps on marks that it has not seen: every marked picture is left out once, which way is
taken for it is chosen by the others, and the mean gain must be larger than its standard error. It must be told from
chance (`left_out`): the marked pictures are found by each other better than pictures drawn at random are. And what the
model finds by itself must stay in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float32, Float64

from tagprism.bundle.record import Records, score_records
from tagprism.progress import Progress, silent
from tagprism.search.collection import Collection
from tagprism.search.find import OwnTags
from tagprism.search.left_out import (
    BY_CHANCE,
    gains_by_chance,
    left_out_deviations,
    left_out_gain,
    marks_needed,
    share_above,
)
from tagprism.search.marks import Said
from tagprism.search.match import LIKELY_LOGIT, search_vectors
from tagprism.search.own_labels import as_written, marked_labels
from tagprism.tagging.learned import Learned, LearnedLabel
from tagprism.tagging.ranker import LabelRanker

LEAST_PICTURES = 3  # marked as having a label, to learn its vector
LEAST_MARKS = 5  # of both kinds, to learn a shift
TOO_FEW = f"too few marks: {LEAST_PICTURES} pictures with it, or {LEAST_MARKS} accepted and rejected, teach something"
_MOST_LABELS, _SAMPLE = 500, 2_000  # labels learned at once, and pictures that stand for the collection
_MOST_LEFT_OUT = 40  # of a label's marked pictures
_RIDGE = 1.0  # of the covariance, in mean variances: fewer pictures than numbers
_BESIDE = 0.25  # deviations of the learned direction for one of the model's, where they are added
_PRIOR = 2.0  # deviation of a shift before there are marks
_FOUND, _FURTHER = 0.2, 3  # share of marked pictures that the cut may lose, and further pictures it may let in for each
_KEPT, _ENOUGH = 0.6, 5  # share of the pictures that the model finds which must stay in front, where it finds so many


@dataclass(frozen=True)
class Lesson:
    """What the marks of one label gave.

    Args:
        label: as in the vocabulary, or as a person wrote it.
        added: pictures that have it, by a mark or a keyword.
        rejected: pictures that a mark says have it not.
        learned: what was learned, or None.
        gain: by leaving one out, in natural logarithms: of the rank of a marked picture, or of the probability of what
            was said; None where there are too few marks.
        result: in words, the gain or the reason why nothing was learned.
    """

    label: str
    added: int
    rejected: int
    learned: LearnedLabel | None
    gain: float | None
    result: str


def learn(collection: Collection, marks: Said, progress: Progress = silent) -> list[Lesson]:
    """See what can be learned of each label that people marked; changes nothing.

    Args:
        collection: an opened index with its model.
        marks: as `search.marks` keeps them; keywords of the files are read beside them.
        progress: told of every label.

    Returns:
        A lesson a label, those with most marks first.
    """
    own, teacher = OwnTags(collection, marks), None
    chosen = marked_labels(own, LEAST_PICTURES)[:_MOST_LABELS] if collection.index.info().pictures else []
    lessons = []
    with progress("learning", len(chosen)) as advance:
        for phrase in chosen:
            teacher = teacher or _Teacher(collection, own)
            lessons.append(teacher.lesson(phrase))
            advance(1)
    return lessons


def learned_of(lessons: Sequence[Lesson]) -> Learned:
    """What lessons taught."""
    return Learned(tuple(one.learned for one in lessons if one.learned is not None))


class _Teacher:
    """Looks at the marked pictures of one label after the other, before the same sample of the collection."""

    def __init__(self, collection: Collection, own: OwnTags) -> None:
        self._collection, self._own, self._tagger = collection, own, collection.tagger
        self._logits = collection.label_logits
        index = collection.index
        step = max(1, index.info().pictures // _SAMPLE)
        pictures = list(islice(index.pictures(), None, None, step))[:_SAMPLE]
        self._ids, self._records = self._held([picture.id for picture in pictures])
        self._share = len(self._ids) / max(1, index.info().pictures)
        features = _features(self._records)
        self._mean = features.mean(axis=0)
        self._centred = features - self._mean
        covariance = self._centred.T @ self._centred / max(1, len(features) - 1)
        ridge = max(_RIDGE * np.trace(covariance) / len(covariance), 1e-9)  # of copies of one picture it is 0
        self._chances: dict[int, Float64[np.ndarray, " d"]] = {}  # by the number of pictures
        self._inverse = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))

    def lesson(self, phrase: str) -> Lesson:
        """What the marks of a label teach."""
        label = as_written(self._own, phrase)
        row = self._tagger.vocabulary.find_alike(label)
        label = label if row is None else self._tagger.vocabulary.names[row]
        said = self._said(phrase)
        added, rejected = ([one for one, is_added in said.items() if is_added is kind] for kind in (True, False))
        pictures = self._held(added)[1], self._held(rejected)[1]
        counts = len(added), len(rejected)
        of_vector = self._vector(label, added, *pictures) if len(added) >= LEAST_PICTURES else None
        if of_vector is not None and of_vector.learned is not None:
            return of_vector
        if min(counts) and sum(counts) >= LEAST_MARKS and not self._tagger.unknown([label]):
            of_shift = self._shift(label, *pictures)
            return of_shift if of_shift.learned is not None or of_vector is None else of_vector
        return of_vector or Lesson(label, *counts, None, None, TOO_FEW)

    def _said(self, phrase: str) -> dict[int, bool]:
        """Pictures of which a label was said, one for each file's bytes."""
        said = self._own.of_label(phrase)
        held = self._collection.index.get(list(said))
        first = {one.digest: one.id for one in reversed(held) if one is not None}
        return {number: said[number] for number in sorted(first.values())}

    def _held(self, ids: Sequence[int]) -> tuple[list[int], Records]:
        """The records of pictures that are still there."""
        held = [one.id for one in self._collection.index.get(list(ids)) if one is not None]
        return held, self._collection.index.records(held).astype(np.float32)

    # ---- a vector from marked pictures

    def _vector(self, label: str, ids: Sequence[int], added: Records, rejected: Records) -> Lesson:
        counts = len(added), len(rejected)
        others = ~np.isin(self._ids, ids)
        if others.sum() < LEAST_PICTURES:
            return Lesson(label, *counts, None, None, "the collection is too small: nothing else to tell it from")
        model = usual = None
        if not self._tagger.unknown([label]):
            model, _, usual = search_vectors([label], self._tagger)
        against = _joined(self._records[others], rejected)
        ranks = self._ranks(model, added, against)
        names, before = tuple(ranks), ranks["model"]
        gains = np.log(before)[:, None] - np.log(np.stack([ranks[name] for name in names], axis=1))  # (n, C)
        honest = left_out_gain(gains)
        best = names[int(gains.mean(axis=0).argmax())]
        after = ranks[best]
        alike = np.log(BY_CHANCE) - np.log(ranks["pictures"])
        needed = marks_needed(alike, self._by_chance(len(alike)))
        gained = best != "model" and honest.mean() > _error(honest)
        if not gained or needed != 0:
            why = _no_gain("marked pictures are found as well without", len(added), needed if gained else None)
            return Lesson(label, *counts, None, float(honest.mean()), why)
        result = (
            f"a picture left out is at {_position(before, len(against))} by the model, "
            f"{_position(after, len(against))} now"
        )
        if model is None:
            result = f"a picture left out is at {_position(after, len(against))}; the model does not know the word"
        learned = self._learned_vector(label, best, model, added, rejected, self._records[others])
        if model is not None and (lost := self._lost(model, learned, self._records[others], usual)):
            return Lesson(label, *counts, None, float(honest.mean()), lost)
        return Lesson(label, *counts, learned, float(honest.mean()), result)

    def _lost(self, model: np.ndarray, learned: LearnedLabel, others: Records, usual: np.ndarray | None = None) -> str:
        """Why a vector is not learned that loses what the model finds without marks; empty where it does not.

        People mark what was missed, so that the marks say nothing of what was found.
        """
        logits = self._logits.logits(model, score_records(others, model)[0], usual=usual)
        likely = logits.max(axis=1) > LIKELY_LOGIT
        found = int(np.count_nonzero(likely))
        if found < _ENOUGH or learned.vector is None:
            return ""
        after = score_records(others, learned.vector[None])[0][:, 0]
        kept = int(np.count_nonzero(likely[np.argsort(-after)[:found]]))
        if kept >= _KEPT * found:
            return ""
        return f"no gain: of {found:,} other pictures that the model finds likely, {kept:,} would stay in front"

    def _ranks(
        self, model: np.ndarray | None, added: Records, against: Records
    ) -> dict[str, Float64[np.ndarray, " n"]]:
        """Share of the other pictures that are above each marked one which was left out, by each way to rank them."""
        marked, other = _features(added) - self._mean, _features(against) - self._mean
        some, n = slice(None, _MOST_LEFT_OUT), len(marked)
        z_own, z_theirs = left_out_deviations(marked @ self._inverse @ marked.T, other @ self._inverse @ marked.T)
        found = {"model": np.full(n, BY_CHANCE), "pictures": share_above(z_theirs, z_own)}
        if model is not None:
            of_others, of_marked = (score_records(of, model)[0] for of in (against, added))
            found["model"] = share_above(np.repeat(of_others.max(axis=1)[:, None], n, axis=1), of_marked.max(axis=1))
            at_others, at_marked = of_others[:, 0], of_marked[:, 0]
            t_theirs = (at_others - at_others.mean()) / (at_others.std() + 1e-9)
            t_own = (at_marked - at_others.mean()) / (at_others.std() + 1e-9)
            found["both"] = share_above(t_theirs[:, None] + _BESIDE * z_theirs, t_own + _BESIDE * z_own)
        return {name: its[some] for name, its in found.items()}

    def _by_chance(self, count: int) -> Float64[np.ndarray, " d"]:
        """Mean gains of as many pictures drawn at random, as `gains_by_chance` gives them."""
        if count not in self._chances:
            self._chances[count] = gains_by_chance(self._products, count)
        return self._chances[count]

    @cached_property
    def _products(self) -> Float64[np.ndarray, "N N"]:
        """Of the pictures of the sample with each other, as the marked ones' are taken."""
        found: Float64[np.ndarray, "N N"] = self._centred @ self._inverse @ self._centred.T
        return found

    def _learned_vector(
        self, label: str, way: str, model: np.ndarray | None, added: Records, rejected: Records, others: Records
    ) -> LearnedLabel:
        """The label with its vector, and the shift that puts the cut where marked pictures are still found."""
        marked = _features(added) - self._mean

        def of(rows: Float64[np.ndarray, "n Q"]) -> Float32[np.ndarray, " Q"]:
            direction = self._inverse @ rows.mean(axis=0)
            direction = direction / (float((self._centred @ direction).std()) + 1e-9)
            if way == "both" and model is not None:
                own = model[:1]
                direction = own[0] + _BESIDE * float(score_records(self._records, own)[0].std()) * direction
            found: Float32[np.ndarray, " Q"] = direction.astype(np.float32)
            return found

        vector = of(marked)
        some = np.arange(min(len(marked), _MOST_LEFT_OUT))
        without = np.stack([of(np.delete(marked, i, axis=0)) for i in some])
        at_marked = np.diag(self._logits.logits(without, score_records(added[some], without)[0]))
        at_rejected, at_others = (
            self._logits.logits(vector[None], score_records(of_them, vector[None])[0])[:, 0]
            for of_them in (rejected, others)
        )
        further = np.sort(at_others)[::-1][: max(1, int(np.ceil(_FURTHER * len(added) * self._share)))]
        shift = LIKELY_LOGIT - max(float(np.quantile(at_marked, _FOUND)), float(further[-1]))
        if len(rejected):
            logits = np.concatenate([at_marked, at_rejected])
            shift = _fitted_shift(logits, np.arange(len(logits)) < len(at_marked), centre=shift)
        return LearnedLabel(label, shift, 0.0, self._line(vector, shift - LIKELY_LOGIT), vector)

    def _line(self, vector: np.ndarray, shift: float) -> tuple[float, float]:
        """Slope and intercept of a label's score to its logit, which is a line for each label."""
        at_zero, at_one = self._logits.logits(np.repeat(vector[None], 2, 0), np.eye(2, dtype=np.float32))[:, 1]
        return float(at_one - at_zero), float(at_zero) + shift

    # ---- a shift from what was accepted and rejected

    def _shift(self, label: str, added: Records, rejected: Records) -> Lesson:
        counts = len(added), len(rejected)
        both, said = _joined(added, rejected), np.arange(sum(counts)) < counts[0]
        vectors, groups, usual = search_vectors([label], self._tagger)
        scales = [self._logits.logits(vectors, score_records(both, vectors, groups)[0], groups, usual=usual)[:, 0]]
        if self._tagger.calibrated:
            ranked = LabelRanker(self._tagger, [label]).best(both, None, None)
            chances = np.clip([tags[0].probability or 0.0 for tags in ranked], 1e-6, 1 - 1e-6)
            scales.append(np.log(chances / (1 - chances)))
        before = [_losses(logits, said) for logits in scales]
        shifted = [logits + _left_out_shifts(logits, said) for logits in scales]
        gains = np.mean([old - _losses(new, said) for old, new in zip(before, shifted, strict=True)], axis=0)
        if (needed := marks_needed(gains)) != 0:
            why = _no_gain("a shift from the other marks fits no better", sum(counts), needed)
            return Lesson(label, *counts, None, float(gains.mean()), why)
        shifts = [_fitted_shift(logits, said) for logits in scales]
        right = [float(((logits > 0) == said).mean()) for logits in (scales[-1], shifted[-1])]
        result = f"marks left out are right in {right[0]:.0%} by the model, in {right[1]:.0%} now"
        return Lesson(label, *counts, LearnedLabel(label, shifts[0], shifts[-1]), float(gains.mean()), result)


def _features(records: Records) -> Float64[np.ndarray, "n Q"]:
    """A picture as one point: the mean of its rows, and its shared numbers."""
    return np.concatenate([records.rows.mean(axis=1), records.shared], axis=1).astype(np.float64)


def _joined(one: Records, other: Records) -> Records:
    return Records.joined([one, other]) if len(other) else one


def _error(values: Float64[np.ndarray, " n"]) -> float:
    """Standard error of a mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _no_gain(reason: str, marks: int, needed: int | None) -> str:
    """Why nothing was learned, with the number of marks that would tell a gain from chance."""
    if needed is None:
        return f"no gain: {reason}"
    return f"the gain of {marks} marks may be chance: about {needed:,} that gain as much would show it"


def _position(shares: Float64[np.ndarray, " n"], others: int) -> str:
    return f"place {max(1, round(float(np.median(shares)) * (others + 1))):,} of {others + 1:,}"


def _losses(logits: Float64[np.ndarray, " n"], said: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Minus the logarithm of the probability of what was said."""
    losses: Float64[np.ndarray, " n"] = np.logaddexp(0.0, np.where(said, -logits, logits))
    return losses


def _left_out_shifts(logits: Float64[np.ndarray, " n"], said: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """The shift for each mark as the others have it."""
    return np.array([_fitted_shift(np.delete(logits, i), np.delete(said, i)) for i in range(len(logits))])


def _fitted_shift(logits: Float64[np.ndarray, " n"], said: Bool[np.ndarray, " n"], centre: float = 0.0) -> float:
    """The likeliest shift of logits after marks, with a normal prior around a centre; found by halving."""
    low, high = centre - 10 * _PRIOR, centre + 10 * _PRIOR
    for _ in range(60):  # the slope of the log posterior falls throughout
        middle = (low + high) / 2
        chances = 0.5 * (1 + np.tanh((logits + middle) / 2))
        slope = float((said - chances).sum()) - (middle - centre) / _PRIOR**2
        low, high = (middle, high) if slope > 0 else (low, middle)
    return (low + high) / 2
