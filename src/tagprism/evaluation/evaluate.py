"""Measure a model, or scores of any origin, on the test pictures of a split: leak check, scores, metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int64

from tagprism.bundle.neighbours import nearest_pictures
from tagprism.bundle.record import Records
from tagprism.bundle.write import made_with
from tagprism.datasets.registry import check_given
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.device import device_in_use
from tagprism.errors import InputError, PictureError
from tagprism.evaluation.leakage import check_leak, find_leak
from tagprism.evaluation.protocols import TASKS, Evaluation, EvaluationProtocol, Unverified, of_rankings
from tagprism.evaluation.reliability import Reliability, reliability, reliability_table
from tagprism.evaluation.scores import streamed_scores
from tagprism.evaluation.streaming import evaluate_records, evaluate_scores
from tagprism.evaluation.table import as_html, as_text, comparison_table, lay_out
from tagprism.images.picture_file import PictureFile
from tagprism.images.stream import digest_pictures, reading_order
from tagprism.labels.vocabulary import groups_of
from tagprism.progress import Progress, silent
from tagprism.tagging.tagger import Tagger, load


class InFolder(Protocol):
    """Something that lies in a folder, such as a finished Run."""

    @property
    def path(self) -> Path:
        """The folder."""
        ...


Model: TypeAlias = Tagger | InFolder | os.PathLike[str] | str
"""An opened model, a finished Run, or what `load` opens: a RUN, a BUNDLE, a packaged name, `hf-hub:owner/name`."""


@dataclass(frozen=True, eq=False)
class Result:
    """What was measured, and what it was measured on. `print` and notebooks show it as a table.

    Args:
        name: of the model; `scores` for scores.
        evaluation: the numbers.
        protocol: how they were measured.
        names: L labels, seen ones first.
        unseen: (L,) true for unseen ones.
        targets: (N, L) of the test pictures that could be used.
        files: their N paths.
        skipped: key and reason of the test pictures that could not be used.
        provenance: what the result comes from: model, data, split, versions.
        records: of the N pictures; None for scores.
        queries: (L, Q) scoring vectors of the labels; None for scores.
        best_rows: of the model's scores, as `score_records` takes it.
        calibration: how well the probabilities hold, for `unseen` and `seen` labels; empty without a calibration.
    """

    name: str
    evaluation: Evaluation
    protocol: EvaluationProtocol
    names: tuple[str, ...]
    unseen: Bool[np.ndarray, " L"]
    targets: Int8[np.ndarray, "N L"]
    files: tuple[PictureFile, ...]
    skipped: tuple[tuple[str, PictureError], ...]
    provenance: Mapping[str, Any]
    records: Records | None = None
    queries: Float32[np.ndarray, "L Q"] | None = None
    best_rows: int = 1
    calibration: Mapping[str, Reliability] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON object of `Evaluation.to_json`, and `provenance` and `calibration`; percent, unrounded."""
        result = self.evaluation.to_json() | {"provenance": dict(self.provenance)}
        if self.calibration:
            result["calibration"] = {name: its.to_json() for name, its in self.calibration.items()}
        return result

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row per label.

        Its columns are `unseen`, `positives`, `AP_zsl`, `chance_zsl`, `AP_gzsl` and `chance_gzsl`; what does not exist,
        such as the ZSL of a seen label, is NaN.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError("a table needs pandas.", remedy="Install it with: pip install pandas") from error
        columns = ["label", "unseen", "positives", *(f"{name}_{task}" for task in TASKS for name in ("AP", "chance"))]
        rows = [row.to_json() for row in self.evaluation.per_label]
        types = dict.fromkeys(columns[3:], float)
        return pd.DataFrame(rows, columns=columns).astype(types).set_index("label")

    def _repr_html_(self) -> str:
        """What a notebook shows: as `print`, without the probabilities."""
        return as_html(lay_out({self.name: [self.evaluation]}, image_set=self.protocol.image_set))

    def __str__(self) -> str:
        """The result beside chance, constant and ceiling, as a table."""
        layout = lay_out({self.name: [self.evaluation]}, image_set=self.protocol.image_set)
        text = as_text(comparison_table(layout))
        return text + as_text(reliability_table(self.calibration)) if self.calibration else text


def evaluate(
    model_or_scores: Model | Any,
    table: ImageTable,
    split: Split,
    *,
    protocol: EvaluationProtocol = EvaluationProtocol(),  # noqa: B008 (frozen)
    limit: int | None = None,
    progress: Progress = silent,
) -> Result:
    """Measure a model, or scores of any origin, on the test pictures of a split: ZSL and GZSL.

    Args:
        model_or_scores: a model (an opened one, a finished Run, or the path or name of a RUN or BUNDLE); or an array or
            tensor of scores (N, L), higher is better and comparable between pictures, whose rows are in the order of
            `split.test` and whose columns are in the order of `split.seen + split.unseen`.
        table: the pictures and their labels.
        split: which labels are seen and unseen, which pictures test.
        protocol: K, what unverified pairs count as, and so on.
        limit: the first so many test pictures only; scores then have so many rows.
        progress: told of every picture.

    Returns:
        The numbers and what they were measured on.

    Raises:
        LeakError: something of the test was trained on. Of scores nothing is known, so nothing is checked.
        InputError: labels without vectors, no test picture can be used, nothing to measure, scores of another shape.

    Example:
        >>> from tagprism.datasets.table import Ragged
        >>> table = ImageTable(
        ...     kind="example", files=[Path("a.jpg"), Path("b.jpg")], keys=["a", "b"], labels=("dog", "cat", "sea"),
        ...     positive=Ragged.from_rows([[0, 2], [1]]), negative=Ragged.from_rows([[], []]), unlisted="negative",
        ... )
        >>> split = Split("mine", seen=("dog",), unseen=("cat", "sea"), train=(), val=(), test=("a", "b"))
        >>> scores = [[0.9, 0.1, 0.8], [0.2, 0.7, 0.3]]  # of dog, cat and sea in a.jpg, then in b.jpg
        >>> result = evaluate(scores, table, split, protocol=EvaluationProtocol(ks=(1,)))
        >>> result.to_json()["zsl"]["mAP"], result.to_json()["gzsl"]["P@1"]
        (100.0, 100.0)
    """
    check_given(table, split)
    names, keys = (*split.seen, *split.unseen), split.test[:limit]
    unseen, rows = np.arange(len(names)) >= len(split.seen), table.rows_of(keys)
    provenance: dict[str, Any] = {
        "evaluated_with": made_with(),
        "engine": "scores",
        "data": table.digest,
        "split": split.name,
        "split_digest": split.digest,
        "protocol": split.protocol.to_json() if split.protocol else None,
    }
    tagger = _opened(model_or_scores)
    if tagger is not None:
        return _evaluate_model(tagger, table, split, names, unseen, keys, rows, protocol, provenance, progress)
    if protocol.neighbours:
        raise InputError("neighbours are found by a model's records; scores have none.", where="neighbours")
    targets = table.targets(rows, names)
    evaluation = evaluate_scores(
        model_or_scores, names, unseen, targets, ks=protocol.ks, unknown=protocol.unknown_for(table.kind)
    )
    files = tuple(table.files[int(row)] for row in rows)
    return Result("scores", evaluation, protocol, names, unseen, targets, files, (), provenance)


def _opened(model: Any) -> Tagger | None:
    """The model, or None for what must be scores."""
    if isinstance(model, Tagger):
        return model
    folder = model if isinstance(model, str | os.PathLike) else getattr(model, "path", None)
    return None if folder is None else load(folder)


def _evaluate_model(
    tagger: Tagger,
    table: ImageTable,
    split: Split,
    names: tuple[str, ...],
    unseen: Bool[np.ndarray, " L"],
    keys: Sequence[str],
    rows: Int64[np.ndarray, " N"],
    protocol: EvaluationProtocol,
    provenance: dict[str, Any],
    progress: Progress,
) -> Result:
    files, config = [table.files[int(row)] for row in rows], tagger.bundle.config
    digests, _ = digest_pictures(files, progress)
    leak = find_leak(
        tagger.bundle.trained_images,
        config.seen,
        {keys[at]: digest for at, digest in digests.items()},
        split.unseen,
        tagger.vocabulary.aliases,
        split.protocol.same_label if split.protocol else frozenset(),
    )
    if not protocol.allow_leak:
        check_leak(leak)
    vectors, owners = tagger.embed_apart(names)
    queries = tagger.scoring_vectors_of([names[at] for at in owners], vectors)
    groups = None if len(vectors) == len(names) else groups_of(np.bincount(owners).tolist())
    order = reading_order(files)
    read = tagger.records([files[at] for at in order], progress=progress)
    outcomes = sorted(((order[position], outcome) for position, outcome, _ in read), key=lambda one: one[0])
    skipped = [(keys[at], outcome) for at, outcome in outcomes if isinstance(outcome, PictureError)]
    good = [(at, outcome) for at, outcome in outcomes if not isinstance(outcome, PictureError)]
    usable, records = [at for at, _ in good], [record for _, record in good]
    if not usable:
        raise InputError(f"none of {len(keys)} test pictures can be used. The first: {skipped[0][1]}")
    targets, stacked = table.targets(rows[usable], names), Records.joined(records)
    evaluation = evaluate_records(
        stacked,
        names,
        queries,
        unseen,
        targets,
        ks=protocol.ks,
        unknown=protocol.unknown_for(table.kind),
        label_encoder=" + ".join(config.encoders) or str(config.provenance.get("label_vectors", "")),
        leak=bool(leak),
        nearest=nearest_pictures(stacked.rows, protocol.neighbours) if protocol.neighbours else None,
        groups=groups,
        best_rows=tagger.best_rows,
    )
    origin = {"model": config.provenance, "bundle": tagger.bundle.digest, **provenance, "engine": "onnx"}
    origin |= {"views": tagger.bundle.views, "device": device_in_use()}
    origin["own_calibration"] = tagger.own_calibration is not None
    return Result(
        config.name,
        evaluation,
        protocol,
        names,
        unseen,
        targets,
        tuple(files[at] for at in usable),
        tuple(skipped),
        origin | {"vocabulary": tagger.vocabulary.digest},
        stacked,
        tagger.scoring_vectors(names),
        tagger.best_rows,
        _reliability(tagger, names, unseen, stacked, targets, protocol.unknown_for(table.kind)),
    )


def _reliability(
    tagger: Tagger,
    names: tuple[str, ...],
    unseen: Bool[np.ndarray, " L"],
    records: Records,
    targets: Int8[np.ndarray, "N L"],
    unknown: Unverified,
) -> dict[str, Reliability]:
    """How well the probabilities hold over all test pictures, those without any of the labels too."""
    if tagger.calibration is None:
        return {}
    vectors = tagger.embed(names)
    calibrated = tagger.calibration.of_labels(names, vectors, tagger.vocabulary)
    probabilities = calibrated.probabilities(
        records, streamed_scores(records, tagger.scoring_vectors_of(names, vectors), best_rows=tagger.best_rows)
    )
    policy = of_rankings(unknown)
    known = (targets >= 0) | (policy == "negative")
    return {
        name: reliability(probabilities[:, side], targets[:, side], unknown=policy)
        for name, side in (("unseen", unseen), ("seen", ~unseen))
        if known[:, side].any()
    }
