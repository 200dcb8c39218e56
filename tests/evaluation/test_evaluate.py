"""`evaluate` as Python calls it: models, runs, scores."""

from __future__ import annotations

import doctest
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagprism.datasets.splits import Split, load_split
from tagprism.datasets.table import ImageTable
from tagprism.datasets.tagged import open_tagged
from tagprism.errors import InputError
from tagprism.evaluation import evaluate as module
from tagprism.evaluation.evaluate import evaluate
from tagprism.evaluation.metrics import mean_average_precision
from tagprism.evaluation.protocols import EvaluationProtocol
from tagprism.evaluation.report import render_report, report_of
from tagprism.evaluation.scores import streamed_scores
from tests.small_world import World

K1 = EvaluationProtocol(ks=(1,))


@dataclass(frozen=True)
class Data:
    """A data set and its first split."""

    table: ImageTable
    split: Split


@pytest.fixture
def data(world: World) -> Data:
    table = open_tagged(world.data)
    return Data(table, load_split(f"{world.data}/splits.json#0", table))


def test_a_path_and_a_finished_run_and_its_scores_are_measured_alike(world: World, data: Data) -> None:
    @dataclass(frozen=True)
    class Run:
        path: Path

    by_path = evaluate(world.run, data.table, data.split, protocol=K1)
    by_run = evaluate(Run(world.run), data.table, data.split, protocol=K1)
    assert by_run.to_json() == by_path.to_json()
    assert by_path.records is not None and by_path.queries is not None
    scores = streamed_scores(by_path.records, by_path.queries)
    by_scores = evaluate(scores, data.table, data.split, protocol=K1)
    for task in ("zsl", "gzsl"):
        assert by_scores.to_json()[task] == by_path.to_json()[task]
    assert by_scores.provenance["engine"] == "scores" and by_path.provenance["engine"] == "onnx"
    shown = str(by_scores)
    assert "scores" in shown and "ZSL mAP" in shown and "ceiling" in shown
    assert "scores on splits.json#0" in render_report(report_of(by_scores))


def test_scores_are_in_the_order_of_test_pictures_and_of_seen_then_unseen_labels(data: Data) -> None:
    split, names = data.split, (*data.split.seen, *data.split.unseen)
    targets = data.table.targets(data.table.rows_of(split.test), names)
    result = evaluate(targets.astype(float), data.table, split, protocol=K1)
    assert result.evaluation.gzsl.labelled.mean_ap == result.evaluation.zsl.labelled.mean_ap == 100
    random = np.random.default_rng(0).random(targets.shape)  # float64: no tie that float32 would make
    torch = pytest.importorskip("torch")
    found = [evaluate(one, data.table, split, protocol=K1) for one in (random, random.tolist(), torch.tensor(random))]
    assert found[0].to_json() == found[1].to_json() == found[2].to_json()
    assert found[0].evaluation.gzsl.all_images.mean_ap == pytest.approx(mean_average_precision(random, targets))
    assert json.loads(json.dumps(found[0].to_json()))["zsl"]["labels"] == 2
    everything = evaluate(random, data.table, split, protocol=EvaluationProtocol(ks=(1,), image_set="all"))
    assert f"ZSL: {len(split.test)} images" in " ".join(str(everything).split())


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (
            np.zeros((22, 7)),
            {},
            r"scores have the shape \(22, 7\), but there are 22 images and 8 labels\. Give one row",
        ),
        (np.zeros((21, 8)), {}, r"scores have the shape \(21, 8\)"),
        (np.zeros(8), {}, r"scores have the shape \(8,\)"),
        (np.full((22, 8), np.nan), {}, "the score of image 0 for label 0 is nan"),
        (np.full((22, 8), "x"), {}, "must be numbers"),
        (object(), {}, "must be numbers"),
        (np.zeros((22, 8)), {"neighbours": 2}, "neighbours are found by a model's records"),
        (np.zeros((22, 8)), {"ks": (0,)}, "K must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(data: Data, scores: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(scores, data.table, data.split, protocol=EvaluationProtocol(**options))


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(module).failed == 0 < doctest.testmod(module).attempted
