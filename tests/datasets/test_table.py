"""The table: targets against a slow obvious version, and every way its parts can misfit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagprism.datasets.compact import FilesBelow, Picked, Ragged
from tagprism.datasets.table import ImageTable, Targets, first_ten
from tagprism.errors import InputError


def make(positive: list[list[int]], negative: list[list[int]], labels: int, unlisted: str = "negative") -> ImageTable:
    keys = tuple(f"{row}.jpg" for row in range(len(positive)))
    names = tuple(f"label {column}" for column in range(labels))
    ragged = Ragged.from_rows(positive), Ragged.from_rows(negative)
    return ImageTable("test", FilesBelow(Path("root"), keys), keys, names, *ragged, unlisted)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], int]:
    labels = draw(st.integers(1, 6))
    marks = draw(st.lists(st.lists(st.sampled_from([1, 0, -1]), min_size=labels, max_size=labels), max_size=8))
    rows = [[[c for c, mark in enumerate(row) if mark == value] for row in marks] for value in (1, 0)]
    return rows[0], rows[1], labels


@settings(deadline=None)
@given(tables(), st.sampled_from(["negative", "unknown"]), st.data())
@pytest.mark.slow
def test_targets_equal_the_obvious_version(
    parts: tuple[list[list[int]], list[list[int]], int], unlisted: str, data: st.DataObject
) -> None:
    positive, negative, labels = parts
    table = make(positive, negative, labels, unlisted)
    rows = data.draw(st.lists(st.integers(0, len(positive) - 1), max_size=10)) if positive else []
    columns = data.draw(st.lists(st.integers(0, labels - 1), unique=True))
    found = table.targets(rows, [f"label {column}" for column in columns])
    assert found.shape == (len(rows), len(columns))
    assert found.dtype == np.int8
    for place, row in enumerate(rows):
        for at, column in enumerate(columns):
            known = 1 if column in positive[row] else 0 if column in negative[row] else None
            assert found[place, at] == (known if known is not None else 0 if unlisted == "negative" else -1)


@given(st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=12), st.data())
def test_ragged_rows_come_back(rows: list[list[int]], data: st.DataObject) -> None:
    ragged = Ragged.from_rows(rows)
    assert len(ragged) == len(rows)
    assert [ragged[row].tolist() for row in range(len(rows))] == rows
    asked = data.draw(st.lists(st.integers(0, len(rows) - 1))) if rows else []
    places, values = ragged.gather(np.asarray(asked, dtype=np.int64))
    assert places.tolist() == [place for place, row in enumerate(asked) for _ in rows[row]]
    assert values.tolist() == [value for row in asked for value in rows[row]]


def test_rows_and_columns_by_name() -> None:
    table = make([[0], [1], []], [[], [], []], 2)
    assert table.rows_of(["2.jpg", "0.jpg", "2.jpg"]).tolist() == [2, 0, 2]
    assert table.columns_of(["label 1"]).tolist() == [1]
    with pytest.raises(InputError, match=r"no such pictures: 'x0', .*'x9' and 2 more\."):
        table.rows_of([f"x{number}" for number in range(12)])
    with pytest.raises(InputError, match="no such labels: 'Label 1'"):
        table.targets([0], ["Label 1"])
    with pytest.raises(InputError, match="asked for twice"):
        table.targets([0], ["label 1", "label 1"])


def test_parts_that_do_not_fit_are_refused() -> None:
    one, two = Ragged.from_rows([[0]]), Ragged.from_rows([[0], []])
    files = FilesBelow(Path("root"), ("a",))
    with pytest.raises(InputError, match="differ in length"):
        ImageTable("test", files, ("a",), ("l",), two, one, "negative")
    with pytest.raises(InputError, match="pictures are named twice: 'a'"):
        ImageTable("test", FilesBelow(Path("root"), ("a", "a")), ("a", "a"), ("l",), two, two, "negative")
    with pytest.raises(InputError, match="labels are named twice: 'l'"):
        ImageTable("test", files, ("a",), ("l", "l"), one, one, "negative")
    for outside in ([[1]], [[-1]]):
        with pytest.raises(InputError, match=r"outside 0\.\.0"):
            ImageTable("test", files, ("a",), ("l",), Ragged.from_rows(outside), one, "negative")


def test_files_are_made_when_asked() -> None:
    files = FilesBelow(Path("root"), ("a/b.jpg", "c.jpg", "d.jpg"))
    assert list(files) == [Path("root/a/b.jpg"), Path("root/c.jpg"), Path("root/d.jpg")]
    assert files[-1] == Path("root/d.jpg")
    assert list(files[1:]) == [Path("root/c.jpg"), Path("root/d.jpg")]


def test_info_counts() -> None:
    info = make([[0, 1], [1], []], [[], [2], []], 4, "unknown").info()
    assert {name: info[name] for name in info if name != "digest"} == {
        **{"kind": "test", "pictures": 3, "labels": 4, "positives": 3, "negatives": 1, "unlisted": "unknown"},
        **{"positives_per_picture": 1.0, "pictures_without_positive": 1, "labels_without_positive": 2},
        **{"smallest_label": 0, "largest_label": 2, "skipped": 0},
    }


def test_digest_covers_keys_labels_and_targets_but_not_the_folder() -> None:
    base = make([[0], [1]], [[], []], 2)
    elsewhere = ImageTable(
        "test", FilesBelow(Path("other"), base.keys), base.keys, base.labels, base.positive, base.negative, "negative"
    )
    assert elsewhere.digest == base.digest
    other_keys = ("x", "1.jpg")
    others = [
        make([[0], [0]], [[], []], 2),
        make([[0], [1]], [[1], []], 2),
        make([[0], [1]], [[], []], 3),
        make([[0], [1]], [[], []], 2, "unknown"),
        ImageTable(
            "test", FilesBelow(Path("r"), other_keys), other_keys, base.labels, base.positive, base.negative, "negative"
        ),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6


def test_nine_million_rows_would_fit() -> None:
    """A hundredth of Open Images in a hundredth of its memory: no dense array anywhere."""
    rows, labels = 90_000, 7_600
    columns = np.random.default_rng(0).integers(0, labels, rows * 8, dtype=np.int32)
    ragged = Ragged(np.arange(0, rows * 8 + 1, 8, dtype=np.int64), columns)
    keys = tuple(str(row) for row in range(rows))
    names = tuple(f"l{column}" for column in range(labels))
    table = ImageTable("test", FilesBelow(Path(), keys), keys, names, ragged, Ragged.from_rows([[]] * rows), "unknown")
    asked = table.rows_of(keys[::-1][:1000])
    found = table.targets(asked, names)
    assert set(np.flatnonzero(found[0] == 1)) == set(ragged[rows - 1].tolist())
    assert (found == 0).sum() == 0


def test_names_for_messages() -> None:
    assert first_ten(["a", "b"]) == "'a', 'b'"
    assert first_ten(map(str, range(12))).endswith("'9' and 2 more")


@given(st.lists(st.integers(0, 49), max_size=9))
def test_targets_and_files_asked_a_few_at_a_time_are_those_of_all(places: list[int]) -> None:
    draw = np.random.default_rng(0)
    rows = [draw.choice(6, size=draw.integers(0, 4), replace=False).tolist() for _ in range(60)]
    files = FilesBelow(Path("a"), tuple(f"{row}.png" for row in range(60)))
    labels = tuple("abcdef")
    ragged = Ragged.from_rows(rows)
    table = ImageTable("x", files, files.keys, labels, ragged, Ragged.from_rows([[]] * 60), "unknown")
    chosen, asked = draw.permutation(60)[:50], np.asarray(places, np.int64)
    targets = Targets(table, chosen, ["e", "b"])
    assert len(targets) == 50
    np.testing.assert_array_equal(targets[asked], table.targets(chosen, ["e", "b"])[asked])
    assert targets.holds(1) and targets.holds(-1) and not targets.holds(0)
    picked = Picked(files, chosen)
    assert [picked[place] for place in places] == [files[int(chosen[place])] for place in places]
    assert list(picked[3:7]) == [files[int(row)] for row in chosen[3:7]]
