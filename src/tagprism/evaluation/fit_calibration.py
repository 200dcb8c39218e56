"""Fit the probabilities of any model to photos with labels: what `tagprism models calibrate` does. Trains no network.

How well they hold is measured on labels that took no part: the labels are dealt into two halves, and each half gets its
probabilities from a map that was fitted to the other.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8

from tagprism.bundle.record import Records, score_records
from tagprism.counted import counted
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.device import device_in_use
from tagprism.errors import InputError, PictureError
from tagprism.evaluation.reliability import Reliability, reliability
from tagprism.files import cache_dir, digest_json, read_tensors, write_tensors
from tagprism.labels.vocabulary import Role
from tagprism.progress import Advance, Progress, silent
from tagprism.tagging.calibration import (
    FEATURES,
    Calibration,
    MonotoneMap,
    background_statistics,
    pair_features,
    reference_vectors,
)
from tagprism.tagging.monotone_fit import fit_monotone
from tagprism.tagging.tagger import Tagger

PICTURES = 2000  # that are looked at unless a person asks for more: enough for a curve of seven pieces
_BACKGROUND, _LABELS = 256, 1000
_LEAST = 30  # positive pairs in each half of the labels
_PIECES = 1000  # positive pairs from which the curve is mended by straight pieces; fewer leave its top flat
_LIKELY = 0.5
_AT_ONCE = 128  # pictures whose records are kept at once: an interrupted call goes on after them
_KIND = "records of labelled pictures"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A calibration, and how it came about.

    Args:
        calibration: to be used.
        held: how well the probabilities hold for labels that took no part in their map.
        note: what it was fitted to, for the file.
        skipped: key and reason of the pictures that could not be used.
    """

    calibration: Calibration
    held: Reliability
    note: dict[str, Any]
    skipped: tuple[tuple[str, PictureError], ...]


def fit_calibration(
    tagger: Tagger,
    table: ImageTable,
    split: Split | None = None,
    *,
    pictures: int = PICTURES,
    progress: Progress = silent,
) -> Fitted:
    """Fit probabilities to labelled pictures.

    Args:
        tagger: the model.
        table: pictures of which it is known what they show, and of some labels that they do not.
        split: whose training and validation pictures and seen labels are used, so that the rest stays fit to measure
            on; None for all.
        pictures: at most, drawn with seed 0.
        progress: told of every picture.

    Raises:
        InputError: the labels say too little: too few that a picture has, or none that it has not.
    """
    keys = [*split.train, *split.val] if split is not None else table.keys
    order = np.random.default_rng(0).permutation(len(keys))[:pictures]
    rows = table.rows_of([keys[at] for at in np.sort(order)])
    names = _labels(tagger, table, split)
    targets = table.targets(rows, names)
    _check(targets, len(names))
    records, usable, skipped = _records(tagger, table, rows.tolist(), progress)
    targets = targets[usable]
    background = records[np.linspace(0, len(records) - 1, min(_BACKGROUND, len(records))).astype(int)]
    features = _features(tagger, records, background, names)
    halves = np.random.default_rng(0).permutation(len(names)) % 2
    held = np.empty(targets.shape)
    for half in (0, 1):
        its = _fit(features[:, halves != half], targets[:, halves != half])
        held[:, halves == half] = _apply(its, features[:, halves == half])
    fitted = _fit(features, targets)
    maps: dict[Role, MonotoneMap] = {"seen": fitted, "unseen": fitted}
    built_in = tagger.built_in_calibration
    maps["other"] = built_in.maps["other"] if built_in else _for_vocabulary(fitted, tagger, background, names)
    statistics = _statistics(tagger, background, tagger.vocabulary.names, tagger.vocabulary.vectors)
    calibration = Calibration(background.astype(np.float16), maps, statistics, tagger.bundle.class_affinity)
    note = {"data": table.digest, "kind": table.kind, "pictures": len(records), "labels": len(names)}
    note |= {"split": split.name if split else None, "positive_pairs": int((targets == 1).sum())}
    note |= {"views": tagger.bundle.views, "device": device_in_use()}
    found = reliability(held, targets, unknown="ignore")
    return Fitted(calibration, found, note, tuple((table.keys[rows[at]], error) for at, error in skipped))


def _labels(tagger: Tagger, table: ImageTable, split: Split | None) -> tuple[str, ...]:
    """The labels that the model can read, the most frequent ones where they are many."""
    counts = dict(zip(table.labels, table.label_counts().tolist(), strict=True))
    names = [name for name in (split.seen if split is not None else table.labels) if counts[name]]
    unknown = set(tagger.unknown(names))
    return tuple(sorted((name for name in names if name not in unknown), key=lambda name: -counts[name])[:_LABELS])


def _check(targets: Int8[np.ndarray, "N L"], labels: int) -> None:
    positive = int((targets == 1).sum())
    if labels < 2 or positive < 2 * _LEAST:
        what = f"there are {positive} pairs of a picture and a label that it has; at least {2 * _LEAST} are needed."
        raise InputError(what, where="--data", remedy="Give more pictures with labels that this model can read.")
    if not (targets == 0).any():
        raise InputError(
            "of no picture is it known what it does not show, and without that there is no probability.",
            where="--data",
            remedy='Give negatives, or {"unlisted": "negative"} in dataset.json where what is not listed is absent.',
        )


def _records(
    tagger: Tagger, table: ImageTable, rows: Sequence[int], progress: Progress
) -> tuple[Records, list[int], list[tuple[int, PictureError]]]:
    """Records of pictures, their positions in `rows`, and the pictures that cannot be used.

    They are kept, some at a time, until all are there.
    """
    folder = cache_dir("calibrating", digest_json([tagger.bundle.digest, table.digest, rows])[:32])
    parts, usable, skipped = [], [], []
    starts = range(0, len(rows), _AT_ONCE)
    with progress("looking at pictures", len(rows)) as advance:
        for start in starts:
            some = rows[start : start + _AT_ONCE]
            its, positions, errors = _some_records(folder / f"{start}.safetensors", tagger, table, some, advance)
            parts.append(its)
            usable += [start + position for position in positions]
            skipped += [(start + position, error) for position, error in errors]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise InputError(
            f"none of {counted(len(rows), 'picture')} can be used. The first: {skipped[0][1]}", where="--data"
        )
    shutil.rmtree(folder, ignore_errors=True)
    return Records.joined(parts), usable, skipped


def _some_records(
    file: Path, tagger: Tagger, table: ImageTable, rows: Sequence[int], advance: Advance
) -> tuple[Records, list[int], list[tuple[int, PictureError]]]:
    if file.is_file():
        header, tensors = read_tensors(file, _KIND, 1)
        advance(len(rows))
        errors = [(position, PictureError(code, message)) for position, code, message in header["skipped"]]
        return Records(tensors["rows"], tensors["shared"]), tensors["places"].tolist(), errors
    M, D, S = tagger.bundle.shape
    parts, positions, errors = [Records(np.empty((0, M, D), np.float32), np.empty((0, S), np.float32))], [], []
    for position, outcome, _ in tagger.records([table.files[row] for row in rows]):
        advance(1)
        if isinstance(outcome, PictureError):
            errors.append((position, outcome))
        else:
            positions.append(position)
            parts.append(outcome)
    found = Records.joined(parts)
    tensors = {"rows": found.rows, "shared": found.shared, "places": np.array(positions, np.int64)}
    write_tensors(file, _KIND, 1, {"skipped": [(position, one.code, one.message) for position, one in errors]}, tensors)
    return found, positions, errors


def _features(
    tagger: Tagger, records: Records, background: Records, names: Sequence[str]
) -> Float32[np.ndarray, "N L F"]:
    vectors = tagger.embed(names)
    scores, _ = score_records(records, tagger.scoring_vectors_of(names, vectors))
    statistics = _statistics(tagger, background, names, vectors)
    reference = reference_vectors(tagger.vocabulary, tagger.bundle.class_affinity)
    return pair_features(records, scores, statistics, reference)


def _statistics(
    tagger: Tagger, background: Records, names: Sequence[str], vectors: Float32[np.ndarray, "L D"]
) -> Float32[np.ndarray, "L 2"]:
    trained: Bool[np.ndarray, " L"] = np.array(tagger.vocabulary.roles_of(names)) == "seen"
    return background_statistics(background, vectors, tagger.bundle.class_affinity, trained)


def _fit(features: Float32[np.ndarray, "N L F"], targets: Int8[np.ndarray, "N L"]) -> MonotoneMap:
    known, positive = targets >= 0, targets == 1
    if positive.sum() < _LEAST or not (known & ~positive).any():
        what = f"half of the labels have {int(positive.sum())} positive pairs; at least {_LEAST} are needed."
        raise InputError(what, where="--data", remedy="Give more pictures, or more labels that this model can read.")
    return fit_monotone(features[known], positive[known], pieces=bool(positive.sum() >= _PIECES))


def _apply(its: MonotoneMap, features: Float32[np.ndarray, "N L F"]) -> Float64[np.ndarray, "N L"]:
    return its(features.reshape(-1, len(FEATURES))).reshape(features.shape[:2])


def _for_vocabulary(its: MonotoneMap, tagger: Tagger, background: Records, names: Sequence[str]) -> MonotoneMap:
    """The map for the words of the vocabulary: a picture does not show more because a list is longer.

    The logits are lowered, never raised, until as many words are likely in the background as of the labels that the map
    was fitted to.
    """
    wide = _apply(its, _features(tagger, background, background, tagger.vocabulary.names)).ravel()
    likely = int((_apply(its, _features(tagger, background, background, names)) >= _LIKELY).sum())
    if likely >= len(wide):
        return its
    first_left_out = float(np.clip(np.partition(wide, -likely - 1)[-likely - 1], 1e-9, 1 - 1e-9))
    return replace(its, logits=its.logits - max(0.0, float(np.log(first_left_out / (1 - first_left_out)))))
