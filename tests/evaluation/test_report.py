"""The report: what it chooses to show, and the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tagprism.evaluation.metrics import average_precisions, labelled_images
from tagprism.evaluation.report import Report, Tag, TaggedPicture, render_report, thumbnail, write_report
from tagprism.evaluation.showcase import RankedPicture, Ranking, Showcase, showcase

MakeProblem = Callable[..., Any]  # of conftest.py
VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """The parts of a page, with its tags checked to be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def sections(self) -> list[str | None]:
        return [attributes.get("id") for tag, attributes in self.tags if tag == "section"]

    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(300)]
    for i, path in enumerate(paths[:4]):
        Image.new("RGB", (40, 20), (60 * i, 0, 0)).save(path)
    for path in paths[4:]:
        path.hardlink_to(paths[0])
    return paths


@pytest.fixture
def report(make_problem: MakeProblem, pictures: list[Path]) -> Report:
    problem = make_problem(unknown=0.1)
    evaluation = problem.evaluate(label_encoder="minilm")
    return Report(
        "Words & <pictures>",
        "A lead.",
        provenance=(("Seed", "0"), ("Commit", "abc <b>")),
        methods={"matrix": [evaluation], "again": [evaluation]},
        showcase=showcase(evaluation, problem.records, problem.vectors, problem.targets, pictures),
        tagged=(TaggedPicture(pictures[0], (Tag("<i>dog", "93%", unseen=True), Tag("sea")), "own: 'x' & y"),),
        found=(Ranking("beach", "2 found", (RankedPicture(pictures[1], 1.25), RankedPicture(pictures[2], 1.0))),),
    )


def test_the_page_is_whole_and_stands_alone(report: Report) -> None:
    html = render_report(report)
    page = Page(html)
    assert page.sections() == ["methods", "tagged", "found", "labels", "curves", "rankings", "provenance"]
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[\w/.]", html)
    assert "http:" not in html
    assert "https:" not in html
    assert "script" not in {tag for tag, _ in page.tags}
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) >= 8 * 8
    assert all(attributes["alt"] and attributes["src"].startswith("data:image/jpeg;base64,") for attributes in images)
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")


def test_every_word_is_escaped(report: Report) -> None:
    html = render_report(report)
    text = Page(html).text()
    for word in ("Words & <pictures>", "<i>dog 93%", "abc <b>", "own: 'x' & y"):
        assert word in text
    assert "<i>dog" not in html
    assert "abc <b>" not in html


def test_the_numbers_on_the_page_are_those_of_the_evaluation(report: Report) -> None:
    text = Page(render_report(report)).text()
    evaluation = report.methods["matrix"][0]
    for value in (evaluation.zsl.labelled.mean_ap, evaluation.gzsl.labelled.chance_ap):
        assert f"{value:.1f}" in text
    unseen = [row for row in evaluation.per_label if row.unseen and row.positives]
    for row in unseen:
        assert f"{row.label} {row.average_precision['zsl']:.1f} {row.positives}" in text
    assert "19 seen labels (GZSL)" in text
    assert "left out of rankings and of the best K" in text


def test_parts_that_are_not_there_leave_no_section(report: Report) -> None:
    assert Page(render_report(Report("Only a title", "A lead."))).sections() == []
    without = replace(report, methods={}, showcase=Showcase((), (), ()), found=())
    assert Page(render_report(without)).sections() == ["tagged", "provenance"]


def test_a_leak_is_said_at_the_top(make_problem: MakeProblem, report: Report) -> None:
    assert "were trained on" not in Page(render_report(report)).text()
    leaky = replace(report, methods={"matrix": [make_problem().evaluate(leak=True)]})
    assert "These numbers are not zero-shot" in Page(render_report(leaky)).text()


def test_a_picture_that_cannot_be_read_shows_its_reason(report: Report, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    broken = replace(report, tagged=(TaggedPicture(tmp_path / "bad.jpg", (Tag("sea"),)),))
    page = Page(render_report(broken))
    [label] = [attributes["aria-label"] for tag, attributes in page.tags if attributes.get("class") == "broken"]
    assert label == "bad.jpg"
    assert thumbnail(tmp_path / "bad.jpg") == ("", thumbnail(tmp_path / "bad.jpg")[1])
    assert thumbnail(tmp_path / "bad.jpg")[1] in page.text()


def test_thumbnails_are_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    address, reason = thumbnail(tmp_path / "large.png")
    assert reason == ""
    assert len(address) < 20_000


def test_the_file_is_written_whole(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path / "new" / "report.html", report)
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == render_report(report)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_the_showcase_has_the_best_and_the_worst_unseen_labels(make_problem: MakeProblem, pictures: list[Path]) -> None:
    problem = make_problem(unknown=0.1)
    evaluation = problem.evaluate()
    shown = showcase(evaluation, problem.records, problem.vectors, problem.targets, pictures, labels=2)
    unseen = sorted(
        (row for row in evaluation.per_label if row.unseen and row.positives),
        key=lambda row: -row.average_precision["zsl"],
    )
    names = [ranking.title for ranking in (*shown.best, *shown.worst)]
    assert names == [unseen[0].label, unseen[1].label, unseen[-1].label, unseen[-2].label]
    assert [curve.label for curve in shown.curves] == names
    for curve, row in zip(shown.curves, [unseen[0], unseen[1], unseen[-1], unseen[-2]], strict=True):
        assert np.mean(curve.precision) == pytest.approx(row.average_precision["zsl"]) == curve.average_precision


def test_a_ranking_shows_the_first_pictures_and_whether_they_have_the_label(
    make_problem: MakeProblem, pictures: list[Path]
) -> None:
    problem = make_problem(unknown=0.3)
    shown = showcase(problem.evaluate(), problem.records, problem.vectors, problem.targets, pictures)
    ranking = shown.best[0]
    label = problem.names.index(ranking.title)
    scores = (problem.records.rows @ problem.vectors[label]).max(axis=1) + problem.records.shared[:, 0]
    keep = np.flatnonzero(labelled_images(problem.targets[:, problem.unseen]))
    first = keep[np.argsort(-scores[keep], kind="stable")[:8]]
    assert [picture.path for picture in ranking.pictures] == [pictures[i] for i in first]
    marks = [{1: True, 0: False, -1: None}[int(problem.targets[i, label])] for i in first]
    assert [picture.has_label for picture in ranking.pictures] == marks
    assert ranking.note.startswith(
        f"AP {average_precisions(scores[keep, None], problem.targets[keep][:, [label]])[0]:.1f}"
    )


def test_few_labels_are_shown_once(make_problem: MakeProblem, pictures: list[Path]) -> None:
    problem = make_problem(labels=9)  # three unseen
    problem.targets[0, :3] = 1
    shown = showcase(problem.evaluate(), problem.records, problem.vectors, problem.targets, pictures, least_positives=2)
    names = [ranking.title for ranking in (*shown.best, *shown.worst)]
    assert len(names) == len(set(names)) == 3
