"""The two tasks, how they are measured, what a result is made of, and its JSON. Knows no models, computes no metric."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from statistics import fmean
from typing import Any, Literal, get_args

from tagprism.errors import InputError
from tagprism.evaluation.metrics import ImageSet, UnknownPolicy

Task = Literal["zsl", "gzsl"]
Unverified = Literal["ignore", "negative", "lesa"]
"""What an unverified pair counts as: see `EvaluationProtocol`."""


def of_rankings(unknown: Unverified) -> UnknownPolicy:
    """What an unverified pair counts as in average precision, curves and probabilities, which rank the images."""
    if unknown not in get_args(Unverified):
        raise InputError(f"unknown must be one of {', '.join(get_args(Unverified))}, not {unknown!r:.60}.")
    return "negative" if unknown == "negative" else "ignore"


TASKS: tuple[Task, Task] = ("zsl", "gzsl")
TASK_TITLES: dict[Task, str] = {"zsl": "ranks the unseen labels only", "gzsl": "ranks seen and unseen labels together"}


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a model is measured; what published tables differ in.

    Args:
        ks: labels per image for precision, recall and F1, each at least 1.
        unknown: a pair that nobody verified is left out (`ignore`), counts as a negative (`negative`), or is left out
            of average precision and a negative in P, R and F1@K (`lesa`, as LESA and BiAM do it on Open Images).
            None is `lesa` for Open Images and `ignore` elsewhere.
        image_set: the images that a printed table is about: those with a positive among the evaluated labels
            (`labelled`, the authors' way) or `all`. The JSON has both.
        allow_leak: measure even where test images or unseen labels were trained on; the result says so.
        neighbours: average the scores over so many of the test images most like each one; 0 for none.

    Raises:
        InputError: a K below 1, or a word that is none of those above.

    Example:
        >>> from tagprism import EvaluationProtocol
        >>> EvaluationProtocol(ks=(10, 20), image_set="all").unknown_for("open-images")
        'lesa'
    """

    ks: tuple[int, ...] = (3, 5)
    unknown: Unverified | None = None
    image_set: ImageSet = "labelled"
    allow_leak: bool = False
    neighbours: int = 0

    def __post_init__(self) -> None:
        """Refuse what could only fail after all pictures were read."""
        ks = self.ks if isinstance(self.ks, Sequence) else ()
        if not ks or not all(isinstance(k, Integral) for k in ks) or any(k is True or k is False for k in ks):
            remedy = "Give whole numbers from 1: ks=(3, 5)."
            raise InputError(f"ks is {self.ks!r:.60}.", where="protocol", remedy=remedy)
        if min(ks) < 1:
            raise InputError(f"K must be at least 1, not {min(ks)}.")
        object.__setattr__(self, "ks", tuple(ks))
        if self.unknown is not None:
            of_rankings(self.unknown)
        if self.image_set not in get_args(ImageSet):
            what = f"image_set must be one of {', '.join(get_args(ImageSet))}, not {self.image_set!r:.60}."
            raise InputError(what, where="protocol")

    def unknown_for(self, kind: str) -> Unverified:
        """What an unverified pair counts as in a data set of some kind, such as `open-images`."""
        return self.unknown or ("lesa" if kind == "open-images" else "ignore")


_LINES = {"": "at_k", "constant_": "constant", "ceiling_": "ceiling", "chance_": "chance"}
"""Lines of `Figures` by the prefix of their keys in the result format."""
_KEYS = {key: key for key in ("image_set", "images", "labels", "labels_without_positive", "positives_per_image")}
_KEYS |= {"mean_ap": "mAP", "weighted_ap": "mAP_weighted", "chance_ap": "chance_mAP"}
"""The other numbers of `Figures`, and their keys there."""


@dataclass(frozen=True)
class AtK:
    """Micro-averaged precision, recall and F1 of the K best labels, percent."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Figures:
    """The numbers of one task on one image set, all in percent, beside the lines that give them a meaning.

    Args:
        image_set: `labelled` (images with a positive among the evaluated labels) or `all`.
        images: scored images.
        labels: evaluated labels.
        labels_without_positive: how many of them have no positive and are left out of `mAP` and `chance_mAP`.
        positives_per_image: mean over the scored images.
        mean_ap: mean average precision; `weighted_ap`: weighted by positives; `chance_ap`: of a random ranking.
        at_k: the model; `constant`: always the K most frequent test labels; `ceiling`: the best possible; `chance`:
            what a random ranking has on average.
    """

    image_set: ImageSet
    images: int
    labels: int
    labels_without_positive: int
    positives_per_image: float
    mean_ap: float
    weighted_ap: float
    chance_ap: float
    at_k: dict[int, AtK]
    constant: dict[int, AtK]
    ceiling: dict[int, AtK]
    chance: dict[int, AtK] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Flat JSON object with the keys of the result format; unrounded."""
        row = {key: getattr(self, name) for name, key in _KEYS.items()}
        for prefix, name in _LINES.items():
            for k, at in getattr(self, name).items():
                row |= {f"{prefix}P@{k}": at.precision, f"{prefix}R@{k}": at.recall, f"{prefix}F1@{k}": at.f1}
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Figures:
        """Read back what `to_json` gave."""
        values: dict[str, Any] = {name: row[key] for name, key in _KEYS.items()}
        for prefix, name in _LINES.items():
            ks = (int(key.partition("@")[2]) for key in row if key.startswith(f"{prefix}F1@"))
            values[name] = {k: AtK(*(row[f"{prefix}{its}@{k}"] for its in ("P", "R", "F1"))) for k in ks}
        return cls(**values)


@dataclass(frozen=True)
class TaskResult:
    """One task on both image sets."""

    labelled: Figures
    all_images: Figures

    def to_json(self) -> dict[str, Any]:
        """JSON object of the default image set, with the other one under `all`."""
        return self.labelled.to_json() | {"all": self.all_images.to_json()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> TaskResult:
        """Read back what `to_json` gave."""
        return cls(Figures.from_json(row), Figures.from_json(row["all"]))


@dataclass(frozen=True)
class LabelResult:
    """One label: its average precision among the labelled images of each task, beside chance, in percent.

    Both are NaN without positives.

    Args:
        label: its name.
        unseen: whether it was kept out of training.
        positives: images that have it.
        average_precision: by task; an unseen label has both tasks, a seen one only `gzsl`.
        chance: what a random ranking has on average, by task.
    """

    label: str
    unseen: bool
    positives: int
    average_precision: dict[Task, float]
    chance: dict[Task, float]

    def to_json(self) -> dict[str, Any]:
        """JSON object; an average precision that does not exist is null."""
        row: dict[str, Any] = {"label": self.label, "unseen": self.unseen, "positives": self.positives}
        for task, value in self.average_precision.items():
            row |= {f"AP_{task}": _or_null(value), f"chance_{task}": _or_null(self.chance[task])}
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LabelResult:
        """Read back what `to_json` gave."""
        tasks = [task for task in TASKS if f"AP_{task}" in row]
        precision, chance = ({task: _or_nan(row[f"{name}_{task}"]) for task in tasks} for name in ("AP", "chance"))
        return cls(row["label"], row["unseen"], row["positives"], precision, chance)


@dataclass(frozen=True)
class Evaluation:
    """Everything measured about one model on one test set.

    Args:
        zsl: ranking the unseen labels only; `gzsl`: seen and unseen together.
        per_label: one row per label, in the order of the vocabulary.
        ks: the K in use; a K above the number of a task's labels is left out of that task.
        unknown: what an unverified label (-1) counted as, as in `EvaluationProtocol`.
        label_encoder: what turned labels into vectors.
        leak: whether test images or unseen labels were trained on and the user allowed it.
        neighbours: of each test image, over which its scores were averaged; 0 for none.
        seeds: the evaluations of which this is the mean, one per seed of the training; empty where there is one alone.
    """

    zsl: TaskResult
    gzsl: TaskResult
    per_label: tuple[LabelResult, ...]
    ks: tuple[int, ...]
    unknown: Unverified
    label_encoder: str = ""
    leak: bool = False
    neighbours: int = 0
    seeds: tuple[Evaluation, ...] = ()

    def task(self, name: Task) -> TaskResult:
        """The result of a task by its short name."""
        return self.zsl if name == "zsl" else self.gzsl

    def figures(self, task: Task, image_set: ImageSet = "labelled") -> Figures:
        """The numbers of a task on one image set."""
        result = self.task(task)
        return result.labelled if image_set == "labelled" else result.all_images

    def warnings(self, image_set: ImageSet) -> list[str]:
        """Sentences about the K of an image set at which a random ranking has more than half of the ceiling's F1."""
        remedy = " Unverified labels, where there are any, are left out of the K best: see --unknown."
        remedy = remedy if self.unknown == "ignore" else ""
        return [
            f"WARNING: {task.upper()} F1@{k} says little: a random ranking has {at.f1:.1f}, and no model can have more "
            f"than {figures.ceiling[k].f1:.1f}.{remedy}"
            for task in TASKS
            for figures in [self.figures(task, image_set)]
            for k, at in figures.chance.items()
            if at.f1 > figures.ceiling[k].f1 / 2
        ]

    def mean_ap_without(self, task: Task, labels: Collection[str]) -> tuple[float, float]:
        """Mean average precision of a task, and of chance, over its labels with a positive but for these, percent."""
        rows = [row for row in self.per_label if task in row.average_precision and row.label not in labels]
        known = [row for row in rows if not math.isnan(row.average_precision[task])]
        if not known:
            return math.nan, math.nan
        return fmean(row.average_precision[task] for row in known), fmean(row.chance[task] for row in known)

    def to_json(self) -> dict[str, Any]:
        """JSON object: `zsl`, `gzsl`, `protocol`, `per_label` and `leak`; percent, unrounded."""
        return {
            "zsl": self.zsl.to_json(),
            "gzsl": self.gzsl.to_json(),
            "protocol": {
                "image_set": self.zsl.labelled.image_set,
                "unknown": self.unknown,
                "ks": list(self.ks),
                "label_encoder": self.label_encoder,
                "labels_without_positive": "left out of mAP",
                "ties": "lower index first",
                "neighbours": self.neighbours,
            },
            "per_label": [row.to_json() for row in self.per_label],
            "leak": self.leak,
            "warnings": self.warnings("labelled"),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """Read back what `to_json` gave; further keys are left alone."""
        protocol = value["protocol"]
        return cls(
            TaskResult.from_json(value["zsl"]),
            TaskResult.from_json(value["gzsl"]),
            tuple(LabelResult.from_json(row) for row in value["per_label"]),
            tuple(protocol["ks"]),
            protocol["unknown"],
            protocol["label_encoder"],
            value["leak"],
            protocol.get("neighbours", 0),
        )


def mean_over_seeds(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of several trainings that differ in their seed: every number is the mean of theirs.

    Args:
        evaluations: on the same test images and labels, at least one.
    """
    first = evaluations[0]
    if len(evaluations) == 1:
        return first
    mean = Evaluation.from_json(_mean([evaluation.to_json() for evaluation in evaluations]))
    return replace(mean, seeds=tuple(evaluations))


def _mean(values: Sequence[Any]) -> Any:
    """Mean of JSON values of one form; what is no fraction is alike in all of them."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _mean([value[key] for value in values]) for key in first}
    if isinstance(first, list):
        return [_mean(items) for items in zip(*values, strict=True)]
    return fmean(values) if isinstance(first, float) else first


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
