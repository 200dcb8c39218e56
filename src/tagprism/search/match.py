"""How well pictures match a query: what scores a label -> its logit -> the match of the whole; and which is likely.

Each label's scores are set against its own scores over a fixed collection of pictures, so that a label that is high
everywhere does not drown the others. The logit rises with the score, so one label alone ranks as its score does.

AND is a product of probabilities, OR is 1 minus the product of what is left (noisy-or), NOT is 1 minus: independent
events. De Morgan's rules hold exactly. A part of weight w counts as w equal parts. Everything is kept as logarithms, so
that the order of two pictures survives however near 0 or 1 they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float32, Float64

from tagprism.bundle.record import Records, score_records
from tagprism.labels.vocabulary import Groups, Vocabulary, groups_of
from tagprism.search.contract import Index
from tagprism.search.query import And, Leaf, Not, Or, Query, Weighted, positive_labels
from tagprism.tagging.calibration import Calibration, MonotoneMap
from tagprism.tagging.learned import Learned
from tagprism.tagging.ranker import label_vectors
from tagprism.tagging.tagger import Tagger

LIKELY = 0.4
"""Match of a label from which on a picture likely has it.

Near it the mean F1 over labels of what is shown is flat, see docs/queries.md (`benchmarks/likely.py`).
"""

LIKELY_LOGIT = float(np.log(LIKELY / (1 - LIKELY)))

_BEHIND = 1e6  # more than the logarithm of a likely picture's match is ever below 0
_SAMPLE = 256  # pictures of the index that stand in where the bundle has no background
_LEAST_DEVIATION = 1e-3
_RISE, _FAR = 1e-3, 1e6
_OF_DEVIATIONS, _OF_SCORE, _LESS, _LESS_ALONE = 0.5, 1.0, 5.0, 4.0


def search_vectors(
    labels: Sequence[str], tagger: Tagger, learned: Learned | None = None
) -> tuple[Float32[np.ndarray, "V Q"], Groups | None, Float32[np.ndarray, " V"]]:
    """Scoring vectors that labels are searched by, those of kinds and other names too; errors as for `Tagger.embed`.

    A label that was not trained on is searched by its trained names alone, where it has some.

    Args:
        labels: L of them.
        tagger: the model.
        learned: what an index knows better of some labels.

    Returns:
        (V, Q) scoring vectors; (L, K) those of each label, the best of which counts, or None where each has one;
        (V,) what is to be taken off their scores before these are likely (`searched_by`).
    """
    _, vectors, owners = label_vectors(labels, tagger, learned)
    taught = [learned is not None and learned.is_known(label) for label in labels]
    more = [(at, name) for at, one in enumerate(labels) if not taught[at] for name in searched_as(one, tagger)]
    roles = tagger.vocabulary.roles_of(labels)
    by_others = {at for at, _ in more if roles[at] != "seen"}  # `harbour` says less of a picture than `harbor`
    kept = np.array([at not in by_others for at in owners], bool)
    vectors, owners = vectors[kept], owners[kept]
    known = ~np.array(taught, bool)[owners]
    usual = np.zeros(len(vectors), np.float32)
    vectors[known], usual[known] = searched_by([labels[at] for at in owners[known]], vectors[known], tagger)
    if more:
        names = [name for _, name in more]
        further, their_usual = searched_by(names, tagger.scoring_vectors(names), tagger)
        vectors, usual = np.concatenate([vectors, further]), np.concatenate([usual, their_usual])
        owners = np.concatenate([owners, np.array([at for at, _ in more], np.int64)])
        order = np.argsort(owners, kind="stable")
        vectors, usual, owners = vectors[order], usual[order], owners[order]
    return vectors, None if len(owners) == len(labels) else groups_of(np.bincount(owners).tolist()), usual


def searched_by(
    labels: Sequence[str], vectors: Float32[np.ndarray, "L Q"], tagger: Tagger
) -> tuple[Float32[np.ndarray, "L Q"], Float32[np.ndarray, " L"]]:
    """Scoring vectors of labels in a search, where words for people count the first shared number as in `tag`.

    Returns:
        (L, Q) them, and (L,) what that adds to a score in the mean.
    """
    calibration, D = tagger.calibration, tagger.vocabulary.dimension
    if calibration is None or vectors.shape[1] == D:
        return vectors, np.zeros(len(labels), np.float32)
    found, weights = vectors.copy(), calibration.shared_weights_of(labels, tagger.vocabulary)
    found[:, D] += weights
    return found, weights * calibration.background.shared[:, 0].mean(dtype=np.float32)


def searched_as(label: str, tagger: Tagger) -> tuple[str, ...]:
    """Further labels by which a word is found, as its probability depends on them; none without calibration."""
    return () if tagger.calibration is None else tagger.calibration.trained_names(label, tagger.vocabulary)


@dataclass(frozen=True)
class PhraseLogits:
    """The probability that a calibration gives a label never trained on, in a picture of which only its score is known.

    The constants of `LabelLogits` were chosen on single words, and of phrases say far too much: of the pictures that
    were likely a phrase of two words, captions had both in 8 % (recipes/photos_lite/unseen_phrases.py).

    Args:
        its: the calibration's map for such labels.
        best: stands for the best score of a label trained on in the picture.
        offset: stands for how common the phrase is: half that of the middle word, as people ask for what they have.
    """

    its: MonotoneMap
    best: float
    offset: float

    @classmethod
    def of(cls, calibration: Calibration, vocabulary: Vocabulary) -> PhraseLogits:
        """That of a model."""
        offset = 0.0 if calibration.words is None else calibration.words.other_offset / 2
        return cls(calibration.maps["unseen"], calibration.usual_best(vocabulary), offset)

    def __call__(
        self, deviations: Float64[np.ndarray, "n q"], scores: Float64[np.ndarray, "n q"]
    ) -> Float64[np.ndarray, "n q"]:
        """Logits, which rise with both."""
        of_both = (np.clip(one, -_FAR, _FAR) for one in (deviations, scores))  # an empty list of the best ends at -inf
        features = np.stack([*of_both, np.full_like(scores, self.best)], axis=-1)
        logits = self.its.logits_of(features.reshape(-1, features.shape[-1]), self.offset).reshape(scores.shape)
        found: Float64[np.ndarray, "n q"] = logits + _RISE * features[..., 1]  # a map may be level over a range
        return found


@dataclass(frozen=True)
class LabelLogits:
    """Turns a label's score into the logit of having the label: `0.5 z + score - 5`.

    Here z is the number of standard deviations by which the score is above the label's mean over the background. The
    three constants were chosen on validation photos and labels never trained on (`benchmarks/combining.py`); around
    them the quality is flat. Scores that are not standardised have no scale of their own: there it is `z - 4`.

    Args:
        background: records of b pictures.
        standardised: whether scores are comparable between pictures.
        best_rows: of the model's scores, as `score_records` takes it.
        of_phrases: gives what makes logits of deviations and scores of phrases that the vocabulary lacks; None where
            that is the same.
    """

    background: Records
    standardised: bool
    best_rows: int = 1
    of_phrases: Callable[[], PhraseLogits] | None = None

    @classmethod
    def of(cls, tagger: Tagger, index: Index) -> LabelLogits:
        """Those of a model: over the background of its calibration, or else over pictures of the index."""
        calibration = tagger.calibration
        background = _sample(index) if calibration is None else calibration.background
        standardised, of_phrases = tagger.bundle.config.standardised, None
        if calibration is not None and standardised:
            of_phrases = cache(partial(PhraseLogits.of, calibration, tagger.vocabulary))  # seldom asked for
        return cls(background, standardised, tagger.best_rows, of_phrases)

    def logits(
        self,
        scoring_vectors: Float32[np.ndarray, "v Q"],
        scores: Float32[np.ndarray, "n q"],
        groups: Groups | None = None,
        phrases: Bool[np.ndarray, " q"] | None = None,
        usual: Float32[np.ndarray, " v"] | None = None,
    ) -> Float64[np.ndarray, "n q"]:
        """Logits of n pictures having q labels, from their scores.

        Args:
            scoring_vectors: of the labels.
            scores: of the pictures.
            groups: as `score_records` takes them.
            phrases: which labels the vocabulary lacks.
            usual: what is taken off the scores by each vector (`search_vectors`).
        """
        known = score_records(self.background, scoring_vectors, best_rows=self.best_rows)[0].astype(np.float64)
        usual = np.zeros(len(scoring_vectors)) if usual is None else usual
        each = np.stack([known.mean(axis=0), known.std(axis=0), usual])
        means, deviations, off = each if groups is None else _of_groups(each, groups)
        wide = scores.astype(np.float64)
        above: Float64[np.ndarray, "n q"] = (wide - means) / np.maximum(deviations, _LEAST_DEVIATION)
        wide = wide - off
        logits = _OF_DEVIATIONS * above + _OF_SCORE * wide - _LESS if self.standardised else above - _LESS_ALONE
        if phrases is not None and phrases.any() and self.of_phrases is not None:
            logits[:, phrases] = self.of_phrases()(above[:, phrases], wide[:, phrases])
        return logits


def _of_groups(of_each: Float64[np.ndarray, "k V"], groups: Groups) -> Float64[np.ndarray, "k q"]:
    """Means over the vectors of each label: the best of its names stands as high as if it were asked for alone."""
    return np.stack([of_each[:, list(dict.fromkeys(its))].mean(axis=1) for its in groups.tolist()], axis=1)


def _sample(index: Index) -> Records:
    """Records of pictures spread evenly over the index."""
    while True:
        step = max(1, index.info().pictures // _SAMPLE)
        ids = [picture.id for picture in islice(index.pictures(), None, None, step)][:_SAMPLE]
        try:
            return index.records(ids)
        except KeyError:  # one was removed meanwhile
            continue


Logits = Mapping[Leaf, Float64[np.ndarray, " n"]]


def log_probability(logits: Float64[np.ndarray, " *n"]) -> Float64[np.ndarray, " *n"]:
    """Logarithms of the probabilities that logits stand for."""
    logs: Float64[np.ndarray, " *n"] = -np.logaddexp(0.0, -logits)
    return logs


def log_match(query: Query, greatest: Logits, least: Logits | None = None) -> Float64[np.ndarray, " n"]:
    """Logarithm of the match of n pictures, or of the best that a picture can reach.

    Args:
        query: the tree.
        greatest: for every leaf the logits (n,) of being so; for a filter +inf (met) or -inf.
        least: the least that the logits can be where only bounds are known: a match falls with a label below a NOT.

    Returns:
        (n,) from -inf to 0; never falls with `greatest`, never rises with `least`.
    """
    return _log(query, greatest, greatest if least is None else least, positive=True, complement=False)


def _log(
    query: Query, greatest: Logits, least: Logits, *, positive: bool, complement: bool
) -> Float64[np.ndarray, " n"]:
    """Logarithm of a part's match, or of 1 minus it; `positive` tells whether the whole match rises with the part."""
    match query:
        case Not(part):
            return _log(part, greatest, least, positive=not positive, complement=not complement)
        case Weighted(part=part):  # alone there is nothing that it counts more than
            return _log(part, greatest, least, positive=positive, complement=complement)
        case And(parts) | Or(parts):
            of_parts = isinstance(query, Or)  # the product is one of probabilities, or one of what is left of them
            total: Float64[np.ndarray, " n"] = np.zeros(())
            for part in parts:
                weight = part.weight if isinstance(part, Weighted) else 1.0
                total = total + weight * _log(part, greatest, least, positive=positive, complement=of_parts)
            return total if complement == of_parts else _log_of_rest(total)
        case leaf:
            logits = (greatest if positive else least)[leaf]
            return log_probability(-logits if complement else logits)


def _log_of_rest(logs: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """log(1 - exp(x)), exact near both ends."""
    rest: Float64[np.ndarray, " n"]
    with np.errstate(divide="ignore"):  # of a match of 1 nothing is left: -inf
        rest = np.where(logs > -np.log(2), np.log(-np.expm1(logs)), np.log1p(-np.exp(logs)))
    return rest


def is_likely(query: Query, greatest: Logits, least: Logits | None = None) -> Bool[np.ndarray, " n"]:
    """Whether n pictures are likely, or can be at best: likely in all they must have, and in nothing they must not.

    Of an OR one part suffices; several weak ones together do where they match as well as a part alone would have to.

    Args:
        query: the tree.
        greatest: as `log_match` takes it.
        least: likewise.
    """
    found: Bool[np.ndarray, " n"]
    least = greatest if least is None else least
    match query:
        case Not(part):
            found = ~is_likely(part, least, greatest)
        case Weighted(part=part):  # what must be there must be so whatever it counts
            found = is_likely(part, greatest, least)
        case And(parts):
            found = np.logical_and.reduce([is_likely(part, greatest, least) for part in parts])
        case Or(parts):
            rejects = any(positive_labels(query, positive=False))
            together = log_match(query, greatest, least) >= np.log(1 - LIKELY if rejects else LIKELY)
            found = np.logical_or.reduce([together, *(is_likely(part, greatest, least) for part in parts)])
        case leaf:
            found = greatest[leaf] >= LIKELY_LOGIT
    return found


def ranks_of(matches: Float64[np.ndarray, " n"], likely: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """What pictures are ranked by, from `log_match` and `is_likely`: the likely ones come before all others.

    A product alone would put a certain dog beside nobody before a picture of which both are just likely. Both parts
    rise with what the match rises with, so that bounds of them bound this.
    """
    ranks: Float64[np.ndarray, " n"] = matches - np.where(likely, 0.0, _BEHIND)
    return ranks
