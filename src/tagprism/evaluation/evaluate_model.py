"""Measure a model on pictures: leak check, matrices, metrics. Never imports training; the network is any bundle's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int8

from tagprism.bundle.neighbours import nearest_pictures
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError, PictureError
from tagprism.evaluation.evaluate import evaluate_matrices
from tagprism.evaluation.leakage import check_leak, find_leak
from tagprism.evaluation.metrics import UnknownPolicy
from tagprism.evaluation.protocols import Evaluation
from tagprism.evaluation.reliability import Reliability, reliability
from tagprism.evaluation.scores import score_matrices
from tagprism.images.digests import digest_pictures
from tagprism.progress import Progress, silent
from tagprism.tagging.tagger import Tagger


@dataclass(frozen=True)
class Measured:
    """A result and what it was measured on, for reports.

    Args:
        evaluation: the numbers.
        names: L labels, seen ones first.
        queries: (L, Q) of the labels.
        unseen: (L,) true for unseen ones.
        matrices: (N, M, D+1) ranking matrices of the test pictures that could be used.
        targets: (N, L).
        files: N paths.
        skipped: key and reason of the test pictures that could not be used.
        calibration: how well the probabilities hold, for `unseen` and `seen` labels; empty without a calibration.
    """

    evaluation: Evaluation
    names: tuple[str, ...]
    queries: Float32[np.ndarray, "L Q"]
    unseen: Bool[np.ndarray, " L"]
    matrices: Float32[np.ndarray, "N M D1"]
    targets: Int8[np.ndarray, "N L"]
    files: tuple[Path, ...]
    skipped: tuple[tuple[str, PictureError], ...]
    calibration: dict[str, Reliability] = field(default_factory=dict)


def evaluate_model(
    tagger: Tagger,
    table: ImageTable,
    split: Split,
    *,
    ks: Sequence[int] = (3, 5),
    unknown: UnknownPolicy = "ignore",
    allow_leak: bool = False,
    limit: int | None = None,
    neighbours: int = 0,
    progress: Progress = silent,
) -> Measured:
    """Measure a model on the test pictures of a split.

    Args:
        tagger: the model.
        table: the pictures and their labels.
        split: which labels are seen and unseen, which pictures test.
        ks: labels per image for precision, recall and F1.
        unknown: what an unverified label counts as.
        allow_leak: measure even if test pictures or unseen labels were trained on; the result says so.
        limit: the first so many test pictures only.
        neighbours: average scores over so many of the test pictures most like each one.
        progress: told of every picture.

    Returns:
        The numbers and what they were measured on.

    Raises:
        LeakError: something of the test was trained on.
        InputError: labels without vectors, no test picture can be used, nothing to measure.
    """
    keys = split.test[:limit]
    places = table.rows_of(keys)
    files = [table.files[int(row)] for row in places]
    config = tagger.bundle.config
    digests, _ = digest_pictures(files, progress)
    leak = (
        tagger.bundle.trained_images,
        config.seen,
        {keys[row]: digest for row, digest in digests.items()},
        split.unseen,
        tagger.vocabulary.aliases,
        split.protocol.same_label if split.protocol else frozenset(),
    )
    if not allow_leak:
        check_leak(*leak)
    names = (*split.seen, *split.unseen)
    vectors = tagger.embed(names)
    queries = tagger.scoring_vectors_of(names, vectors)
    rows, matrices, skipped = [], [], []
    for row, outcome, _ in tagger.matrices(files, progress=progress):
        if isinstance(outcome, PictureError):
            skipped.append((keys[row], outcome))
        else:
            rows.append(row)
            matrices.append(outcome)
    if not rows:
        raise InputError(f"none of {len(keys)} test pictures can be used. The first: {skipped[0][1]}")
    unseen = np.arange(len(names)) >= len(split.seen)
    targets = table.targets(places[rows], names)
    stacked = np.stack(matrices)
    evaluation = evaluate_matrices(
        stacked,
        names,
        queries,
        unseen,
        targets,
        ks=ks,
        unknown=unknown,
        label_encoder=" + ".join(config.encoders) or str(config.provenance.get("label_vectors", "")),
        leak=bool(find_leak(*leak)) if allow_leak else False,
        nearest=nearest_pictures(stacked, config.dimension, neighbours) if neighbours else None,
    )
    kept = tuple(files[row] for row in rows)
    held = _reliability(tagger, names, vectors, unseen, stacked, targets, unknown)
    return Measured(evaluation, names, queries, unseen, stacked, targets, kept, tuple(skipped), held)


def _reliability(
    tagger: Tagger,
    names: tuple[str, ...],
    vectors: Float32[np.ndarray, "L D"],
    unseen: Bool[np.ndarray, " L"],
    matrices: Float32[np.ndarray, "N M D1"],
    targets: Int8[np.ndarray, "N L"],
    unknown: UnknownPolicy,
) -> dict[str, Reliability]:
    """How well the probabilities hold over all test pictures, those without any of the labels too."""
    if tagger.calibration is None:
        return {}
    calibrated = tagger.calibration.of_labels(names, vectors, tagger.vocabulary)
    scores = score_matrices(matrices, tagger.scoring_vectors_of(names, vectors))
    probabilities = calibrated.probabilities(matrices, scores)
    known = (targets >= 0) | (unknown == "negative")
    return {
        name: reliability(probabilities[:, side], targets[:, side], unknown=unknown)
        for name, side in (("unseen", unseen), ("seen", ~unseen))
        if known[:, side].any()
    }
