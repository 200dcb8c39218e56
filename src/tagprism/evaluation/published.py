"""Other people's numbers: which belong beside a result, and which of them can be compared. Measures nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tagprism.evaluation.metrics import ImageSet
from tagprism.evaluation.protocols import TASKS, Evaluation, Task

Percent = Annotated[float, Field(gt=0, lt=100)]
Metric = Annotated[str, Field(pattern=r"^(mAP|(P|R|F1)@[1-9]\d*)$")]
_HALF = 0.05  # published percentages have one digit after the point


class Entry(BaseModel):
    """Numbers of one method on one protocol, from one source.

    Args:
        data: kind of the data set, as in `nus-wide:DIR`.
        seen, unseen: numbers of labels.
        task: `zsl` or `gzsl`.
        method: its name.
        values: percent, by metric: `mAP`, `P@3`, `R@3`, `F1@3`.
        image_set: which images were scored, where it is known.
        label_vectors: where it is known.
        source: what states the values; None for unverified ones.
        unverified: whether the table they come from was not seen.
        note: anything else a reader must know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    seen: int
    unseen: int
    task: Task
    method: str
    values: dict[Metric, Percent] = Field(min_length=1)
    image_set: ImageSet | None = None
    label_vectors: str | None = None
    source: str | None = None
    unverified: bool = False
    note: str | None = None

    @model_validator(mode="after")
    def _source_or_mark(self) -> Entry:
        if bool(self.source) == self.unverified:
            raise ValueError("an entry has a source or is marked unverified")
        return self

    @property
    def ks(self) -> set[int]:
        """The K of its metrics."""
        return {int(metric.partition("@")[2]) for metric in self.values if "@" in metric}


@dataclass(frozen=True)
class ComparableGroup:
    """Published rows of one task that may have been measured on the same images and labels.

    Args:
        task: of the rows.
        methods: their names.
        least, most: positives per scored image that fit all of them.
    """

    task: Task
    methods: tuple[str, ...]
    least: float
    most: float

    @property
    def middle(self) -> float:
        """The number to show."""
        return (self.least + self.most) / 2


@cache
def published() -> tuple[Entry, ...]:
    """All entries of `published.toml`."""
    text = files("tagprism.evaluation").joinpath("published.toml").read_text(encoding="utf-8")
    return tuple(Entry.model_validate(entry) for entry in tomllib.loads(text)["entry"])


def published_for(kind: str, seen: int, unseen: int) -> tuple[Entry, ...]:
    """The entries for a data set and protocol, and no others.

    Args:
        kind: of the data set, such as `nus-wide`.
        seen, unseen: numbers of labels.
    """
    return tuple(entry for entry in published() if (entry.data, entry.seen, entry.unseen) == (kind, seen, unseen))


def comparable_groups(entries: Iterable[Entry]) -> tuple[ComparableGroup, ...]:
    """Sort methods by the positives per image that their numbers imply.

    TP = P K N = R positives, so positives / N = K P / R; known to within the rounding of P and R. A method is in a
    group when one number fits all of the group. Methods without P and R at one K are in none.

    Args:
        entries: of one data set and protocol.

    Returns:
        Groups by task, fewest positives first. Rows of different groups cannot be compared.
    """
    listed, groups = list(entries), []
    for task in TASKS:
        spans = []
        for method in dict.fromkeys(entry.method for entry in listed if entry.task == task):
            its = [entry.values for entry in listed if (entry.task, entry.method) == (task, method)]
            if span := _implied({metric: value for values in its for metric, value in values.items()}):
                spans.append((*span, method))
        groups += _grouped(task, sorted(spans))
    return tuple(groups)


def _implied(values: dict[str, float]) -> tuple[float, float] | None:
    """Least and most positives per image that fit P and R at every K."""
    spans = []
    for metric, precision in values.items():
        name, _, k = metric.partition("@")
        recall = values.get(f"R@{k}")
        if name == "P" and recall is not None:
            spans.append(
                (int(k) * (precision - _HALF) / (recall + _HALF), int(k) * (precision + _HALF) / (recall - _HALF))
            )
    if not spans:
        return None
    least, most = max(span[0] for span in spans), min(span[1] for span in spans)
    return (least, most) if least <= most else (most, least)  # contradicting rows: all that lies between


def _grouped(task: Task, spans: Sequence[tuple[float, float, str]]) -> list[ComparableGroup]:
    """Walk up the spans; one that shares no number with the group begins the next."""
    groups: list[ComparableGroup] = []
    for least, most, method in spans:
        last = groups[-1] if groups else None
        if last is not None and least <= last.most:
            groups[-1] = ComparableGroup(task, (*last.methods, method), least, min(most, last.most))
        else:
            groups.append(ComparableGroup(task, (method,), least, most))
    return groups


def published_cell(published: Sequence[Entry], method: str, task: Task, metric: str) -> str:
    """A published method's number for a table, with its mark; empty where it published none."""
    for entry in published:
        if (entry.method, entry.task) == (method, task) and metric in entry.values:
            return f"{entry.values[metric]:.1f}{'?' if entry.unverified else ''}"
    return ""


def published_caption(published: Sequence[Entry], task: Task) -> str:
    """On what each published row of a task stands, as far as it is known."""
    rows = []
    for method in dict.fromkeys(entry.method for entry in published if entry.task == task):
        own = [entry for entry in published if (entry.method, entry.task) == (method, task)]
        image_set = next((entry.image_set for entry in own if entry.image_set), None)
        vectors = next((entry.label_vectors for entry in own if entry.label_vectors), None)
        ks = sorted({k for entry in own for k in entry.ks})
        stands = [
            f"images: {image_set or 'not known'}",
            *([f"K {', '.join(map(str, ks))}"] if ks else []),
            f"label vectors: {vectors or 'not known'}",
            *dict.fromkeys(entry.source or "unverified" for entry in own),
            *(entry.note for entry in own if entry.note),
        ]
        rows.append(f"{method} ({'; '.join(stands)})")
    unseen = any(entry.unverified for entry in published if entry.task == task)
    mark = " ? is unverified: the table that a number comes from was not seen." if unseen else ""
    return f"Published {task.upper()}: {', '.join(rows)}.{mark}" if rows else ""


def comparability_caption(evaluations: Sequence[Evaluation], published: Sequence[Entry], task: Task) -> str:
    """Which published rows stand on other images or labels, told by the positives per image that P and R imply."""
    groups = [group for group in comparable_groups(published) if group.task == task]
    if not groups:
        return ""
    result = evaluations[0].task(task)
    ours = {"labelled": result.labelled.positives_per_image, "all": result.all_images.positives_per_image}
    words = []
    for group in groups:
        same = [name for name, value in ours.items() if group.least - 0.005 <= value <= group.most + 0.005]
        words.append(
            f"{group.middle:.2f} in {', '.join(group.methods)} "
            f"({'as here, image set ' + ' and '.join(same) if same else 'NOT COMPARABLE with this test'})"
        )
    here = ", ".join(f"{value:.2f} ({name})" for name, value in ours.items())
    text = f"{task.upper()}: positives per image by K*P/R: {'; '.join(words)}. This test: {here}."
    if len(groups) > 1:
        text += f" The {len(groups)} groups are not comparable with each other: other images or labels."
    return text
