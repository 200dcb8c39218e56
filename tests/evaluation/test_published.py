"""Published numbers: what belongs beside a result, and which rows may be compared."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError
from rich.console import Console

from tagprism.evaluation.published import Entry, comparable_groups, published, published_for
from tagprism.evaluation.table import comparison_markdown, comparison_table, lay_out

MakeProblem = Callable[..., Any]  # of conftest.py


def entry(method: str, values: dict[str, float], **more: Any) -> Entry:
    more = {"unverified": True} | more
    return Entry(data="tagged", seen=20, unseen=10, task=more.pop("task", "zsl"), method=method, values=values, **more)


def test_every_number_has_a_source_or_is_marked() -> None:
    assert len(published()) > 20
    for item in published():
        assert bool(item.source) != item.unverified
    with pytest.raises(ValidationError, match="source or is marked unverified"):
        entry("x", {"mAP": 3.0}, source="a paper")
    with pytest.raises(ValidationError):
        entry("x", {"precision": 3.0})


def test_the_published_f1_follow_from_precision_and_recall() -> None:
    for item in published():
        for k in item.ks:
            values = [item.values.get(f"{name}@{k}") for name in ("P", "R", "F1")]
            if None not in values:
                p, r, f1 = (value for value in values if value is not None)
                assert f1 == pytest.approx(2 * p * r / (p + r), abs=0.11), item


def test_entries_are_found_by_kind_and_number_of_labels() -> None:
    found = published_for("nus-wide", 925, 81)
    assert {"SDL", "ML-Decoder", "LESA", "BiAM", "CONSE"} <= {item.method for item in found}
    assert {item.data for item in found} == {"nus-wide"}
    assert published_for("nus-wide", 924, 81) == published_for("tagged", 925, 81) == ()
    of_open_images = published_for("open-images", 7186, 400)
    assert {item.method for item in of_open_images} == {"SDL", "BiAM"}
    assert {k for item in of_open_images for k in item.ks} == {10, 20}  # what `compare` reports there
    assert all("pools the labels" in (item.note or "") for item in of_open_images if item.method == "BiAM")
    verified = {(i.method, i.task, m): v for i in published() if i.source for m, v in i.values.items()}
    assert verified["SDL", "zsl", "mAP"] in (25.9, 62.9) and verified["ML-Decoder", "zsl", "mAP"] == 31.1


def test_nus_wide_falls_into_groups_of_different_test_images() -> None:
    groups = [group for group in comparable_groups(published_for("nus-wide", 925, 81)) if group.task == "zsl"]
    of = {method: group for group in groups for method in group.methods}
    assert of["LESA"] is of["BiAM"] and of["LESA"].middle == pytest.approx(1.876, abs=0.005)
    assert of["DualCoOp"].middle == pytest.approx(2.42, abs=0.01) and of["DualCoOp"] is not of["LESA"]
    assert "ML-Decoder" not in of  # no precision and recall


@given(some.floats(0.3, 9), some.lists(some.floats(0.05, 0.9), min_size=1, max_size=6), some.sampled_from([3, 5, 10]))
def test_methods_of_one_test_set_are_one_group(positives: float, hit_rates: list[float], k: int) -> None:
    entries = []
    for number, rate in enumerate(hit_rates):  # TP per image = rate * min(k, positives)
        hits = rate * min(k, positives)
        p, r = round(100 * hits / k, 1), round(100 * hits / positives, 1)
        if 1 < p < 100 and 1 < r < 100:
            entries.append(entry(f"m{number}", {f"P@{k}": p, f"R@{k}": r}))
    groups = comparable_groups(entries)
    assert len(groups) <= 1
    assert not groups or groups[0].least - 1e-9 <= positives <= groups[0].most + 1e-9


def test_published_rows_stand_beside_ours_with_their_marks(make_problem: MakeProblem) -> None:
    ours = make_problem().evaluate(ks=(3,))
    positives = ours.zsl.labelled.positives_per_image
    same = entry("Same", {"mAP": 9.4, "P@3": round(positives * 10 / 3 * 3, 1), "R@3": 30.0})
    other = entry("Other", {"mAP": 25.9}, unverified=False, source="a paper", image_set="labelled")
    far = entry("Other", {"P@3": 50.0, "R@3": 30.0}, note="starts from CLIP")
    entries = (same, other, far)
    result = lay_out({"matrix": [ours]}, entries)
    assert result.columns == tuple(
        f"{task} {metric}" for task in ("ZSL", "GZSL") for metric in ("mAP", "P@3", "R@3", "F1@3")
    )
    rows = {row.name: row for row in result.rows}
    assert rows["matrix"].cells[1] == f"{ours.zsl.labelled.at_k[3].precision:.1f}"
    assert rows["constant"].cells[2] == f"{ours.zsl.labelled.constant[3].recall:.1f}"
    assert rows["Same (published)"].cells[0] == "9.4?"
    assert rows["Other (published)"].cells[:2] == ("25.9", "50.0?")
    assert rows["Other (published)"].cells[3:] == ("", "", "", "", "")
    words = " ".join(result.captions)
    assert "Other (images: labelled; K 3; label vectors: not known; a paper; unverified; starts from CLIP)" in words
    assert f"{positives:.2f} in Same (as here, image set labelled" in words
    assert "5.00 in Other (NOT COMPARABLE with this test)" in words
    assert "The 2 groups are not comparable with each other" in words
    console = Console(file=io.StringIO(), width=240)
    console.print(comparison_table(lay_out({"matrix": [ours]}, entries)))
    printed = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "9.4?" in printed and "NOT COMPARABLE" in printed
    assert "| Same (published) | 9.4? |" in comparison_markdown(lay_out({"matrix": [ours]}, entries))
