"""Fit the probabilities of a finished run, so that they also hold for labels never trained on.

Seen labels play the unseen ones: the labels are dealt into folds, a head is trained without each fold, and the scores
of the fold's labels on validation pictures are scores of labels that this head has never seen. Pairs of all folds fit
one map; the finished head on the same pictures fits the other, for labels trained on. Frozen features only.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tagprism.bundle.record import ClassAffinity, Records, score_records, scoring_vectors
from tagprism.errors import InputError
from tagprism.files import replaced_whole
from tagprism.labels.vocabulary import Role
from tagprism.network.embedding_matrix import Network
from tagprism.progress import Progress, silent
from tagprism.tagging.calibration import (
    FEATURES,
    Calibration,
    MonotoneMap,
    background_statistics,
    pair_features,
)
from tagprism.tagging.monotone_fit import fit_monotone
from tagprism.training.prepare import Prepared, embed_labels

_LIKELY, _BESIDE = 0.5, 0.2


@dataclass(frozen=True)
class Pairs:
    """(picture, label) pairs of which it is known whether the picture has the label.

    Args:
        features: (n, F) `tagging.calibration.FEATURES`.
        positive: (n,).
    """

    features: Float32[np.ndarray, "n F"]
    positive: Bool[np.ndarray, " n"]


def calibrate(prepared: Prepared, network: Network, folder: Path, progress: Progress = silent) -> Calibration:
    """Train a head per fold and fit the calibration of a finished head.

    Args:
        prepared: what the run started from; `reason_not_to_calibrate` gives None for it.
        network: the finished one.
        folder: keeps the pairs of each finished fold, so that an interrupted call goes on.
        progress: told of every batch.
    """
    rows = background_rows(prepared)
    unseen = held_out_pairs(prepared, folder, progress)
    background = records_of(network, _background(prepared, rows))
    seen_vectors = prepared.seen_vectors
    seen = _pairs(network, prepared, background, seen_vectors, seen_vectors, np.arange(len(seen_vectors)), trained=True)
    classes, trained = network.class_affinity, np.array(prepared.vocabulary.roles) == "seen"
    best_rows = prepared.recipe.model.best_rows
    statistics = background_statistics(background, prepared.vocabulary.vectors, classes, trained, best_rows=best_rows)
    plain, known = fit_monotone(unseen.features, unseen.positive), fit_monotone(seen.features, seen.positive)
    maps: dict[Role, MonotoneMap] = {
        "seen": known,
        "unseen": plain,
        "other": _for_many(plain, known, prepared, background, classes, statistics, best_rows),
    }
    return Calibration(background, maps, statistics, classes, best_rows=best_rows)


def _for_many(
    its: MonotoneMap,
    known: MonotoneMap,
    prepared: Prepared,
    background: Records,
    classes: ClassAffinity | None,
    statistics: Float32[np.ndarray, "L 2"],
    best_rows: int = 1,
) -> MonotoneMap:
    """The map for the further words of the vocabulary: a picture has not more labels because a list is longer.

    The logits of `its` are lowered until the probabilities from 0.5 up of all these words sum, in the background, to no
    more than `_BESIDE` of those of the labels trained on by `known`; they are never raised. The tail of unlikely words
    is not counted: thousands of them at a hundredth each would sink the words that stand out.
    """
    roles = np.array(prepared.vocabulary.roles)
    if not (roles == "other").any():
        return its
    reference = _trained_queries(prepared.seen_vectors, classes)

    def features(role: Role) -> Float32[np.ndarray, "n F"]:
        queries = scoring_vectors(prepared.vocabulary.vectors[roles == role], classes, roles[roles == role] == "seen")
        scores, _ = score_records(background, queries, best_rows=best_rows)
        pairs = pair_features(background, scores, statistics[roles == role], reference, best_rows=best_rows)
        return pairs.reshape(-1, len(FEATURES))

    def likely(map_: MonotoneMap, pairs: Float32[np.ndarray, "n F"]) -> float:
        probabilities = map_(pairs)
        return float(probabilities[probabilities >= _LIKELY].sum())

    most, others = _BESIDE * likely(known, features("seen")), features("other")

    def lowered(by: float) -> MonotoneMap:
        return replace(its, logits=its.logits - by)

    low, high = 0.0, 20.0
    if likely(its, others) <= most:
        return its
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if likely(lowered(middle), others) <= most else (middle, high)
    return lowered(high)


def held_out_pairs(prepared: Prepared, folder: Path, progress: Progress = silent) -> Pairs:
    """Pairs of labels that the head that scored them has never seen, all folds together."""
    folds = [fold_pairs(prepared, number, folder, progress) for number in range(prepared.recipe.calibration.folds)]
    return Pairs(np.concatenate([one.features for one in folds]), np.concatenate([one.positive for one in folds]))


def fold_pairs(prepared: Prepared, number: int, folder: Path, progress: Progress = silent) -> Pairs:
    """Train a head without the labels of one fold and score them on the validation pictures."""
    done = folder / f"fold_{number}.safetensors"
    if (kept := _read(done)) is not None:
        return kept
    from tagprism.training.fit import fit  # which loads Lightning

    without, held = _without_fold(prepared, number)
    network = fit(without, folder / f"fold_{number}", _renamed(progress, f"calibrating {number + 1}")).network
    background = records_of(network, _background(prepared, background_rows(prepared)))
    pairs = _pairs(
        network,
        prepared,
        background,
        without.vocabulary.select(without.split.unseen).vectors,
        without.seen_vectors,
        held,
        trained=False,
    )
    with replaced_whole(done) as beside:
        save_file({"features": pairs.features, "positive": pairs.positive}, beside)
    shutil.rmtree(folder / f"fold_{number}", ignore_errors=True)  # checkpoints of a head that nobody will use
    return pairs


def background_rows(prepared: Prepared) -> np.ndarray:
    """Which training pictures are the background: drawn by seed, the same for every fold."""
    count = len(prepared.train.keys)
    order = np.random.default_rng(prepared.recipe.seed).permutation(count)
    rows: np.ndarray = np.sort(order[: prepared.recipe.calibration.background])
    return rows


def records_of(network: Network, features: Float32[np.ndarray, "n C"]) -> Records:
    """Records of feature vectors, as a bundle keeps them."""
    return network.records(features).astype(np.float16)


def _background(prepared: Prepared, rows: np.ndarray) -> Float32[np.ndarray, "b C"]:
    assert prepared.train.features is not None, "reason_not_to_calibrate was asked"
    features: Float32[np.ndarray, "b C"] = prepared.train.features[rows]
    return features


def _without_fold(prepared: Prepared, number: int) -> tuple[Prepared, np.ndarray]:
    """The run as if the labels of a fold were unseen, the label space fitted without them; and their columns."""
    seen = prepared.split.seen
    order = np.random.default_rng([prepared.recipe.seed, 1]).permutation(len(seen))
    held = np.sort(order[number :: prepared.recipe.calibration.folds])
    kept = np.setdiff1d(order, held)
    names = tuple(seen[at] for at in kept), tuple(seen[at] for at in held)
    split = replace(prepared.split, seen=names[0], unseen=names[1])
    labels = prepared.recipe.labels
    if labels.reduce is not None:  # fewer labels span fewer dimensions
        labels = labels.model_copy(update={"reduce": min(labels.reduce, len(kept) - 1)})
    space, vocabulary, encoders = embed_labels(labels, prepared.recipe.seed, split)
    parts = [replace(part, targets=part.targets.over(kept)) for part in (prepared.train, prepared.validation)]
    changed = replace(
        prepared,
        split=split,
        space=space,
        vocabulary=vocabulary,
        encoders=encoders,
        train=parts[0],
        validation=parts[1],
    )
    return changed, held


def _pairs(
    network: Network,
    prepared: Prepared,
    background: Records,
    vectors: Float32[np.ndarray, "L D"],
    reference: Float32[np.ndarray, "S D"],
    columns: np.ndarray,
    *,
    trained: bool,
) -> Pairs:
    """Known pairs of the validation pictures and some of the seen labels."""
    used = prepared.validation.with_negatives()
    assert prepared.validation.features is not None, "reason_not_to_calibrate was asked"
    records = records_of(network, prepared.validation.features[used])
    queries = _trained_queries(reference, network.class_affinity)
    form = network.class_affinity, np.full(len(vectors), trained)
    best_rows = prepared.recipe.model.best_rows
    scores, _ = score_records(records, scoring_vectors(vectors, *form), best_rows=best_rows)
    statistics = background_statistics(background, vectors, *form, best_rows=best_rows)
    features = pair_features(records, scores, statistics, queries, best_rows=best_rows)
    targets = prepared.validation.targets.over(columns)[used]
    return Pairs(features[targets >= 0], targets[targets >= 0] == 1)


def _trained_queries(vectors: Float32[np.ndarray, "S D"], classes: ClassAffinity | None) -> Float32[np.ndarray, "S Q"]:
    return scoring_vectors(vectors, classes, np.ones(len(vectors), bool))


def _read(file: Path) -> Pairs | None:
    if not file.exists():
        return None
    try:
        tensors = load_file(file)
        return Pairs(tensors["features"], tensors["positive"])
    except (SafetensorError, KeyError) as error:
        raise InputError(f"is damaged ({error}).", where=str(file), remedy="Delete it: it is made again.") from error


def _renamed(progress: Progress, name: str) -> Progress:
    return lambda _what, total: progress(name, total)
