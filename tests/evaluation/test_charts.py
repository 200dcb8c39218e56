"""The charts of a report show what the numbers say; a result in a notebook and as a table of pandas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagprism.bundle.record import Records
from tagprism.datasets.table import ImageTable
from tagprism.evaluation.charts import (
    HEIGHT,
    WIDTH,
    Chart,
    label_map,
    learning_curves,
    precision_by_frequency,
    row_usage,
)
from tagprism.evaluation.evaluate import evaluate
from tagprism.evaluation.protocols import EvaluationProtocol
from tagprism.evaluation.report import Report, render_report
from tests.evaluation.test_report import Page

MakeProblem = Callable[..., Any]  # of conftest.py


def log(run: Path, first: int, text: str) -> None:
    path = run / f"checkpoints/log/from_batch_{first}/metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def places(chart: Chart) -> list[tuple[float, float]]:
    return [tuple(map(float, place.split(","))) for place in chart.line.removeprefix("M").split("L")]  # type: ignore[misc]


def test_learning_curves_join_the_parts_of_a_run(tmp_path: Path) -> None:
    """The part from batch 9 comes before that from batch 10; what was done twice counts as it was done last."""
    log(tmp_path, 0, "step,loss,validation_mAP\n0,4.0,\n1,3.0,\n2,100.0,\n1,,20.0\n")
    log(tmp_path, 10, "step,loss,validation_mAP\n3,0.0,\n3,,40.0\n")
    log(tmp_path, 9, "step,loss,validation_mAP\n2,2.0,\n2,,nan\n")
    loss, validation = learning_curves(tmp_path)
    assert places(loss) == [(0, 0), (153.3, 60), (306.7, 120), (460, 240)]
    assert places(validation) == [(0, 240), (460, 0)]
    assert [text for _, text in loss.x.ticks] == ["0", "1", "2", "3"]
    assert learning_curves(tmp_path / "nothing") == ()


def test_long_logs_are_thinned(tmp_path: Path) -> None:
    log(tmp_path, 0, "step,loss\n" + "".join(f"{step},1.0\n" for step in range(5000)))
    (loss,) = learning_curves(tmp_path)
    assert len(places(loss)) == 400 and places(loss)[-1] == (WIDTH, 0)


def test_precision_by_frequency_has_a_dot_per_measured_label(make_problem: MakeProblem) -> None:
    evaluation = make_problem().evaluate()
    counts = np.arange(len(evaluation.per_label)) * 10
    chart = precision_by_frequency(evaluation, counts)
    assert chart is not None
    measured = [(row, count) for row, count in zip(evaluation.per_label, counts, strict=True) if row.positives]
    assert len(chart.dots) == len(measured)
    for dot, (row, count) in zip(chart.dots, measured, strict=True):
        assert dot.kind == ("unseen" if row.unseen else "seen") and f"{count} training" in dot.name
        assert dot.y == pytest.approx((1 - row.average_precision["gzsl"] / 100) * HEIGHT)
    assert [text for _, text in chart.x.ticks][:3] == ["0", "1", "10"]
    assert precision_by_frequency(evaluation, counts * 0) is None


def test_the_label_map_keeps_near_labels_near() -> None:
    vectors = np.array([[1, 0.1, 0], [1, -0.1, 0], [-1, 0.1, 0.1], [-1, -0.1, 0]], np.float32)
    chart = label_map(["a", "b", "c", "d"], np.array([False, True, False, True]), vectors)
    assert chart is not None
    a, b, c, d = ((dot.x, dot.y) for dot in chart.dots)
    assert abs(a[0] - b[0]) < 10 and abs(c[0] - d[0]) < 10 and abs(a[0] - c[0]) > WIDTH / 2
    assert [dot.kind for dot in chart.dots] == ["seen", "unseen"] * 2 and all(dot.named for dot in chart.dots)
    assert "% of their variance" in chart.note
    assert label_map(["a", "b"], np.array([False, True]), vectors[:2]) is None
    assert label_map(list("abcd"), np.zeros(4, bool), np.ones((4, 3), np.float32)) is None


def test_names_in_the_map_cover_neither_dots_nor_each_other() -> None:
    draw = np.random.default_rng(3)
    chart = label_map([f"label {n:03}" for n in range(300)], draw.random(300) < 0.2, draw.standard_normal((300, 6)))
    assert chart is not None
    named = [dot for dot in chart.dots if dot.named]
    boxes = [(dot.x - 45, dot.x - 4) if dot.x > 0.8 * WIDTH else (dot.x + 4, dot.x + 45) for dot in named]
    assert 10 < len(named) <= 40 and all(left >= 0 and right <= WIDTH for left, right in boxes)
    for dot, (left, right) in zip(named, boxes, strict=True):
        assert not [other for other in chart.dots if left < other.x < right and abs(other.y - dot.y) < 4.5]
        rivals = [
            span for other, span in zip(named, boxes, strict=True) if other is not dot and abs(other.y - dot.y) < 9
        ]
        assert all(right <= span[0] or span[1] <= left for span in rivals)


def test_row_usage_counts_the_winners_of_the_labels_that_are_there() -> None:
    rows = np.zeros((300, 3, 2), np.float32)
    rows[:, 0, 0] = rows[:, 2, 1] = 1  # row 0 wins for the first label, row 2 for the second
    records, queries = Records(rows, np.zeros((300, 1), np.float32)), np.eye(2, 3, dtype=np.float32)
    targets = np.zeros((300, 2), np.int8)
    targets[:200, 0] = targets[50:, 1] = 1
    targets[250:, 0] = -1
    chart = row_usage(records, queries, targets, np.array([False, True]))
    assert chart is not None
    assert [(one.kind, one.name.partition(":")[2].split()[0]) for one in chart.columns] == [
        *(("seen", share) for share in ("100.0", "0.0", "0.0")),
        *(("unseen", share) for share in ("0.0", "0.0", "100.0")),
    ]
    assert max(one.height for one in chart.columns) == HEIGHT
    assert row_usage(Records(rows[:, :1], records.shared), queries, targets, np.array([False, True])) is None
    assert row_usage(records, queries, targets * 0, np.array([False, True])) is None


@pytest.mark.parametrize("unknown", ["ignore", "negative", "lesa"])
def test_the_report_draws_them_and_escapes_names(make_problem: MakeProblem, unknown: str) -> None:
    evaluation = make_problem(unknown=0.1).evaluate()
    names = ["<b>a", "b & c", "d", "e"]
    vectors = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    chart = label_map(names, np.array([False, True, True, False]), vectors)
    assert chart is not None
    html = render_report(Report("t", "l", methods={"m": [replace(evaluation, unknown=unknown)]}, charts=(chart,)))
    page = Page(html)
    assert "charts" in page.sections() and "&lt;b&gt;a" in html and "<b>a" not in html
    circles = [attributes["class"] for tag, attributes in page.tags if tag == "circle"]
    assert circles == ["seen", "unseen", "unseen", "seen"]


class Closed(HTMLParser):
    """The words of a fragment, whose tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_result_shows_itself_and_becomes_a_table() -> None:
    pictures = [("coffee.jpg", ["cup <i>"]), ("chelsea.jpg", ["cat"])]
    table = ImageTable.from_labels(pictures, folder="tests/photos")
    from tagprism import Split

    split = Split(seen=["cat"], unseen=["cup <i>"], train=(), test=table.keys)
    result = evaluate([[0.2, 0.8], [0.9, 0.1]], table, split, protocol=EvaluationProtocol(ks=(1,)))
    words = Closed(result._repr_html_()).words
    assert words[0] == "percent" and "scores" in words and "100.0" in words and "chance" in words
    frame = pytest.importorskip("pandas") and result.to_pandas()
    assert list(frame.index) == ["cat", "cup <i>"]
    assert frame.loc["cup <i>", "AP_zsl"] == 100 and frame.AP_gzsl.tolist() == [100, 100]
    assert frame.unseen.tolist() == [False, True] and np.isnan(frame.loc["cat", "AP_zsl"])
    assert table.label_counts(["chelsea.jpg"], ["cup <i>", "cat"]).tolist() == [0, 1]
