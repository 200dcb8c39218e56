"""The streaming evaluation against the metrics in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagprism.bundle.record import Records
from tagprism.errors import InputError
from tagprism.evaluation import streaming
from tagprism.evaluation.metrics import (
    average_precisions,
    labelled_images,
    mean_average_precision,
    precision_recall_f1_at_k,
)
from tagprism.evaluation.protocols import Evaluation, EvaluationProtocol, Unverified
from tagprism.evaluation.ranking import expected_average_precision, mean_of_known
from tagprism.evaluation.scores import streamed_scores

Problem = Any  # of conftest.py
MakeProblem = Callable[..., Problem]

KS = (3, 5, 20)


def in_memory(scores: np.ndarray, targets: np.ndarray, unknown: Unverified) -> dict[str, float]:
    """The numbers of one image set, from the plain metrics."""
    marks = np.maximum(targets, 0) if unknown == "negative" else targets
    known, positives = (marks >= 0).sum(axis=0), (marks == 1).sum(axis=0)
    numbers = {
        "images": len(targets),
        "labels": targets.shape[1],
        "labels_without_positive": int(((targets == 1).sum(axis=0) == 0).sum()),
        "positives_per_image": (targets == 1).sum() / len(targets),
        "mAP": mean_average_precision(scores, marks),
        "mAP_weighted": mean_of_known(average_precisions(scores, marks), positives),
        "chance_mAP": mean_of_known(expected_average_precision(known, positives)),
    }
    marks = np.maximum(targets, 0) if unknown == "lesa" else marks
    for k in KS:
        if k <= targets.shape[1]:
            numbers |= precision_recall_f1_at_k(scores, marks, k, image_set="all")
            numbers |= random_at_k(marks, k)
            for line, best in (("constant", np.broadcast_to(positives, marks.shape)), ("ceiling", marks)):
                found = precision_recall_f1_at_k(best, marks, k, image_set="all")
                numbers |= {f"{line}_{key}": value for key, value in found.items()}
    return numbers


def random_at_k(marks: np.ndarray, k: int) -> dict[str, float]:
    """Expected numbers of labels drawn at random for each image, image by image."""
    hits = predicted = 0.0
    for row in marks:
        known = int((row >= 0).sum())
        predicted += min(k, known)
        hits += min(k, known) * (row == 1).sum() / max(known, 1)
    positives = (marks == 1).sum()
    numbers = {"P": hits / predicted, "R": hits / positives, "F1": 2 * hits / (predicted + positives)}
    return {f"chance_{key}@{k}": 100 * value for key, value in numbers.items()}


@pytest.mark.parametrize("unknown", ["ignore", "negative", "lesa"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scores_held", [2**27, 300 * 7])
def test_streaming_gives_what_the_metrics_give_in_memory(
    make_problem: MakeProblem, unknown: Unverified, seed: int, scores_held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BLOCK_SCORES", scores_held)  # the second: blocks of 7 of the 30 labels
    problem = make_problem(seed, ties=seed % 2 == 1, unknown=0.3 * (seed // 2))
    result = problem.evaluate(ks=KS, unknown=unknown).to_json()
    scores = streamed_scores(problem.records, problem.vectors)
    for task, labels in (("zsl", problem.unseen), ("gzsl", np.ones(len(problem.names), bool))):
        own_scores, own_targets = scores[:, labels], problem.targets[:, labels]
        shown = labelled_images(own_targets)
        labelled, everything = dict(result[task]), result[task]["all"]
        del labelled["all"]
        for numbers, keep, name in ((labelled, shown, "labelled"), (everything, shown | True, "all")):
            assert numbers.pop("image_set") == name
            assert numbers == pytest.approx(in_memory(own_scores[keep], own_targets[keep], unknown), rel=1e-9)


def test_scores_are_the_largest_product_of_a_row_with_the_label_and_the_shared_number(problem: Problem) -> None:
    products = np.einsum("nmd,ld->nml", problem.records.rows.astype(np.float64), problem.vectors)
    expected = products.max(axis=1) + problem.records.shared
    np.testing.assert_allclose(streamed_scores(problem.records, problem.vectors), expected, atol=1e-5)


def test_each_label_has_its_own_row(make_problem: MakeProblem) -> None:
    problem = make_problem(unknown=0.2)
    rows = problem.evaluate().to_json()["per_label"]
    scores = streamed_scores(problem.records, problem.vectors)
    for task, labels in (("zsl", np.flatnonzero(problem.unseen)), ("gzsl", np.arange(30))):
        shown = labelled_images(problem.targets[:, labels])
        targets = problem.targets[shown][:, labels]
        precisions = average_precisions(scores[shown][:, labels], targets)
        chance = expected_average_precision((targets >= 0).sum(axis=0), (targets == 1).sum(axis=0))
        for column, label in enumerate(labels):
            if np.isnan(precisions[column]):
                assert rows[label][f"AP_{task}"] is rows[label][f"chance_{task}"] is None
            else:
                assert rows[label][f"AP_{task}"] == pytest.approx(precisions[column])
                assert rows[label][f"chance_{task}"] == pytest.approx(chance[column])
    assert [row["label"] for row in rows] == list(problem.names)
    assert [row["unseen"] for row in rows] == problem.unseen.tolist()
    assert [row["positives"] for row in rows] == (problem.targets == 1).sum(axis=0).tolist()
    assert [row["label"] for row in rows if "AP_zsl" in row] == list(problem.names[:10])
    assert rows[3]["AP_zsl"] is None


def test_the_json_names_its_protocol_and_every_number(problem: Problem) -> None:
    result = problem.evaluate(label_encoder="minilm").to_json()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["protocol"] == {
        "image_set": "labelled",
        "unknown": "ignore",
        "ks": [3, 5],
        "label_encoder": "minilm",
        "labels_without_positive": "left out of mAP",
        "ties": "lower index first",
        "neighbours": 0,
    }
    assert result["leak"] is False
    lines = ("", "constant_", "ceiling_", "chance_")
    at_k = {f"{line}{part}@{k}" for line in lines for part in ("P", "R", "F1") for k in (3, 5)}
    plain = {"image_set", "images", "labels", "labels_without_positive", "positives_per_image"}
    keys = plain | {"mAP", "mAP_weighted", "chance_mAP"} | at_k
    for task in ("zsl", "gzsl"):
        assert result[task].keys() == keys | {"all"}
        assert result[task]["all"].keys() == keys
    assert result["zsl"]["labels_without_positive"] == 1
    assert result["gzsl"]["labels_without_positive"] == 2


def test_a_number_that_chance_half_reaches_is_warned_of(make_problem: MakeProblem) -> None:
    """Of Open Images' labels a picture has a handful verified, most of them present: any order of these looks good."""
    problem = make_problem(unknown=0.9)
    assert any("ZSL F1@3 says little" in text for text in problem.evaluate(unknown="ignore").warnings("labelled"))
    assert problem.evaluate(unknown="lesa").warnings("labelled") == []
    assert "WARNING" in str(Evaluation.from_json(problem.evaluate(unknown="ignore").to_json()).to_json()["warnings"])


def test_open_images_is_measured_as_its_tables_are() -> None:
    assert EvaluationProtocol().unknown_for("open-images") == "lesa"
    assert EvaluationProtocol().unknown_for("coco") == "ignore"
    assert EvaluationProtocol(unknown="ignore").unknown_for("open-images") == "ignore"


def test_a_leak_is_marked(problem: Problem) -> None:
    assert problem.evaluate(leak=True).to_json()["leak"] is True


def test_a_k_above_the_labels_of_a_task_is_left_out_of_it(problem: Problem) -> None:
    result = problem.evaluate(ks=(20, 3, 40)).to_json()
    assert "F1@20" not in result["zsl"]
    assert "F1@20" in result["gzsl"]
    assert "F1@40" not in result["gzsl"]
    assert result["protocol"]["ks"] == [3, 20, 40]
    assert problem.evaluate(ks=()).to_json()["zsl"]["mAP"] == result["zsl"]["mAP"]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_memory_mapped_records_give_the_same(problem: Problem, tmp_path: Path, dtype: str) -> None:
    rounded = replace(problem, records=problem.records.astype(dtype))
    np.save(tmp_path / "rows.npy", rounded.records.rows)
    np.save(tmp_path / "shared.npy", rounded.records.shared)
    parts = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("rows", "shared"))
    mapped = replace(problem, records=Records(*parts))
    widened = replace(problem, records=rounded.records.astype(np.float32))
    assert mapped.evaluate().to_json() == rounded.evaluate().to_json() == widened.evaluate().to_json()


def test_a_perfect_model_reaches_the_ceiling_and_a_blind_one_stays_near_chance(make_problem: MakeProblem) -> None:
    problem = make_problem(images=1500)
    labels = np.eye(len(problem.names), dtype=np.float32)
    perfect = problem.targets[:, None].astype(np.float32)
    random = np.random.default_rng(1).random(perfect.shape, np.float32)
    best, blind = (
        replace(problem, records=Records(rows, np.zeros((1500, 1), np.float32)), vectors=labels).evaluate()
        for rows in (perfect, random)
    )
    for task in ("zsl", "gzsl"):
        figures = best.task(task).labelled
        assert figures.mean_ap == pytest.approx(100)
        assert figures.at_k == figures.ceiling
        for figures in (blind.task(task).labelled, blind.task(task).all_images):
            assert figures.mean_ap == pytest.approx(figures.chance_ap, abs=1)


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"names": ("one",)},
        {},
        r"^300 records, 1 names, 30 vectors, 30 seen/unseen marks and targets \(300, 30\) do not",
    ),
    ({"targets": np.zeros((7, 30), np.int8)}, {}, r"do not fit; targets must have the shape \(records, names\)\.$"),
    ({"targets": np.full((300, 30), 3, np.int8)}, {}, "^targets must be 1"),
    (
        {"targets": np.zeros((300, 30), np.int8)},
        {},
        r"^no test image has any of the unseen labels, .* Check that the split",
    ),
    ({"unseen": np.zeros(30, bool)}, {}, "^no label is unseen, so there is nothing to rank. Choose a split"),
    (
        {"vectors": np.ones((30, 7), np.float32)},
        {},
        r"^records of 3 x 8 and 1 numbers want .* Evaluate with the label",
    ),
    ({}, {"ks": (0, 3)}, "^K must be at least 1, not 0.$"),
    ({}, {"unknown": "maybe"}, "^unknown must be one of ignore, negative"),
]


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(("changes", "options", "message"), REFUSED)
def test_what_does_not_fit_is_refused(
    problem: Problem, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        replace(problem, **changes).evaluate(**options)


def test_a_score_that_is_not_finite_names_the_image(problem: Problem) -> None:
    problem.records.rows[200, :, 0] = np.nan
    with pytest.raises(InputError, match=r"^the score of image 200 for label 0 is nan, not finite"):
        problem.evaluate()


def test_the_room_needs_no_torch_and_no_training() -> None:
    code = (
        "import sys, tagprism.evaluation.report, tagprism.evaluation.streaming, tagprism.evaluation.leakage\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'torch' or name == 'tagprism.training'])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_a_result_is_read_back_from_its_json(make_problem: Callable[..., Any], unknown: float) -> None:
    evaluation = make_problem(unknown=unknown).evaluate(ks=(1, 3), label_encoder="minilm", leak=True)
    again = Evaluation.from_json(json.loads(json.dumps(evaluation.to_json())))
    assert json.dumps(again.to_json()) == json.dumps(evaluation.to_json())
