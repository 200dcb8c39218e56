"""NUS-WIDE: every form of its files gives the same table; every way a download can be damaged is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tagprism.datasets.draw_split import pseudo_unseen
from tagprism.datasets.nus_wide import SAME_LABEL, open_nus_wide
from tagprism.datasets.registry import default_split, open_dataset
from tagprism.datasets.splits import Split, hold_out_validation, load_split, shared_labels
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tests.datasets.official_trees import NUS_CONCEPTS, NUS_TAGS, Tree, make_nus_wide


def labels_of(table: ImageTable) -> dict[str, set[str]]:
    return {key: {table.labels[column] for column in table.positive[row]} for row, key in enumerate(table.keys)}


@pytest.mark.parametrize(("whole", "flat"), [(False, False), (True, True), (True, False)])
def test_every_form_gives_what_was_written(tmp_path: Path, whole: bool, flat: bool) -> None:
    tree = make_nus_wide(tmp_path, whole=whole, flat=flat)
    table = open_nus_wide(tmp_path, {})
    assert labels_of(table) == tree.positive
    assert list(table.keys) == tree.train + tree.test
    assert all(file.is_file() for file in table.files)
    assert (table.unlisted, len(table.skipped)) == ("negative", 0)
    split = default_split(f"nus-wide:{tmp_path}", table)
    assert split is not None
    assert split.unseen == NUS_CONCEPTS
    assert split.seen == tuple(tag for tag in NUS_TAGS if tag not in NUS_CONCEPTS)
    assert (list(split.train), list(split.test)) == (tree.train, tree.test)


@pytest.mark.parametrize("whole", [False, True])
def test_flickr_tags_of_the_concepts(tmp_path: Path, whole: bool) -> None:
    tree = make_nus_wide(tmp_path, whole=whole)
    table = open_dataset(f"nus-wide:{tmp_path}?labels=flickr")
    files = ["AllTags81"] if whole else ["Train_Tags81", "Test_Tags81"]
    cells = np.concatenate([np.loadtxt(tmp_path / f"NUS_WID_Tags/{file}.txt", dtype=int) for file in files])
    keys = sorted(tree.positive, key=lambda key: key.partition("/")[2]) if whole else tree.train + tree.test
    assert (table.targets(table.rows_of(keys), NUS_CONCEPTS) == cells).all()
    assert table.protocol is not None and "Flickr tags" in table.protocol.name
    assert table.digest != open_dataset(f"nus-wide:{tmp_path}").digest


def test_pictures_that_are_gone_are_counted_and_listed(tmp_path: Path) -> None:
    tree = make_nus_wide(tmp_path)
    for key in (tree.test[1], tree.train[0]):
        (tmp_path / "Flickr" / key).unlink()
    table = open_nus_wide(tmp_path, {})
    assert [one.key for one in table.skipped] == [tree.train[0], tree.test[1]]
    assert {key: tree.positive[key] for key in table.keys} == labels_of(table)
    assert table.protocol is not None
    assert table.protocol.to_json()["pictures"] == {
        "train": {"official": 16, "there": 15},
        "test": {"official": 8, "there": 7},
    }
    assert "7 of 8 official test pictures" in table.protocol.summary()
    for key in tree.test:
        (tmp_path / "Flickr" / key).unlink(missing_ok=True)
    with pytest.raises(InputError, match="no picture of 'test' is there"):
        default_split("nus-wide", open_nus_wide(tmp_path, {}))


def test_the_protocol_names_its_exceptions_and_no_split_file_can(tmp_path: Path) -> None:
    make_nus_wide(tmp_path)
    table = open_nus_wide(tmp_path, {})
    split = default_split("nus-wide", table)
    assert split is not None and split.protocol is not None
    assert split.protocol.same_label == {("animal", "animals"), ("cars", "car")}
    own = tmp_path / "split.json"
    own.write_text(json.dumps(split.to_json()))
    with pytest.raises(InputError, match=r"both sides .*animals / animal.*car / cars"):
        load_split(str(own), table)
    edited = (tmp_path / "NUS_WID_Tags/TagList1k.txt").read_bytes().replace(b"nature", b"towers")
    (tmp_path / "NUS_WID_Tags/TagList1k.txt").write_bytes(edited)
    with pytest.raises(InputError, match="towers / tower"):
        default_split("nus-wide", open_nus_wide(tmp_path, {}))


def test_the_real_lists(shared: Path) -> None:
    tags, concepts = (
        (shared / f"data/protocols/nus_wide/{name}.txt").read_text().split() for name in ("TagList1k", "Concepts81")
    )
    seen = [tag for tag in tags if tag not in concepts]
    assert (len(seen), len(concepts)) == (925, 81)
    assert set(shared_labels(seen, concepts)) == SAME_LABEL
    assert len(SAME_LABEL) == 31


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        path = tree.folder / name
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new, 1))

    return change


def without_last_line(name: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        path = tree.folder / name
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))

    return change


def doubled_last_line(name: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        path = tree.folder / name
        path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])

    return change


def removed(name: str) -> Callable[[Tree], None]:
    return lambda tree: (tree.folder / name).unlink()


_TAGS, _TEST = "NUS_WID_Tags/Train_Tags1k.dat", "ImageList/TestImagelist.txt"
_LABELS = "Groundtruth/TrainTestLabels/Labels_beach_Train.txt"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (removed(_TAGS), r"not there: Train_Tags1k.dat \(or AllTags1k.txt with Imagelist.txt\).*NUS_WID_Tags.zip"),
        (removed("ConceptsList/Concepts81.txt"), "not there: Concepts81.txt"),
        (removed(_LABELS), "not there: Labels_beach_Train.txt"),
        (without_last_line(_TAGS), "Train_Tags1k.dat: has 15 rows; the list has 16 images"),
        (doubled_last_line(_TAGS), "Train_Tags1k.dat: has more than 16 rows"),
        (without_last_line(_LABELS), "Labels_beach_Train.txt: has 15 rows"),
        (replaced(_TAGS, b"\n", b"1\t\n"), "Train_Tags1k.dat, row 1: has 11 cells; there are 10 labels"),
        (replaced(_TAGS, b"0\t", b""), r"Train_Tags1k.dat, row \d+: has 9 cells"),
        (replaced(_TAGS, b"0\t", b"x\t"), r"Train_Tags1k.dat, row \d+, cell \d+: 'x' is neither 0 nor 1"),
        (replaced(_TAGS, b"0\t", b"0.5\t"), "'0.5' is neither"),
        (replaced(_LABELS, b"0\r\n", b"-1130179\r\n"), r"Labels_beach_Train.txt, row \d+: '-1130179' is neither"),
        (doubled_last_line(_TEST), r"TestImagelist.txt, row 9: '.*' is in row 8 too"),
        (replaced(_TEST, b"\r\n", b"\r\n\r\n"), "TestImagelist.txt, row 2: is an empty line"),
        (replaced(_TEST, b"\r\n", b"\r\nbeach\\0001_2124494186.jpg\r\n"), "is a training picture too"),
        (replaced(_TEST, b"jpg", b"\xff"), "TestImagelist.txt: is not text"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Tree], None], words: str) -> None:
    damage(make_nus_wide(tmp_path))
    with pytest.raises(InputError, match=words):
        open_nus_wide(tmp_path, {})


def test_half_a_download_names_everything_at_once(tmp_path: Path) -> None:
    (tmp_path / "ImageList").mkdir()
    with pytest.raises(InputError) as caught:
        open_nus_wide(tmp_path, {})
    for name in (
        "TrainImagelist.txt",
        "TagList1k.txt",
        "Concepts81.txt",
        "Test_Tags1k.dat",
        "AllLabels",
        "Groundtruth",
    ):
        assert name in str(caught.value)
    with pytest.raises(InputError, match="no such folder"):
        open_nus_wide(tmp_path / "nowhere", {})


def test_an_image_of_the_parts_that_the_whole_list_lacks(tmp_path: Path) -> None:
    tree = make_nus_wide(tmp_path, whole=True)
    without_last_line("ImageList/Imagelist.txt")(tree)
    with pytest.raises(InputError, match=r"Imagelist.txt: lacks 1 picture of the training and test lists"):
        open_nus_wide(tmp_path, {})


def test_the_one_flaw_of_the_official_files_counts_as_absent(tmp_path: Path) -> None:
    tree = make_nus_wide(tmp_path)
    for part in ("Train", "Test"):
        folder = tmp_path / "Groundtruth/TrainTestLabels"
        (folder / f"Labels_beach_{part}.txt").rename(folder / f"Labels_lake_{part}.txt")
    replaced("ConceptsList/Concepts81.txt", b"beach", b"lake")(tree)
    replaced("NUS_WID_Tags/TagList1k.txt", b"beach", b"lake")(tree)
    replaced("Groundtruth/TrainTestLabels/Labels_lake_Train.txt", b"0\r\n", b"-1130179\r\n")(tree)
    wanted = {key: {"lake" if one == "beach" else one for one in labels} for key, labels in tree.positive.items()}
    assert labels_of(open_nus_wide(tmp_path, {})) == wanted


def test_limits_and_validation_keep_the_protocol(tmp_path: Path) -> None:
    make_nus_wide(tmp_path)
    split = default_split("nus-wide", open_nus_wide(tmp_path, {}))
    assert isinstance(split, Split)
    held = hold_out_validation(replace(split, train=split.train[:12]), 0.3, seed=1)
    assert held.protocol is split.protocol
    drawn = pseudo_unseen(held, 0.4, seed=0)
    assert drawn.protocol is None and shared_labels(drawn.seen, drawn.unseen) == []
