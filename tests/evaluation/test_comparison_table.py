"""Methods side by side."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tagprism.bundle.record import Records
from tagprism.errors import InputError
from tagprism.evaluation.differences import over_labels
from tagprism.evaluation.protocols import Evaluation, mean_over_seeds
from tagprism.evaluation.table import comparison_table, lay_out

MakeProblem = Callable[..., Any]  # of conftest.py


def test_one_split_shows_plain_numbers_beside_the_yardsticks(make_problem: MakeProblem) -> None:
    problem = make_problem()
    ours = problem.evaluate(label_encoder="minilm")
    other = replace(problem, records=Records(problem.records.rows[:, :1], problem.records.shared)).evaluate()
    comparison = lay_out({"matrix": [ours], "single": [other]})
    assert comparison.columns == ("ZSL mAP", "ZSL F1@3", "ZSL F1@5", "GZSL mAP", "GZSL F1@3", "GZSL F1@5")
    rows = {row.name: row for row in comparison.rows}
    assert list(rows) == ["matrix", "single", "chance", "constant", "ceiling"]
    zsl, gzsl = ours.zsl.labelled, ours.gzsl.labelled
    assert rows["matrix"].cells[::3] == (f"{zsl.mean_ap:.1f}", f"{gzsl.mean_ap:.1f}")
    assert rows["matrix"].cells[1] == f"{zsl.at_k[3].f1:.1f}"
    difference, error = over_labels([other], [ours], "zsl")
    assert difference == pytest.approx(other.zsl.labelled.mean_ap - zsl.mean_ap)
    assert rows["single"].cells[0] == f"{other.zsl.labelled.mean_ap:.1f} ({difference:+.1f} ± {error:.1f})"
    assert rows["single"].cells[1] == f"{other.zsl.labelled.at_k[3].f1:.1f}"  # a micro-average has no labels to draw
    (said,) = (caption for caption in comparison.captions if "bootstrap" in caption)
    assert said.startswith("1 split, 1 seed each.") and "difference in mAP to `matrix`" in said
    assert rows["chance"].cells == (f"{zsl.chance_ap:.1f}", "", "", f"{gzsl.chance_ap:.1f}", "", "")
    assert rows["constant"].cells[:2] == ("", f"{zsl.constant[3].f1:.1f}")
    assert rows["ceiling"].cells[4] == f"{gzsl.ceiling[3].f1:.1f}"
    assert [row.kind for row in comparison.rows] == ["method"] * 2 + ["yardstick"] * 3


def test_the_captions_state_the_protocol(make_problem: MakeProblem) -> None:
    evaluation = make_problem().evaluate(label_encoder="minilm")
    zsl, gzsl = lay_out({"matrix": [evaluation]}).captions
    figures = evaluation.zsl.labelled
    assert zsl == (
        f"ZSL: {figures.images:,} labelled images, 10 labels (1 without a positive left out of mAP), "
        f"{figures.positives_per_image:.2f} positives per image, unknown labels: ignore, label encoder minilm"
    )
    assert "GZSL" in gzsl
    assert "30 labels (2 without" in gzsl
    *_, known = lay_out({"matrix": [evaluation] * 2}, known={"label 0", "label 1", "label 20"}).captions
    assert known.endswith("without labels that are ImageNet class names, 2 of the unseen ones.")


def test_several_splits_show_mean_and_spread(make_problem: MakeProblem) -> None:
    splits = [make_problem(seed).evaluate() for seed in range(3)]
    values = [split.zsl.labelled.mean_ap for split in splits]
    comparison = lay_out({"matrix": splits})
    assert comparison.rows[0].cells[0] == f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
    assert comparison.captions[0].endswith("first of 3 splits")
    assert "not independent, so these standard errors are too small" in " ".join(comparison.captions)


def with_map(evaluation: Evaluation, value: float) -> Evaluation:
    """The same evaluation with another ZSL mAP."""
    return replace(evaluation, zsl=replace(evaluation.zsl, labelled=replace(evaluation.zsl.labelled, mean_ap=value)))


def test_seeds_are_averaged_within_a_split_and_splits_are_paired(make_problem: MakeProblem) -> None:
    splits = [make_problem(seed).evaluate() for seed in range(2)]

    def row(*values: tuple[float, float]) -> list[Evaluation]:
        return [
            mean_over_seeds([with_map(split, float(value)) for value in own])
            for split, own in zip(splits, values, strict=True)
        ]

    first, second = row((10, 12), (15, 17)), row((10, 14), (20, 20))  # by split 11 and 16; 12 and 20
    comparison = lay_out({"first": first, "second": second})
    cells = [one.cells[0] for one in comparison.rows]
    assert cells[0] == "13.5 ± 3.5"  # deviation of 11 and 16
    assert cells[1] == "16.0 ± 5.7 (+2.5 ± 1.5)"  # of 12 and 20; differences 1 and 4
    said = " ".join(comparison.captions)
    assert "2 splits, 2 seeds each." in said and "paired difference to `first`" in said
    # deviation over the seeds: 1.41 and 1.41; 2.83 and 0
    assert "Standard deviation over the seeds of a split, ZSL / GZSL mAP: first 1.4 / 0.0; second 1.4 / 0.0." in said


def test_one_split_with_several_seeds_shows_their_spread(make_problem: MakeProblem) -> None:
    problem = make_problem()
    first = [mean_over_seeds([with_map(problem.evaluate(), value) for value in (20.0, 22.0, 27.0)])]
    layout = lay_out({"first": first})
    assert layout.rows[0].cells[0] == "23.0 ± 3.6"
    assert layout.captions[2] == "1 split, 3 seeds each. ± after a number: standard deviation over the seeds."
    assert layout.rows[1].cells[0] == f"{first[0].zsl.labelled.chance_ap:.1f}"  # chance has no seeds


def test_the_mean_over_seeds_is_that_of_every_number(make_problem: MakeProblem) -> None:
    problem = make_problem()
    single = Records(problem.records.rows[:, :1], problem.records.shared)
    one, two = problem.evaluate(), replace(problem, records=single).evaluate()
    mean = mean_over_seeds([one, two])
    assert mean.seeds == (one, two) and mean_over_seeds([one]) is one
    for task in ("zsl", "gzsl"):
        figures = [its.task(task).labelled for its in (mean, one, two)]  # type: ignore[arg-type]
        assert figures[0].mean_ap == pytest.approx((figures[1].mean_ap + figures[2].mean_ap) / 2)
        assert figures[0].at_k[3].f1 == pytest.approx((figures[1].at_k[3].f1 + figures[2].at_k[3].f1) / 2)
        assert figures[0].images == figures[1].images and figures[0].constant == figures[1].constant
    rows = [its.per_label[0].average_precision["gzsl"] for its in (mean, one, two)]
    assert rows[0] == pytest.approx((rows[1] + rows[2]) / 2)
    assert "AP_zsl" in mean.to_json()["per_label"][3] and mean.to_json()["per_label"][3]["AP_zsl"] is None


def test_all_images_are_another_column_of_numbers(make_problem: MakeProblem) -> None:
    evaluation = make_problem().evaluate()
    layout = lay_out({"matrix": [evaluation]}, image_set="all")
    assert layout.rows[0].cells[0] == f"{evaluation.zsl.all_images.mean_ap:.1f}"
    assert layout.captions[0].startswith("ZSL: 300 images, 10 labels")


def test_a_leak_is_shouted(make_problem: MakeProblem) -> None:
    comparison = lay_out({"matrix": [make_problem().evaluate(leak=True)]})
    assert all("MEASURED ON WHAT WAS TRAINED ON" in caption for caption in comparison.captions)


def test_different_tests_are_not_put_side_by_side(make_problem: MakeProblem) -> None:
    first, second = make_problem(0).evaluate(), make_problem(1).evaluate()
    with pytest.raises(
        InputError, match=r"^'b' and 'a' were measured on different images or labels .* Evaluate both on"
    ):
        lay_out({"a": [first], "b": [second]})
    with pytest.raises(InputError, match=r"^'b' and 'a' were measured"):
        lay_out({"a": [first], "b": [first, first]})
    with pytest.raises(InputError, match=r"^there is no evaluation to compare.$"):
        lay_out({})
    with pytest.raises(InputError, match=r"^there is no evaluation to compare.$"):
        lay_out({"a": []})


def test_the_terminal_table_has_every_cell(make_problem: MakeProblem) -> None:
    methods = {"matrix": [make_problem().evaluate()]}
    console = Console(file=io.StringIO(), width=160)
    console.print(comparison_table(lay_out(methods), title="Small"))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    comparison = lay_out(methods)
    for word in ("Small", *comparison.columns, *(cell for row in comparison.rows for cell in (row.name, *row.cells))):
        assert word in printed
    assert "positives per image" in " ".join(printed.split())
    narrow = Console(file=io.StringIO(), width=40)
    narrow.print(comparison_table(lay_out({"a name that is longer than its column": [make_problem().evaluate()]})))
    assert "…" not in narrow.file.getvalue()  # type: ignore[attr-defined]
