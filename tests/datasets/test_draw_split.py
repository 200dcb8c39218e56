"""Zero-shot splits of data of one's own: shares, sides, groups, seeds, and every way in which none can be drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tagprism.datasets.compact import FilesBelow, Ragged
from tagprism.datasets.draw_split import draw_split
from tagprism.datasets.splits import Split, shared_labels
from tagprism.datasets.table import ImageTable
from tagprism.datasets.tagged import open_tagged
from tagprism.errors import InputError
from tests.small_world import make_pictures


def table_of(rows: list[list[str]], keys: list[str] | None = None) -> ImageTable:
    """A table of labels alone; its files are not there."""
    keys = keys or [f"{number:03}.jpg" for number in range(len(rows))]
    names = tuple(sorted({label for row in rows for label in row}))
    positive = Ragged.from_rows(sorted(names.index(label) for label in row) for row in rows)
    negative = Ragged.from_rows([[]] * len(rows))
    return ImageTable("t", FilesBelow(Path(), keys), keys, names, positive, negative, "negative")


def random_rows(pictures: int = 300, labels: int = 20, seed: int = 0) -> list[list[str]]:
    draw = np.random.default_rng(seed)
    names = [f"word{number}x" for number in range(labels)]
    return [draw.choice(names, size=draw.integers(0, 4), replace=False).tolist() for _ in range(pictures)]


def positives(table: ImageTable, keys: tuple[str, ...], labels: tuple[str, ...]) -> list[int]:
    return (table.targets(table.rows_of(keys), labels) == 1).sum(axis=0).tolist()


def drawn(table: ImageTable, **how: object) -> Split:
    return draw_split(table, near_duplicates_together=False, **how)  # type: ignore[arg-type]


def test_shares_are_kept_and_every_label_has_enough() -> None:
    table = table_of(random_rows())
    split = drawn(table, unseen=0.25, test=0.3, val=0.1)
    assert (len(split.seen), len(split.unseen)) == (15, 5)
    sizes = [len(part) for part in (split.train, split.val, split.test)]
    assert sum(sizes) == len(table)
    assert np.allclose(np.asarray(sizes) / len(table), [0.6, 0.1, 0.3], atol=0.02)
    assert min(positives(table, split.train, split.seen)) >= 4
    whole = np.asarray(positives(table, table.keys, split.unseen))
    assert (np.abs(positives(table, split.test, split.unseen) - 0.3 * whole) <= 2).all()


def test_another_seed_is_another_split_and_the_order_of_pictures_changes_nothing() -> None:
    rows = random_rows()
    table = table_of(rows)
    split = drawn(table)
    assert drawn(table) == split
    other = drawn(table, seed=1)
    assert set(other.unseen) != set(split.unseen) and set(other.test) != set(split.test)
    order = np.random.default_rng(1).permutation(len(rows)).tolist()
    turned = drawn(table_of([rows[at] for at in order], [table.keys[at] for at in order]))
    assert turned.seen == split.seen and turned.unseen == split.unseen
    assert set(turned.train) == set(split.train) and set(turned.test) == set(split.test)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 3))
def test_spellings_of_a_label_are_never_on_two_sides(seed: int, places: int) -> None:
    words = ["cat", "cats", "dog", "dogs", "ice cream", "icecream", "tree", "sky", "sea", "man", "men", "bus"]
    draw = np.random.default_rng(places)
    table = table_of([draw.choice(words, size=3, replace=False).tolist() for _ in range(120)])
    split = drawn(table, unseen=0.3, seed=seed)
    assert shared_labels(split.seen, split.unseen) == []
    split.check(table)


def test_a_rare_spelling_of_an_unseen_label_is_on_neither_side() -> None:
    rows = [["cat"], ["tree"], ["sea"], ["sky"]] * 20 + [["cats"]] * 2
    split = drawn(table_of(rows), unseen=["cat"])
    assert split.unseen == ("cat",)
    assert set(split.seen) == {"tree", "sea", "sky"}


def test_pictures_without_any_label_and_those_of_only_negatives_are_used() -> None:
    rows = [["a cat"], ["a dog"], []] * 30
    split = drawn(table_of(rows), unseen=0.5)
    assert len(split.train) + len(split.test) == 90
    assert abs(len(split.test) - 27) <= 1


def test_given_groups_stay_together_and_count_once() -> None:
    rows = random_rows()
    table = table_of(rows)
    groups = {key: table.keys[row - row % 3] for row, key in enumerate(table.keys)}
    split = draw_split(table, groups=groups)
    part_of = {key: part for part in ("train", "test") for key in getattr(split, part)}
    assert all(part_of[key] == part_of[first] for key, first in groups.items())
    one = {key: "x" if "word0x" in rows[row] else key for row, key in enumerate(table.keys)}
    with pytest.raises(InputError, match=r"fewer than 4 positives in test: 'word0x: [01]'"):
        draw_split(table, groups=one, unseen=["word0x"])


def test_near_duplicates_are_kept_in_one_part_and_what_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    table = open_tagged(make_pictures(tmp_path, copies=6))
    for number in range(2, 6):
        for shape in ("circle", "cross"):
            twin = table.keys[0].replace("red_circle", f"red_{shape}").replace("0/", f"{number}/")
            shutil.copy(tmp_path / "images" / f"1/red_{shape}.png", tmp_path / "images" / twin)
    (tmp_path / "images" / table.keys[1]).write_bytes(b"no picture")
    with Image.open(tmp_path / "images/1/blue_square.png") as image:
        image.resize((192, 144)).save(tmp_path / "images/2/blue_square.png")
    split = draw_split(table, unseen=0.25, least_positives=2)
    part_of = {key: part for part in ("train", "test") for key in getattr(split, part)}
    assert table.keys[1] not in part_of and len(part_of) == len(table) - 1
    for shape in ("circle", "cross"):
        assert len({part_of[f"{number}/red_{shape}.png"] for number in range(1, 6)}) == 1
    assert part_of["1/blue_square.png"] == part_of["2/blue_square.png"]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"test": 0}, r"`test` \(0\) must be a share above 0 and below 1"),
        ({"test": 0.7, "val": 0.3}, "leave pictures to train on"),
        ({"val": -0.1}, "must be a share from 0 to below 1"),
        ({"unseen": 0}, r"`unseen` \(0\) must be a share above 0 and below 1"),
        ({"unseen": 1.0}, "above 0 and below 1"),
        ({"unseen": 40}, "above 0 and below 1"),
        ({"unseen": "cat"}, "`unseen` must be a list of strings, found 'cat'. Write unseen=\\['cat'\\]"),
        ({"unseen": ["wolf"]}, "no such labels: 'wolf'"),
        ({"unseen": []}, "'unseen' is empty"),
        ({"least_positives": 0}, r"`least_positives` \(0\) must be at least 1"),
        ({"unseen": ["cat", "rare"]}, "of 2 unseen labels 1 has fewer than 4 positives in test: 'rare: 2'"),
        (
            {"unseen": 0.9},
            "4 unseen labels are wanted, 3 can be had: the other labels have fewer than 4 positives in test: 'rare: 2'",
        ),
        (
            {"unseen": ["cat", "dog", "tree"], "least_positives": 6},
            "left to train on have fewer than 6 positives in train: 'rare",
        ),
        ({"groups": {"none.jpg": "x"}}, "no such pictures: 'none.jpg'"),
    ],
)
def test_a_split_that_cannot_be_drawn_says_why(how: dict[str, object], says: str, no_type_checks: None) -> None:
    rows = [["cat"], ["dog"], ["tree"]] * 20 + [["rare"], ["rarer"]] * 6
    with pytest.raises(InputError, match=says):
        drawn(table_of(rows), **how)


def test_the_remedy_names_what_to_lower() -> None:
    with pytest.raises(InputError) as caught:
        drawn(table_of([["cat"], ["dog"]] * 5), unseen=0.5, least_positives=9)
    assert "'cat: " in str(caught.value) and "'dog: " in str(caught.value)
    assert "1 unseen label is wanted, 0 can be had" in str(caught.value)
    assert "Lower `least_positives` or `unseen`, raise `test`" in str(caught.value)
