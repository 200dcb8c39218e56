"""What pictures are tagged with, and the tags they get: records in, tags out. Knows no files, no networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Integer

from tagprism.bundle.record import Records, score_records
from tagprism.errors import InputError, PictureError
from tagprism.labels.phrases import names_of_tags
from tagprism.labels.vocabulary import Vocabulary
from tagprism.progress import Progress, silent
from tagprism.tagging.learned import Learned

if TYPE_CHECKING:
    from tagprism.tagging.tagger import Tagger
else:
    from typing import Any as Tagger  # the tagger makes rankers, not rankers the tagger

Labels: TypeAlias = str | Sequence[str] | Mapping[str, str | Sequence[str]] | None
"""What pictures are tagged with: one label, several, or labels with their other spellings; the vocabulary when None."""


_POOL = 8  # times as many labels as are wanted are looked at for names of the same thing
_NEAR = 0.7  # cosine of label vectors from which they name one thing
_RATHER_NEAR, _SAME_EVIDENCE = 0.5, 0.85  # or of label vectors and of their class affinities, both
_RARE = 0.15  # by which the logit of a further word falls with the logarithm of its row: common words come first


@dataclass(frozen=True)
class Tag:
    """One label of one picture.

    Args:
        label: the word or phrase.
        score: comparable between pictures where the bundle is standardised.
        probability: calibrated, 0..1, or None where the bundle has no calibration; 0 where the label holds a word that
            the model does not know.
        vector: which principal vector won, 0..M-1.
        also: other names of the same thing that are likely too, where one name a thing is asked for.
    """

    label: str
    score: float
    probability: float | None
    vector: int
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageTags:
    """The tags of one picture, best first; or why it has none.

    Args:
        path: as it was given; a text where it is a URL.
        tags: best first; empty with an error.
        error: why the picture could not be used, or None.
        remark: what is wrong with its file though it could be used; mostly ''.
    """

    path: Path | str
    tags: tuple[Tag, ...]
    error: PictureError | None = None
    remark: str = ""


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


@dataclass(frozen=True, eq=False)
class SameThing:
    """Which of a picture's tags name the same thing, and which of the names is shown.

    Two labels name one thing when their vectors are near, or rather near and the same classes of the backbone's
    classifier speak for them (`cat`, `domestic cat`, `kitten`; not `sun` and `sunset`). The thresholds were chosen by
    eye on eight photos, so that man and woman, sky and clouds, mare and foal stay apart. Synonyms name one thing, too,
    and of these the same one is shown of every photo.

    Args:
        scoring_vectors: (L, Q) of the labels; a label vector of zeros is a name of its own.
        dimension: D, of the label vectors among them.
        classes: R, class affinities that follow the label vector and the 1; 0 where there are none.
        trained: (L,) whether a label was trained on: people call photos so.
        common: (L,) row of the synonym that is shown in place of a label; mostly its own.
    """

    scoring_vectors: Float32[np.ndarray, "L Q"]
    dimension: int
    classes: int
    trained: Bool[np.ndarray, " L"]
    common: Int64[np.ndarray, " L"]

    def with_synonyms(self, ranked: Float[np.ndarray, " L"]) -> Float[np.ndarray, " L"]:
        """Probabilities (L,) of a picture's labels, each at least that of the synonyms that it is shown for."""
        found = ranked.copy()
        np.maximum.at(found, self.common, ranked)
        return found

    def groups(self, labels: Integer[np.ndarray, " n"], chances: Float64[np.ndarray, " n"]) -> list[list[int]]:
        """Labels that name one thing.

        Args:
            labels: rows of a picture's likeliest labels, best first.
            chances: their probabilities, 0..1.

        Returns:
            Groups of places in `labels`, in the order of their likeliest; in each the name to show is first: the one
            that is likely and common.
        """
        same, common = self._same(labels), self.common[labels].tolist()
        groups: list[list[int]] = []
        group_of: dict[int, list[int]] = {}  # by the common name
        for place in range(len(labels)):
            its = group_of.get(common[place]) or next((one for one in groups if same[place, one].any()), None)
            if its is None:
                groups.append(its := [])
            its.append(place)
            group_of[common[place]] = its
        likely = np.clip(chances, 1e-9, 1 - 1e-9)
        worth = np.log(likely / (1 - likely)) - _RARE * np.where(self.trained[labels], 0.0, np.log1p(labels))
        shown = [max(group, key=lambda place: float(worth[place])) for group in groups]
        place_of = {row: place for place, row in enumerate(labels.tolist())}
        return [_first(group, place_of.get(common[place], place)) for group, place in zip(groups, shown, strict=True)]

    def _same(self, labels: Integer[np.ndarray, " n"]) -> Bool[np.ndarray, "n n"]:
        rows, D = self.scoring_vectors[labels], self.dimension
        near = _cosines(rows[:, :D])
        same: Bool[np.ndarray, "n n"] = near >= _NEAR
        if self.classes:
            evidence = _cosines(rows[:, D + 1 : D + 1 + self.classes])
            same |= (near >= _RATHER_NEAR) & (evidence >= _SAME_EVIDENCE)
        return same


def common_names(vocabulary: Vocabulary) -> Int64[np.ndarray, " L"]:
    """Row of the name that each label of a vocabulary is shown under: of synonyms the commonest that was trained on."""
    shown = np.arange(len(vocabulary.names))
    for names in names_of_tags():
        rows = [row for name in names if (row := vocabulary.find_alike(name)) is not None]
        if rows:
            shown[rows] = next((row for row in rows if vocabulary.roles[row] == "seen"), rows[0])
    return shown


def _cosines(rows: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n n"]:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    cosines: Float[np.ndarray, "n n"] = unit @ unit.T
    return cosines


def _first(group: Sequence[int], shown: int) -> list[int]:
    return [shown, *(place for place in group if place != shown)]


def label_vectors(
    labels: Sequence[str], tagger: Tagger, learned: Learned | None, progress: Progress = silent
) -> tuple[Float32[np.ndarray, "V D"], Float32[np.ndarray, "V Q"], Int64[np.ndarray, " V"]]:
    """Vectors (V, D) of labels, scoring vectors (V, Q), and the places (V,) in `labels` of those that they are of.

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
        tagger: Tagger,
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
        vectors, self._scoring_vectors, places = label_vectors(flat, tagger, learned, progress)
        flat = [flat[place] for place in places]
        self._learned = [(row, one) for row, word in enumerate(flat) if learned and (one := learned.find(word))]
        self._best_rows = tagger.best_rows
        calibration = tagger.calibration
        self._calibrated = calibration.of_labels(flat, vectors, tagger.vocabulary) if calibration is not None else None
        known = tagger.vocabulary.names if labels is None else ()
        strange = set(tagger.unknown(set(flat).difference(known))) if self._calibrated else ()
        self._strange = [row for row, spelling in enumerate(flat) if spelling in strange]
        of_spelling = np.repeat(np.arange(len(spellings)), [len(group) for group in spellings])
        sizes = np.bincount(of_spelling[places])
        self._starts = None if sizes.max() == 1 else np.concatenate([[0], np.cumsum(sizes[:-1])])  # (L,)
        roles, classes = np.array(tagger.vocabulary.roles), tagger.bundle.class_affinity
        self._things: SameThing | None = None
        if labels is None and not all_names and "other" in roles and self._calibrated and len(flat) == len(spellings):
            own = len(flat) - len(roles)
            trained = np.append(roles == "seen", np.ones(own, bool))
            rank = 0 if classes is None else classes.columns - 1
            common = np.append(common_names(tagger.vocabulary), np.arange(own) + len(roles))
            self._things = SameThing(self._scoring_vectors, vectors.shape[1], rank, trained, common)

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
            for place, one in self._learned:
                chances[:, place] = one.probabilities(scores[:, place], chances[:, place])
        if self._starts is not None:
            pairs = [_best_spellings(*of_one, self._starts) for of_one in zip(scores, winners, strict=True)]
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
        groups = [[place] for place in range(len(order))]
        if things is not None:
            groups = sorted(things.groups(order, ranked[order].astype(np.float64)), key=lambda group: group[0])
        return tuple(
            Tag(
                self.names[i],
                float(scores[i]),
                None if chances is None else float(ranked[i]),
                int(winners[i]),
                tuple(self.names[order[place]] for place in group[1:]),
            )
            for group in groups[:top_k]
            for i in order[group[:1]]
        )


def _best_spellings(
    scores: Float32[np.ndarray, " S"], winners: Integer[np.ndarray, " S"], starts: Integer[np.ndarray, " L"]
) -> tuple[Float32[np.ndarray, " L"], Integer[np.ndarray, " L"]]:
    """Score and winning vector of each label's best spelling; on a tie of the first of them.

    Args:
        scores: of all S spellings, a label's next to each other.
        winners: their winning vectors.
        starts: place of each label's first spelling, rising from 0.
    """
    best = np.maximum.reduceat(scores, starts)
    sizes = np.diff(starts, append=len(scores))
    is_best = np.flatnonzero(scores == np.repeat(best, sizes))  # at least one a label
    group = np.repeat(np.arange(len(starts)), sizes)[is_best]
    _, first = np.unique(group, return_index=True)
    return best, winners[is_best[first]]
