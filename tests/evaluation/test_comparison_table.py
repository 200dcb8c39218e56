"""Methods side by side."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tagprism.errors import InputError
from tagprism.evaluation.table import compare, comparison_table

MakeProblem = Callable[..., Any]  # of conftest.py


def test_one_split_shows_plain_numbers_beside_the_yardsticks(make_problem: MakeProblem) -> None:
    problem = make_problem()
    ours = problem.evaluate(label_encoder="minilm")
    other = replace(problem, matrices=problem.matrices[:, :1]).evaluate()
    comparison = compare({"matrix": [ours], "single": [other]})
    assert comparison.columns == ("ZSL mAP", "ZSL F1@3", "ZSL F1@5", "GZSL mAP", "GZSL F1@3", "GZSL F1@5")
    rows = {row.name: row for row in comparison.rows}
    assert list(rows) == ["matrix", "single", "chance", "constant", "ceiling"]
    zsl, gzsl = ours.zsl.labelled, ours.gzsl.labelled
    assert rows["matrix"].cells[::3] == (f"{zsl.mean_ap:.1f}", f"{gzsl.mean_ap:.1f}")
    assert rows["matrix"].cells[1] == f"{zsl.at_k[3].f1:.1f}"
    assert rows["single"].cells[0] == f"{other.zsl.labelled.mean_ap:.1f}"
    assert rows["chance"].cells == (f"{zsl.chance_ap:.1f}", "", "", f"{gzsl.chance_ap:.1f}", "", "")
    assert rows["constant"].cells[:2] == ("", f"{zsl.constant[3].f1:.1f}")
    assert rows["ceiling"].cells[4] == f"{gzsl.ceiling[3].f1:.1f}"
    assert [row.kind for row in comparison.rows] == ["method"] * 2 + ["yardstick"] * 3


def test_the_captions_state_the_protocol(make_problem: MakeProblem) -> None:
    evaluation = make_problem().evaluate(label_encoder="minilm")
    zsl, gzsl = compare({"matrix": [evaluation]}).captions
    figures = evaluation.zsl.labelled
    assert zsl == (
        f"ZSL: {figures.images:,} labelled images, 10 labels (1 without a positive left out of mAP), "
        f"{figures.positives_per_image:.2f} positives per image, unknown labels: ignore, label encoder minilm"
    )
    assert "GZSL" in gzsl
    assert "30 labels (2 without" in gzsl


def test_several_splits_show_mean_and_spread(make_problem: MakeProblem) -> None:
    splits = [make_problem(seed).evaluate() for seed in range(3)]
    values = [split.zsl.labelled.mean_ap for split in splits]
    comparison = compare({"matrix": splits})
    assert comparison.rows[0].cells[0] == f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
    assert comparison.captions[0].endswith("first of 3 splits")


def test_a_leak_is_shouted(make_problem: MakeProblem) -> None:
    comparison = compare({"matrix": [make_problem().evaluate(leak=True)]})
    assert all("MEASURED ON WHAT WAS TRAINED ON" in caption for caption in comparison.captions)


def test_different_tests_are_not_put_side_by_side(make_problem: MakeProblem) -> None:
    first, second = make_problem(0).evaluate(), make_problem(1).evaluate()
    with pytest.raises(
        InputError, match=r"^'b' and 'a' were measured on different images or labels .* Evaluate both on"
    ):
        compare({"a": [first], "b": [second]})
    with pytest.raises(InputError, match=r"^'b' and 'a' were measured"):
        compare({"a": [first], "b": [first, first]})
    with pytest.raises(InputError, match=r"^there is no evaluation to compare.$"):
        compare({})
    with pytest.raises(InputError, match=r"^there is no evaluation to compare.$"):
        compare({"a": []})


def test_the_terminal_table_has_every_cell(make_problem: MakeProblem) -> None:
    methods = {"matrix": [make_problem().evaluate()]}
    console = Console(file=io.StringIO(), width=160)
    console.print(comparison_table(compare(methods), title="Small"))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    comparison = compare(methods)
    for word in ("Small", *comparison.columns, *(cell for row in comparison.rows for cell in (row.name, *row.cells))):
        assert word in printed
    assert "positives per image" in " ".join(printed.split())
