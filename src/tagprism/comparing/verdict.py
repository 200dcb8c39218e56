"""Whether one method beats another, in a sentence. Knows only finished evaluations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from tagprism.evaluation.protocols import TASKS, Evaluation, Task

_FEW = 3  # splits below which their spread says too little: then the labels are the pairs


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
        differences = _differences(ours, theirs, task, pairs)
        mean, error = statistics.fmean(differences), _standard_error(differences)
        numbers.append(f"{task.upper()} mAP {mean:+.1f} ± {error:.1f}")
        better[task] = 0 if not abs(mean) > 2 * error else math.copysign(1, mean)
    words = {1: f"beats {rival}", -1: f"is WORSE than {rival}", 0: f"is NOT SHOWN to beat {rival}"}
    if len(set(better.values())) == 1:
        said = f"{name} {words[int(better['zsl'])]} in both tasks"
    else:
        said = " and ".join(f"{words[int(better[task])]} in {task.upper()}" for task in TASKS)
        said = f"{name} {said}"
    return f"{said}: {', '.join(numbers)} (standard error over paired {pairs}; two of them decide)."


def _differences(ours: Sequence[Evaluation], theirs: Sequence[Evaluation], task: Task, pairs: str) -> list[float]:
    if pairs == "splits":
        return [
            one.task(task).labelled.mean_ap - other.task(task).labelled.mean_ap
            for one, other in zip(ours, theirs, strict=True)
        ]
    return [
        mine.average_precision[task] - its.average_precision[task]
        for one, other in zip(ours, theirs, strict=True)
        for mine, its in zip(one.per_label, other.per_label, strict=True)
        if task in mine.average_precision and not math.isnan(mine.average_precision[task])
    ]


def _standard_error(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return math.nan
    return statistics.stdev(differences) / math.sqrt(len(differences))
