"""Documents for other programs, and CSV for spreadsheets: their form, whatever names and tags hold."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagprism.datasets.coco_file import read_coco
from tagprism.errors import InputError
from tagprism.tagging.csv_cells import csv_lines
from tagprism.tagging.documents import Document, check_document, confidences, write_document

PHOTO = Path(__file__).parents[1] / "photos" / "rocket.jpg"
TAGGED: list[dict[str, Any]] = [
    {"path": str(PHOTO), "tags": [{"label": "rocket", "score": 2.5, "probability": 0.75, "vector": 1}]},
    {"path": "/gone.jpg", "error": {"code": "missing", "message": "There is no such file."}},
]
FOUND: list[dict[str, Any]] = [
    {
        "path": "/a b/\udcff.jpg",
        "score": 0.9,
        "likely": True,
        "labels": [
            {"label": "beach", "match": 0.9, "score": 3.0, "probability": 0.8},
            {"label": "people", "match": 0.1, "score": 0.0, "probability": 0.2},
        ],
        "taken": None,
        "width": 40,
        "height": 30,
        "own": ["Oma"],
        "tags": [{"label": "sky", "probability": 0.6}, {"label": "cat", "probability": 0.4}],
    },
    {
        "path": "/c.jpg",
        "score": 0.2,
        "likely": False,
        "labels": [],
        "taken": None,
        "width": 4,
        "height": 3,
        "own": [],
        "tags": [],
    },
]


def written(format: Document, rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    write_document(format, rows, out, "photos-lite")
    return out.getvalue()


def test_what_becomes_a_label() -> None:
    assert confidences(TAGGED[0]) == [("rocket", 0.75)]
    assert confidences(FOUND[0]) == [("Oma", 1.0), ("beach", 0.8), ("sky", 0.6)]
    uncalibrated = {"path": "a", "tags": [{"label": "b", "score": -1.5, "probability": None, "vector": 0}]}
    assert confidences(uncalibrated) == [("b", -1.5)]


def test_coco_is_read_by_our_own_reader(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_bytes(written("coco", [*TAGGED, *FOUND]))
    read = read_coco(tmp_path / "found.json")
    assert read.files == (str(PHOTO), "/a b/\udcff.jpg") and read.categories == ("rocket", "Oma", "beach", "sky")
    assert (read.rows.tolist(), read.columns.tolist()) == ([0, 1, 1, 1], [0, 1, 2, 3])
    document = json.loads((tmp_path / "found.json").read_text())
    images = [(one["width"], one["height"]) for one in document["images"]]
    assert images[1:] == [(40, 30), (4, 3)] and document["annotations"][1]["bbox"] == [0, 0, 40, 30]
    assert [one["score"] for one in document["annotations"]] == [0.75, 1.0, 0.8, 0.6]


def test_fiftyone_names_pictures_by_whole_paths() -> None:
    document = json.loads(written("fiftyone", [*TAGGED, *FOUND]))
    assert document["classes"] == ["rocket", "Oma", "beach", "sky"]
    assert document["labels"][str(PHOTO)] == [{"label": 0, "confidence": 0.75}]
    assert document["labels"]["/c.jpg"] is None and "/gone.jpg" not in document["labels"]


def test_label_studio_gets_predictions_of_local_files() -> None:
    one, other, none = json.loads(written("label-studio", [*TAGGED, *FOUND]))
    assert unquote_to_bytes(other["data"]["image"]) == b"/data/local-files/?d=a b/\xff.jpg"
    (prediction,) = other["predictions"]
    assert prediction["score"] == 1.0 and prediction["result"][0]["value"] == {"choices": ["Oma", "beach", "sky"]}
    assert prediction["model_version"] == "photos-lite" and none["predictions"] == [] and one["predictions"]


@pytest.mark.parametrize("rows", [TAGGED, FOUND, []])
def test_parquet_holds_the_rows_of_jsonl(rows: list[dict[str, Any]]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table = parquet.read_table(io.BytesIO(written("parquet", rows))).to_pylist()
    assert len(table) == len(rows)
    for row, kept in zip(rows, table, strict=True):
        expected = row | {"path": row["path"].replace("\udcff", "\\xff")}
        assert {name: kept[name] for name in expected} == expected


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(name for name in sys.modules if name.startswith("pyarrow")), "pyarrow", "pyarrow.parquet"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError) as caught:
        check_document("parquet")
    assert "pip install pyarrow" in str(caught.value)
    check_document("coco")


CELLS = st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=2, max_size=3))


@given(CELLS)
def test_no_cell_of_a_spreadsheet_is_a_formula(rows: list[list[str]]) -> None:
    plain = list(csv.reader(io.StringIO(csv_lines(rows), newline="")))
    safe = list(csv.reader(io.StringIO(csv_lines(rows, spreadsheet=True), newline="")))
    assert plain == rows
    for row, kept in zip(rows, safe, strict=True):
        for cell, its in zip(row, kept, strict=True):
            assert its in (cell, f"'{cell}")
            assert its == f"'{cell}" or cell[:1] not in "=+-@\t\r" or not cell or float(cell) is not None


def test_numbers_stay_numbers_and_formulas_do_not() -> None:
    cells = ["-1.5", "+3", "-1+1", "=SUM(A1)", "@x", "-cmd", "plain"]
    assert next(csv.reader([csv_lines([cells], spreadsheet=True)])) == [
        *("-1.5", "+3", "'-1+1", "'=SUM(A1)", "'@x", "'-cmd", "plain")
    ]
