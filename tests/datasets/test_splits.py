"""Splits: reading, every refusal, and the two ways to make one out of another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagprism.datasets.compact import FilesBelow, Ragged
from tagprism.datasets.draw_split import pseudo_unseen
from tagprism.datasets.splits import (
    Split,
    hold_out_validation,
    load_split,
    shared_labels,
    split_names,
)
from tagprism.datasets.table import ImageTable, SkippedPicture
from tagprism.datasets.tagged import open_tagged
from tagprism.errors import InputError
from tagprism.labels.phrases import same_label

LABELS = ("cat", "dog", "dogs", "ice cream", "icecream", "tree")
KEYS = tuple(f"{number}.jpg" for number in range(6))
GOOD = {"seen": ["cat", "dog"], "unseen": ["tree"], "train": ["0.jpg", "1.jpg"], "test": ["3.jpg"]}


@pytest.fixture
def table() -> ImageTable:
    rows = Ragged.from_rows([[0]] * len(KEYS))
    skipped = (SkippedPicture("skipped.jpg", "missing", "There is no such file in images/."),)
    return ImageTable("test", FilesBelow(Path(), KEYS), KEYS, LABELS, rows, rows, "negative", skipped)


def write(path: Path, value: Any) -> str:
    file = path / "splits.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(file)


def test_one_and_several(tmp_path: Path, table: ImageTable) -> None:
    file = write(tmp_path, {**GOOD, "val": ["2.jpg"], "seed": 3})
    split = load_split(file, table)
    assert split == Split(**{**GOOD, "val": ["2.jpg"]}, name="splits.json")
    assert load_split(file + "#0", table).digest == split.digest
    assert split_names(file) == [file]
    second = {**GOOD, "unseen": ["ice cream"]}
    file = write(tmp_path, [GOOD, second])
    assert split_names(file) == [f"{file}#0", f"{file}#1"]
    assert load_split(f"{file}#1", table).unseen == ("ice cream",)
    assert load_split(f"{file}#1", table).name == "splits.json#1"
    assert load_split(write(tmp_path, [GOOD]), table).val == ()


def test_pictures_the_data_set_skips_are_left_out(tmp_path: Path, table: ImageTable) -> None:
    split = load_split(write(tmp_path, {**GOOD, "train": ["skipped.jpg", "0.jpg"]}), table)
    assert split.train == ("0.jpg",)


def test_file_with_a_number_in_its_name(tmp_path: Path, table: ImageTable) -> None:
    (tmp_path / "split#3").write_text(json.dumps(GOOD))
    assert load_split(str(tmp_path / "split#3"), table).seen == ("cat", "dog")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seen": ["cat", "wolf", "fox"]}, "'seen' names unknown labels: 'fox', 'wolf'"),
        ({"unseen": ["Tree"]}, "'unseen' names unknown labels: 'Tree'"),
        ({"train": ["9.jpg"]}, "'train' names unknown pictures: '9.jpg'"),
        ({"val": ["9.jpg"]}, "'val' names unknown pictures: '9.jpg'"),
        ({"test": [f"x{number}" for number in range(12)]}, "'test' names unknown pictures: .* and 2 more"),
        ({"unseen": ["cat"]}, "on both sides .*: 'cat / cat'"),
        ({"unseen": ["dogs"]}, r"on both sides \(same word, plural or spelling\): 'dog / dogs'"),
        ({"seen": ["icecream"], "unseen": ["ice cream"]}, "on both sides .*: 'icecream / ice cream'"),
        ({"seen": ["ice cream"], "unseen": ["icecream"]}, "on both sides .*: 'ice cream / icecream'"),
        ({"seen": ["cat", "cat"]}, "named twice, in one part or in two: 'cat'"),
        ({"test": ["1.jpg"]}, "named twice, in one part or in two: '1.jpg'"),
        ({"val": ["3.jpg"]}, "named twice, in one part or in two: '3.jpg'"),
        ({"train": ["1.jpg", "1.jpg"]}, "named twice"),
        ({"seen": []}, "'seen' is empty"),
        ({"unseen": []}, "'unseen' is empty"),
        ({"train": ["skipped.jpg"]}, "'train' is empty"),
        ({"test": []}, "'test' is empty"),
        ({"seen": "cat"}, "'seen' must be a list of names"),
        ({"train": [1]}, "'train' must be a list of names"),
        ({"val": None}, "'val' must be a list of names"),
        ({"valid": []}, "unknown parts: 'valid'"),
    ],
)
@pytest.mark.parametrize("in_list", [False, True])
def test_wrong_splits_are_one_clear_error(
    tmp_path: Path, table: ImageTable, change: dict[str, Any], says: str, in_list: bool
) -> None:
    value = {**GOOD, **change}
    file = write(tmp_path, [GOOD, value] if in_list else value)
    spec = f"{file}#1" if in_list else file
    with pytest.raises(InputError, match=says) as caught:
        load_split(spec, table)
    assert spec in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("value", "number", "says"),
    [
        ([GOOD, GOOD], "", "holds 2 splits. Choose one from .*#0 to .*#1"),
        ([GOOD, GOOD], "#2", "holds 2 splits"),
        ([], "", "holds 0 splits"),
        (GOOD, "#1", "one split, not a list"),
        ("{", "", "not JSON"),
        ([3], "#0", "must be an object"),
        ("text", "", "not JSON"),
        ({"seen": []}, "", "parts are missing: 'unseen', 'train', 'test'"),
    ],
)
def test_wrong_files_and_numbers(tmp_path: Path, table: ImageTable, value: Any, number: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_split(write(tmp_path, value) + number, table)


def test_missing_file(tmp_path: Path, table: ImageTable) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_split(str(tmp_path / "none.json#1"), table)


WORDS = st.sampled_from(
    [
        "cat",
        "cats",
        "man",
        "men",
        "bus",
        "glass",
        "glasses",
        "new",
        "news",
        "ice cream",
        "ice-cream",
        "icecreams",
        "box",
    ]
)


@given(st.lists(WORDS, unique=True), st.lists(WORDS, unique=True))
def test_shared_labels_agree_with_every_pair(seen: list[str], unseen: list[str]) -> None:
    found = shared_labels(seen, unseen)
    assert {label for label, _ in found} == {one for one in unseen if any(same_label(one, other) for other in seen)}
    assert all(same_label(one, other) for one, other in found)


def big(pictures: int = 400, labels: int = 50) -> Split:
    keys = tuple(f"{number}.jpg" for number in range(pictures))
    names = tuple(f"word{number}x" for number in range(labels))
    return Split(seen=names[:-5], unseen=names[-5:], train=keys[:300], test=keys[300:], name="big")


def test_validation_is_held_out_by_seed_and_key_alone() -> None:
    split = big()
    held = hold_out_validation(split, 0.2, 1)
    assert set(held.train) | set(held.val) == set(split.train)
    assert not set(held.train) & set(held.val)
    assert 30 <= len(held.val) <= 90
    assert (held.seen, held.unseen, held.test) == (split.seen, split.unseen, split.test)
    assert hold_out_validation(split, 0.2, 1) == held
    assert hold_out_validation(split, 0.2, 2).val != held.val
    fewer = replace(split, train=tuple(reversed(split.train[::2])))
    assert set(hold_out_validation(fewer, 0.2, 1).val) == set(held.val) & set(fewer.train)
    assert set(held.val) < set(hold_out_validation(split, 0.4, 1).val)


def test_validation_refusals() -> None:
    held = hold_out_validation(big(), 0.2, 1)
    with pytest.raises(InputError, match="has a validation part already"):
        hold_out_validation(held, 0.2, 1)
    for fraction in (0.0, 1.0):
        with pytest.raises(InputError, match="leaves a part empty"):
            hold_out_validation(big(), fraction, 1)


def test_pseudo_unseen_holds_nothing_of_the_true_test() -> None:
    split = hold_out_validation(big(), 0.2, 1)
    pseudo = pseudo_unseen(split, 0.2, 7)
    assert len(pseudo.unseen) == 9
    assert set(pseudo.seen) | set(pseudo.unseen) == set(split.seen)
    assert not set(pseudo.seen) & set(pseudo.unseen)
    assert (pseudo.train, pseudo.val, pseudo.test) == (split.train, (), split.val)
    names = {*pseudo.seen, *pseudo.unseen, *pseudo.train, *pseudo.test}
    assert not names & {*split.unseen, *split.test}
    assert pseudo_unseen(split, 0.2, 7) == pseudo
    assert pseudo_unseen(split, 0.2, 8).unseen != pseudo.unseen
    assert pseudo.digest != split.digest


def test_pseudo_unseen_takes_other_spellings_along() -> None:
    split = Split(seen=("cat", "cats", "dog", "dogs"), unseen=("tree",), train=("0",), val=("1",), test=("2",))
    for seed in range(5):
        assert set(pseudo_unseen(split, 0.25, seed).unseen) in ({"cat", "cats"}, {"dog", "dogs"})


def test_pseudo_unseen_refusals() -> None:
    with pytest.raises(InputError, match=r"no validation part\. Use hold_out_validation"):
        pseudo_unseen(big(), 0.2, 0)
    held = hold_out_validation(big(), 0.2, 1)
    for fraction in (0.0, 1.0):
        with pytest.raises(InputError, match="leaves a side empty"):
            pseudo_unseen(held, fraction, 0)


def test_digest_ignores_the_name_only() -> None:
    split = big()
    assert replace(split, name="other").digest == split.digest
    assert replace(split, test=split.test[:-1]).digest != split.digest
    assert replace(split, seen=split.unseen, unseen=split.seen).digest != split.digest


def test_given_splits_of_real_photos(shared: Path) -> None:
    photos = shared / "data" / "corel5k"
    table = open_tagged(photos)
    names = split_names(str(photos / "zero_shot_splits.json"))
    assert len(names) == 8
    splits = [load_split(name, table) for name in names]
    assert len({split.digest for split in splits}) == 8
    assert all((len(split.train), len(split.test)) == (3499, 1500) for split in splits)
