"""How far one method is from another, and how sure that is. Knows only finished evaluations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence

import numpy as np

from tagprism.evaluation.protocols import TASKS, Evaluation, Task

DRAWS = 2000  # of the bootstrap: the standard error is known to about 2 percent of itself
_AT_ONCE = 100
_FEW = 3  # splits below which their spread says too little for a verdict: then the labels are the pairs


def over_splits(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Mean of the paired differences of two methods, and its standard error over the splits.

    Args:
        ours: one number per split.
        theirs: the other method's, on the same splits in the same order.

    Returns:
        The mean, and the standard error; NaN for one split.
    """
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return statistics.fmean(differences), error


def over_labels(
    ours: Sequence[Evaluation], theirs: Sequence[Evaluation], task: Task, *, without: Collection[str] = ()
) -> tuple[float, float]:
    """Difference of two methods' mAP on labelled images, and its standard error by a bootstrap over the labels.

    The pairs are the average precisions of one label by both methods (each the mean over its seeds). Labels are drawn
    with replacement, as many as there are; the seed of the draws is fixed, so that a table repeats itself.

    Args:
        ours: one evaluation per split; the labels of all splits are one list.
        theirs: the other method's, on the same splits in the same order.
        task: which mAP.
        without: labels that are left out.

    Returns:
        The mean difference, and the deviation of the mean over the draws; NaN for fewer than two labels.

    Source: Efron, Annals of Statistics 7(1), 1979.
    """
    differences = np.array(
        [
            mine.average_precision[task] - its.average_precision[task]
            for one, other in zip(ours, theirs, strict=True)
            for mine, its in zip(one.per_label, other.per_label, strict=True)
            if task in mine.average_precision
            and mine.label not in without
            and not math.isnan(mine.average_precision[task])
        ]
    )
    count = len(differences)
    if count < 2:
        return float(differences.mean()) if count else math.nan, math.nan
    random, shares = np.random.default_rng(0), np.full(count, 1 / count)
    means = [random.multinomial(count, shares, _AT_ONCE) @ differences / count for _ in range(DRAWS // _AT_ONCE)]
    return float(differences.mean()), float(np.std(np.concatenate(means)))


def verdict(name: str, ours: Sequence[Evaluation], rival: str, theirs: Sequence[Evaluation]) -> str:
    """Say by how much a method's mAP differs from a rival's, and whether that is more than chance.

    Differences are paired: over the splits where there are three or more, else over the labels. Better (or worse) is
    what differs by more than two standard errors.

    Args:
        name: of the method.
        ours: its evaluations, one per split.
        rival: name of the other.
        theirs: its evaluations, on the same splits in the same order.
    """
    pairs = "splits" if len(ours) >= _FEW else "labels"
    numbers, better = [], {}
    for task in TASKS:
        if pairs == "splits":
            values = ([one.task(task).labelled.mean_ap for one in side] for side in (ours, theirs))
            mean, error = over_splits(*values)
        else:
            mean, error = over_labels(ours, theirs, task)
        numbers.append(f"{task.upper()} mAP {mean:+.1f} ± {error:.1f}")
        better[task] = 0 if not abs(mean) > 2 * error else math.copysign(1, mean)
    words = {1: f"beats {rival}", -1: f"is WORSE than {rival}", 0: f"is NOT SHOWN to beat {rival}"}
    if len(set(better.values())) == 1:
        said = f"{name} {words[int(better['zsl'])]} in both tasks"
    else:
        said = " and ".join(f"{words[int(better[task])]} in {task.upper()}" for task in TASKS)
        said = f"{name} {said}"
    return f"{said}: {', '.join(numbers)} (standard error over paired {pairs}; two of them decide)."
