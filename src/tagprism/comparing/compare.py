"""Several methods on the same pictures, over splits and seeds, with published numbers beside them."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.table import Table

from tagprism.bundle.write import made_with
from tagprism.comparing.rows import OwnMethod, check_protocol, rows_given
from tagprism.counted import counted
from tagprism.datasets.draw_split import pseudo_unseen
from tagprism.datasets.registry import check_given
from tagprism.datasets.splits import Split, hold_out_validation
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tagprism.evaluation.differences import verdict
from tagprism.evaluation.evaluate import Result, evaluate
from tagprism.evaluation.leakage import LeakError
from tagprism.evaluation.protocols import Evaluation, EvaluationProtocol, Unverified, mean_over_seeds
from tagprism.evaluation.published import Entry, comparable_groups, published_for
from tagprism.evaluation.table import Layout, as_html, as_text, comparison_markdown, comparison_table, lay_out
from tagprism.files import digest_json, write_json
from tagprism.progress import Progress, silent
from tagprism.training.recipe import Recipe

if TYPE_CHECKING:  # these need torch, and a comparison of finished models does not
    from tagprism.comparing.experiment import Experiment
    from tagprism.comparing.methods import Method


Row: TypeAlias = "Recipe | Method | OwnMethod | str | os.PathLike[str]"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results of several methods on the same test pictures. `print` shows them as a table.

    Args:
        results: by row, one evaluation per split: the mean over the seeds, whose own are in its `seeds` where there are
            several (`results["SDL"][0].seeds[2]`).
        splits: names of the splits.
        seeds: how many trainings stand behind each evaluation.
        kind: of the data set.
        published: other people's numbers for the same data and protocol.
        verdicts: whether each recipe beats each plain CLIP, in sentences.
        known: labels that are names of ImageNet classes, which most backbones were trained on.
        skipped: pictures that could not be used: key -> reason.
        provenance: versions, data and splits.
    """

    results: Mapping[str, tuple[Evaluation, ...]]
    splits: tuple[str, ...]
    seeds: int
    kind: str
    published: tuple[Entry, ...] = ()
    verdicts: tuple[str, ...] = ()
    known: Collection[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def layout(self, *, ratio_to: str | None = None) -> Layout:
        """Columns, rows and captions.

        Args:
            ratio_to: the row whose mAP the others' is also given as a multiple of.

        Raises:
            InputError: the rows were measured on different test pictures, or there is no such row.
        """
        if ratio_to is not None and ratio_to not in self.results:
            rows = ", ".join(self.results)
            raise InputError(f"there is no row `{ratio_to}`.", where="--ratio-to", remedy=f"Rows: {rows}.")
        layout = lay_out(self.results, self.published, known=self.known, ratio_to=ratio_to)
        return Layout(layout.columns, layout.rows, (*layout.captions, *self.verdicts))

    def table(self, *, ratio_to: str | None = None, title: str | None = None) -> Table:
        """Table for the terminal; arguments and errors as for `layout`."""
        title = title or f"{self.kind}, {counted(len(self.splits), 'split')}"
        return comparison_table(self.layout(ratio_to=ratio_to), title=title)

    def markdown(self, *, ratio_to: str | None = None) -> str:
        """Table as Markdown, with its captions below; arguments and errors as for `layout`."""
        return comparison_markdown(self.layout(ratio_to=ratio_to))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return as_html(self.layout())

    def __str__(self) -> str:
        """The table as text."""
        return as_text(self.table())

    def to_json(self) -> dict[str, Any]:
        """JSON object: by row one result per split, those of each seed where there are several, published numbers."""
        found: dict[str, Any] = {
            "methods": {name: [one.to_json() for one in its] for name, its in self.results.items()}
        }
        if self.seeds > 1:
            found["by_seed"] = {
                name: [[seed.to_json() for seed in one.seeds] for one in its] for name, its in self.results.items()
            }
        if self.published:
            groups = [
                asdict(group) | {"positives_per_image": group.middle} for group in comparable_groups(self.published)
            ]
            entries = [entry.model_dump(exclude_none=True) for entry in self.published]
            found["published"] = {"entries": entries, "comparable_groups": groups}
        if self.verdicts:
            found["verdicts"] = list(self.verdicts)
        return found | {"provenance": dict(self.provenance)}


def compare(
    methods: Row | Iterable[Row],
    table: ImageTable,
    splits: Split | Iterable[Split],
    *,
    seeds: int = 1,
    out: Path | None = None,
    ks: Sequence[int] = (),
    published: bool = True,
    unknown: Unverified | None = None,
    progress: Progress = silent,
    begins: Callable[[str], None] | None = None,
) -> Comparison:
    """Train and measure several methods on the same pictures.

    Args:
        methods: the rows; the first is what the others' differences are to. A row is a recipe or its file, a finished
            Run, the path of a RUN or BUNDLE or a name as `load` takes it, or an `OwnMethod`, a method of your own
            (another loss, another network). Rivals are made by `methods.baseline`, variants by another recipe.
        table: the pictures.
        splits: one or several.
        seeds: trainings per row and split, with the recipe's own seed s, then s + 1, ..., s + seeds - 1; at least 1. A
            split's value is their mean.
        out: folder that keeps each result (not those of an `OwnMethod`), so that a second call goes on.
        ks: labels per image for precision, recall and F1; those of the published numbers, else 3, when empty.
        published: put published numbers of this data set and number of labels beside the rows; not for splits that
            were drawn to choose settings by.
        unknown: what an unverified label counts as, as in `EvaluationProtocol`.
        progress: told how far each step is.
        begins: told which row begins.

    Raises:
        InputError: no row or two of one name, no split, fewer than one seed, a row that cannot be run, a finished model
            of another protocol beside published numbers.

    Example:
        >>> labels = [["red", "blue"], ["dog", "cat", "car"]]
        >>> pictures = [(f"photos/{n}.jpg", [labels[0][n % 2], labels[1][n % 3]]) for n in range(24)]
        >>> table = ImageTable.from_labels(pictures)
        >>> split = Split(seen=["red", "blue", "dog", "cat"], unseen=["car"], train=table.keys[:16],
        ...               test=table.keys[16:])
        >>> recipe = Recipe(name="small", model={"image_size": 64}, training={"epochs": 1, "validation": 0})
        >>> single = recipe.model_copy(update={"name": "M=1", "model": recipe.model.model_copy(update={"vectors": 1})})
        >>> list(compare([recipe, single], table, split).results)
        ['small', 'M=1']
    """
    rows: list[Method | OwnMethod] = rows_given(methods)
    parts = [splits] if isinstance(splits, Split | str) else list(splits)
    check_given(table, *parts)
    names = [row.name for row in rows]
    if len(set(names)) != len(names):
        raise InputError("two rows have the same name.", where=", ".join(names), remedy="Rename one.")
    if not rows or not parts or seeds < 1:
        raise InputError(
            f"{counted(len(rows), 'row')}, {counted(len(parts), 'split')} and {counted(seeds, 'seed')}: "
            "there must be one of each at least."
        )
    entries = _published(table, parts) if published else ()
    for split in parts if entries else ():
        for row in rows:
            check_protocol(row, split)
    ks = tuple(ks) or tuple(sorted({k for entry in entries for k in entry.ks})) or (3,)
    results: dict[str, list[Evaluation]] = {name: [] for name in names}
    skipped = {one.key: one.message for one in table.skipped}
    protocol = EvaluationProtocol(ks=ks, unknown=EvaluationProtocol(unknown=unknown).unknown_for(table.kind))
    for split in parts:
        experiment: Experiment | None = None
        if any(not isinstance(row, OwnMethod) for row in rows):
            from tagprism.comparing.experiment import Experiment

            experiment = Experiment(table, split, protocol.ks, protocol.unknown_for(table.kind), progress)
        for row in sorted(rows, key=lambda row: not isinstance(row, OwnMethod)):  # what is refused at once comes first
            found = []
            for number in range(seeds if not isinstance(row, OwnMethod) or row.seeded else 1):
                if begins is not None:
                    begins(f"{split.name}: {row.name}" + f", seed {number + 1} of {seeds}" * (seeds > 1))
                if isinstance(row, OwnMethod):
                    result = _measured(row, table, split, number, protocol, progress)
                    found.append(result.evaluation)
                    skipped |= {key: error.message for key, error in result.skipped}
                else:
                    assert experiment is not None
                    found.append(run_method(experiment, row.with_seed(number), out))
            results[row.name].append(mean_over_seeds(found))
        skipped |= experiment.skipped if experiment is not None else {}
    finished = {name: tuple(evaluations) for name, evaluations in results.items()}
    return Comparison(
        finished,
        tuple(split.name for split in parts),
        seeds,
        table.kind.partition(":")[0],
        entries,
        tuple(_against_clip(rows, finished)),
        _known_to_imagenet(table.labels),
        skipped,
        made_with() | {"data": table.digest, "splits": {split.name: split.digest for split in parts}},
    )


def _measured(
    row: OwnMethod, table: ImageTable, split: Split, number: int, protocol: EvaluationProtocol, progress: Progress
) -> Result:
    """Evaluate a row; one that was trained on the test is refused by its name."""
    try:
        return evaluate(row.run(table, split, number), table, split, protocol=protocol, progress=progress)
    except LeakError as error:
        remedy = f"Compare it on the split that it was trained with, not on {split.name}, or leave the row out."
        raise LeakError(error.what, where=row.name, remedy=remedy) from error


def choosing_splits(split: Split, share: float) -> list[Split]:
    """Five splits to choose settings by: validation pictures as test, some seen labels that play the unseen ones.

    Args:
        split: the true split; none of its unseen labels and test pictures is used.
        share: part of the seen labels that play the unseen ones, between 0 and 1.
    """
    held = split if split.val else hold_out_validation(split, 0.2, seed=0)
    return [pseudo_unseen(held, share, seed) for seed in range(5)]


def run_method(experiment: Experiment, method: Method, kept_in: Path | None) -> Evaluation:
    """Measure a row, or read what an earlier call measured with the same code, recipe (and seed), data and split.

    Args:
        experiment: data and split.
        method: what to measure.
        kept_in: folder of results, one JSON file each; None keeps nothing.
    """
    if kept_in is None:
        return experiment.run(method)
    identity = {
        "kind": method.kind,
        "recipe": method.recipe.model_dump(mode="json") | {"name": ""},
        "data": experiment.table.digest,
        "split": experiment.split.digest,
        "pictures": experiment.pictures_digest,
        "ks": experiment.ks,
        "unknown": experiment.unknown,
        "version": made_with()["versions"]["tagprism"],
        "commit": made_with()["commit"],
    }
    file = kept_in / f"{digest_json(identity)[:24]}.json"
    if file.is_file():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            experiment.skipped.update(stored["skipped"])
            return Evaluation.from_json(stored)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "Delete it: it is measured again."
            raise InputError(
                f"is not a result that can be read ({error!r}).", where=str(file), remedy=remedy
            ) from error
    evaluation = experiment.run(method)
    more = {"method": method.name, "skipped": experiment.skipped, "provenance": identity | made_with()}
    write_json(file, evaluation.to_json() | more)
    return evaluation


def _known_to_imagenet(labels: Sequence[str]) -> frozenset[str]:
    """Labels that are names of ImageNet classes; none where timm, which lists the names, is not installed."""
    if importlib.util.find_spec("timm") is None:
        return frozenset()
    from tagprism.training.networks import imagenet_labels

    return frozenset(imagenet_labels(labels))


def _published(table: ImageTable, splits: Sequence[Split]) -> tuple[Entry, ...]:
    """Published numbers for this data set and number of labels; none where the splits differ in it."""
    counts = {(len(split.seen), len(split.unseen)) for split in splits}
    return published_for(table.kind.partition(":")[0], *counts.pop()) if len(counts) == 1 else ()


def _against_clip(rows: Sequence[Method | OwnMethod], results: Mapping[str, Sequence[Evaluation]]) -> Iterable[str]:
    """Whether each recipe beats each plain CLIP: it must, or the table says so."""
    ours = [row for row in rows if not row.is_plain_clip and (isinstance(row, OwnMethod) or row.kind == "recipe")]
    clips = [row for row in rows if row.is_plain_clip]
    for rival in clips:
        for own in ours:
            yield verdict(own.name, results[own.name], rival.name, results[rival.name])
