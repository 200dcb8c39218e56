"""Measure records or scores against labels, streaming over images. Knows nothing of training or files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Float64, Int8, Int64

from tagprism.bundle.record import Records
from tagprism.errors import InputError
from tagprism.evaluation.metrics import (
    ImageSet,
    as_array,
    checked_targets,
)
from tagprism.evaluation.protocols import (
    AtK,
    Evaluation,
    Figures,
    LabelResult,
    Task,
    TaskResult,
    Unverified,
    of_rankings,
)
from tagprism.evaluation.ranking import (
    average_precision_of_ranks,
    best_labels,
    constant_hits,
    expected_average_precision,
    hits_at_k,
    images_before,
    mean_of_known,
    micro_scores,
)
from tagprism.evaluation.scores import array_chunks, queries_of, score_chunks, slices

BLOCK_SCORES = 2**27  # scores held at once (float32: 512 MB); more labels than that are scored block by block
Scorer = Callable[[Int64[np.ndarray, " l"]], Iterator[tuple[slice, Float[np.ndarray, "B l"]]]]
"""Labels by their columns -> their scores, some images at a time."""


@dataclass(frozen=True)
class _Counts:
    """What the targets alone say about one task."""

    images: Int64[np.ndarray, " S"]  # the image set, ascending
    positives: Int64[np.ndarray, " L"]
    known: Int64[np.ndarray, " L"]
    positives_of_image: Int64[np.ndarray, " S"]
    ranked_of_image: Int64[np.ndarray, " S"]  # labels that an image's top K may hold


def evaluate_records(
    records: Records,
    names: Sequence[str],
    vectors: Float[np.ndarray, "V _"],
    unseen: Bool[np.ndarray, " L"],
    targets: Int8[np.ndarray, "N L"],
    *,
    ks: Sequence[int] = (3, 5),
    unknown: Unverified = "ignore",
    label_encoder: str = "",
    leak: bool = False,
    nearest: Int64[np.ndarray, "N k"] | None = None,
    groups: Int64[np.ndarray, "L K"] | None = None,
    best_rows: int = 1,
) -> Evaluation:
    """Measure ZSL and GZSL on both image sets, with the chance, constant and ceiling lines.

    Args:
        records: of the N test images, in memory or memory-mapped, float16 or float32.
        names: L label names, seen and unseen.
        vectors: (V, Q) scoring vectors, or (V, D) label vectors w, whose scoring vectors are `[w, 1]`; in the order of
            `names`, V = L, where there are no `groups`.
        unseen: (L,) true for labels kept out of training.
        targets: (N, L) int8 of 1 positive, 0 negative, -1 unknown.
        ks: labels per image for P, R and F1; a K above a task's labels is left out of it (no keys), never clipped.
        unknown: as in `EvaluationProtocol`; `negative` is the authors' way.
        label_encoder: named in the result.
        leak: mark the result as measured on what was trained on.
        nearest: (N, k) neighbours of each image (`bundle.neighbours`), over which scores are averaged.
        groups, best_rows: as `max_similarity` takes them.

    Returns:
        The evaluation; every number percent and unrounded.

    Raises:
        InputError: sizes do not fit, no label is unseen, no image has an unseen label, a K below 1, a score that is not
            finite.

    Source: arXiv 2105.05926, section 4.
    """
    labels = len(vectors if groups is None else groups)
    if targets.shape != (len(records), len(names)) or labels != len(names) or len(unseen) != len(names):
        raise InputError(
            f"{len(records)} records, {len(names)} names, {labels} vectors, {len(unseen)} seen/unseen marks "
            f"and targets {targets.shape} do not fit; targets must have the shape (records, names)."
        )
    queries = queries_of(records, vectors)

    def scorer(labels: Int64[np.ndarray, " l"]) -> Iterator[tuple[slice, Float[np.ndarray, "B l"]]]:
        if groups is None:
            return score_chunks(records, queries[labels], nearest, None, best_rows)
        return score_chunks(records, queries, nearest, groups[labels], best_rows)

    evaluation = _evaluate(scorer, np.float32, names, unseen, targets, ks, unknown)
    neighbours = 0 if nearest is None else nearest.shape[1]
    return replace(evaluation, label_encoder=label_encoder, leak=leak, neighbours=neighbours)


def evaluate_scores(
    scores: Any,
    names: Sequence[str],
    unseen: Bool[np.ndarray, " L"],
    targets: Int8[np.ndarray, "N L"],
    *,
    ks: Sequence[int] = (3, 5),
    unknown: Unverified = "ignore",
    label_encoder: str = "",
) -> Evaluation:
    """Measure scores that are already there, whatever they come from.

    Args:
        scores: (N, L) numbers, array or tensor, comparable between images, higher is better.
        names, unseen, targets, ks, unknown, label_encoder: as for `evaluate_records`, L in the order of the columns.

    Raises:
        InputError: as `evaluate_records`.
    """
    values = as_array(scores)
    if values.shape != (len(targets), len(names)) or targets.shape != values.shape or len(unseen) != len(names):
        raise InputError(
            f"scores have the shape {values.shape}, but there are {len(targets):,} images and {len(names):,} labels.",
            remedy="Give one row per image and one column per label.",
        )
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    found = _evaluate(partial(array_chunks, values), values.dtype, names, unseen, targets, ks, unknown)
    return replace(found, label_encoder=label_encoder)


def _evaluate(
    scorer: Scorer,
    dtype: npt.DTypeLike,
    names: Sequence[str],
    unseen: Bool[np.ndarray, " L"],
    targets: Int8[np.ndarray, "N L"],
    ks: Sequence[int],
    unknown: Unverified,
) -> Evaluation:
    """Both tasks, and a row for every label."""
    names, ks = tuple(names), tuple(sorted(set(ks)))
    targets = checked_targets(targets, of_rankings(unknown))
    if min(ks, default=1) < 1:
        raise InputError(f"K must be at least 1, not {min(ks)}.")
    if not unseen.any():
        raise InputError(
            "no label is unseen, so there is nothing to rank.", remedy="Choose a split with unseen labels."
        )
    if not (targets[:, unseen] == 1).any():
        raise InputError(
            "no test image has any of the unseen labels, so nothing can be measured.",
            remedy="Check that the split belongs to this data set.",
        )
    tasks: dict[Task, Int64[np.ndarray, " K"]] = {"zsl": np.flatnonzero(unseen), "gzsl": np.arange(len(names))}
    results: dict[Task, TaskResult] = {}
    values: dict[Task, dict[int, tuple[float, float]]] = {}
    for task, labels in tasks.items():
        part = targets if len(labels) == len(names) else targets[:, labels]
        results[task], pairs = _evaluate_task(scorer, labels, dtype, part, ks, unknown == "lesa")
        values[task] = dict(zip(labels.tolist(), pairs, strict=True))
    positives = _count(targets, np.arange(len(targets)), unknown == "lesa").positives
    rows = tuple(
        LabelResult(
            name,
            bool(unseen[i]),
            int(positives[i]),
            average_precision={task: pairs[i][0] for task, pairs in values.items() if i in pairs},
            chance={task: pairs[i][1] for task, pairs in values.items() if i in pairs},
        )
        for i, name in enumerate(names)
    )
    return Evaluation(results["zsl"], results["gzsl"], rows, ks, unknown)


def _evaluate_task(
    scorer: Scorer,
    labels: Int64[np.ndarray, " L"],
    dtype: npt.DTypeLike,
    targets: Int8[np.ndarray, "N L"],
    ks: tuple[int, ...],
    rank_all: bool,
) -> tuple[TaskResult, list[tuple[float, float]]]:
    """Measure one task on both image sets; and each label's average precision and chance on the labelled one.

    `rank_all` lets an image's top K hold labels that nobody verified, which are then negatives there.
    """
    ks = tuple(k for k in ks if k <= targets.shape[1])
    has_label = targets.max(axis=1) == 1
    labelled, everything = (
        _count(targets, images, rank_all) for images in (np.flatnonzero(has_label), np.arange(len(targets)))
    )
    hits, within, overall = _stream(scorer, labels, dtype, targets, has_label, max(ks, default=0), rank_all)
    result = TaskResult(
        labelled=_figures("labelled", labelled, targets, hits, within, ks, rank_all),
        all_images=_figures("all", everything, targets, hits, overall, ks, rank_all),
    )
    chance = expected_average_precision(labelled.known, labelled.positives)
    return result, list(zip(within.tolist(), chance.tolist(), strict=True))


def _stream(
    scorer: Scorer,
    labels: Int64[np.ndarray, " L"],
    dtype: npt.DTypeLike,
    targets: Int8[np.ndarray, "N L"],
    has_label: Bool[np.ndarray, " N"],
    k: int,
    rank_all: bool,
) -> tuple[Bool[np.ndarray, "N K"], Float64[np.ndarray, " L"], Float64[np.ndarray, " L"]]:
    """Score every image, block by block of labels.

    Returns:
        hits (N, K) among each image's K best labels; average precisions (L,) among the labelled images; among all.
    """
    N, L = targets.shape
    best, best_scores = np.full((N, k), -1, np.int64), np.full((N, k), -np.inf, dtype)
    within, overall = np.empty(L), np.empty(L)
    width, rank_all = max(1, BLOCK_SCORES // N), rank_all or bool(targets.min() >= 0)
    for start in range(0, L, width):
        block = slice(start, min(start + width, L))
        scores = np.empty((block.stop - start, N), dtype)
        marks = np.empty(scores.shape, np.int8)
        for rows, chunk in scorer(labels[block]):
            scores[:, rows], marks[:, rows] = chunk.T, targets[rows, block].T
            allowed = chunk if rank_all else np.where(targets[rows, block] >= 0, chunk, -np.inf)
            best[rows], best_scores[rows] = _better(best[rows], best_scores[rows], allowed, start)
        within[block], overall[block] = _average_precisions(scores, marks, has_label)
    return hits_at_k(best, targets), within, overall


def _better(
    best: Int64[np.ndarray, "B K"],
    best_scores: Float[np.ndarray, "B K"],
    scores: Float[np.ndarray, "B L"],
    start: int,
) -> tuple[Int64[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """Merge each image's best labels so far with those of the next block, whose first label is `start`."""
    k = best.shape[1]
    added, added_scores = best_labels(scores, min(k, scores.shape[1]))
    # Of tied scores the earlier label comes first.
    labels = np.concatenate([best, np.where(added >= 0, added + start, -1)], axis=1)
    chosen, values = best_labels(np.concatenate([best_scores, added_scores], axis=1), k)
    return np.where(chosen >= 0, np.take_along_axis(labels, np.maximum(chosen, 0), axis=1), -1), values


def _average_precisions(
    scores: Float[np.ndarray, "L N"], marks: Int8[np.ndarray, "L N"], has_label: Bool[np.ndarray, " N"]
) -> tuple[Float64[np.ndarray, " L"], Float64[np.ndarray, " L"]]:
    """Average precision of each label among the labelled images and among all, percent; sorts run on all processors."""
    sides = np.flatnonzero(has_label), np.flatnonzero(~has_label)

    def of_label(label: int) -> tuple[float, float]:
        own, mark = scores[label], marks[label]
        positive = np.flatnonzero(mark == 1)
        inside, outside = (side[mark[side] >= 0] for side in sides) if mark.min() < 0 else sides
        within = 1 + images_before(own[inside], inside, own[positive], positive)
        overall = within + images_before(own[outside], outside, own[positive], positive)
        return average_precision_of_ranks(within), average_precision_of_ranks(overall)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        pairs = np.array(list(threads.map(of_label, range(len(scores)))))
    return 100 * pairs[:, 0], 100 * pairs[:, 1]


def _figures(
    image_set: ImageSet,
    counts: _Counts,
    targets: Int8[np.ndarray, "N L"],
    hits: Bool[np.ndarray, "N K"],
    precisions: Float64[np.ndarray, " L"],
    ks: tuple[int, ...],
    rank_all: bool,
) -> Figures:
    """Put the numbers of one image set together."""
    positives = int(counts.positives.sum())
    constant = np.zeros(hits.shape[1], np.int64)
    for rows in slices(len(counts.images)):
        part = targets[counts.images[rows]]
        part = np.maximum(part, 0) if rank_all else part
        constant += constant_hits(part, counts.positives, hits.shape[1]).sum(axis=0)
    model = hits[counts.images].sum(axis=0)
    share = counts.positives_of_image / np.maximum(counts.ranked_of_image, 1)  # of an image's labels that are positive
    lines: dict[str, dict[int, AtK]] = {"at_k": {}, "constant": {}, "ceiling": {}, "chance": {}}
    for k in ks:
        best = np.minimum(counts.positives_of_image, k).sum()
        ranked = np.minimum(counts.ranked_of_image, k)
        found = {"at_k": model[:k].sum(), "constant": constant[:k].sum(), "ceiling": best, "chance": ranked @ share}
        for line, hit in found.items():
            lines[line][k] = AtK(*micro_scores(float(hit), int(ranked.sum()), positives))
    return Figures(
        image_set=image_set,
        images=len(counts.images),
        labels=len(precisions),
        labels_without_positive=int((counts.positives == 0).sum()),
        positives_per_image=positives / len(counts.images),
        mean_ap=mean_of_known(precisions),
        weighted_ap=mean_of_known(precisions, counts.positives),
        chance_ap=mean_of_known(expected_average_precision(counts.known, counts.positives)),
        **lines,
    )


def _count(targets: Int8[np.ndarray, "N L"], images: Int64[np.ndarray, " S"], rank_all: bool) -> _Counts:
    """Count positives and known targets of some images, chunk by chunk; with `rank_all` every label may be ranked."""
    by_label = np.zeros((2, targets.shape[1]), np.int64)
    by_image = np.zeros((2, len(images)), np.int64)
    for rows in slices(len(images)):
        part = targets[images[rows]]
        for i, marked in enumerate((part == 1, part >= 0)):
            by_label[i] += np.count_nonzero(marked, axis=0)
            by_image[i, rows] = np.count_nonzero(marked, axis=1)
    ranked = np.full(len(images), targets.shape[1]) if rank_all else by_image[1]
    return _Counts(images, by_label[0], by_label[1], by_image[0], ranked)
