"""COCO 48/17: both years' layouts, the lists built from the annotations, the published list, and damaged files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagprism.datasets.coco import SEEN, UNSEEN, open_coco, published_test
from tagprism.datasets.coco_file import read_coco
from tagprism.datasets.registry import default_split, open_dataset
from tagprism.datasets.splits import shared_labels
from tagprism.errors import InputError
from tests.datasets.official_trees import COCO_CATEGORIES, make_coco
from tests.datasets.test_nus_wide import labels_of


@pytest.mark.parametrize("year", [2014, 2017])
def test_the_table_says_what_was_written(tmp_path: Path, year: int) -> None:
    tree = make_coco(tmp_path, year=year)
    table = open_coco(tmp_path, {})
    assert labels_of(table) == tree.positive
    assert (table.labels, table.unlisted) == (COCO_CATEGORIES, "negative")
    assert all(file.is_file() for file in table.files)
    split = default_split("coco", table)
    assert split is not None and split.protocol is not None
    assert (split.seen, split.unseen) == (SEEN, UNSEEN)
    assert list(split.train) == [key for key in tree.train if not tree.positive[key] & set(UNSEEN)]
    assert list(split.test) == tree.test[:6]
    assert split.protocol.official == {"train": len(split.train), "test": 2729}
    assert str(table.notes["published_test_list"]).startswith("6 of the 2729 pictures")


def test_all_validation_pictures_as_test(tmp_path: Path) -> None:
    tree = make_coco(tmp_path)
    split = default_split("coco", open_dataset(f"coco:{tmp_path}?test=val,year=2014"))
    assert split is not None and list(split.test) == tree.test
    with pytest.raises(InputError, match=r"not there: instances_train2017.json, instances_val2017.json"):
        open_dataset(f"coco:{tmp_path}?year=2017")


def test_published_pictures_leave_the_training_file_of_2017(tmp_path: Path) -> None:
    """2017 put most of val2014 into training: a picture of the test list that has no unseen object would be a leak."""
    tree = make_coco(tmp_path, year=2017)
    path = tmp_path / "annotations/instances_train2017.json"
    value = json.loads(path.read_text())
    clean = next(n for n, key in enumerate(tree.train) if not tree.positive[key] & set(UNSEEN))
    number = list(published_test())[100]
    old = value["images"][clean]["id"]
    value["images"][clean]["id"] = number
    for annotation in value["annotations"]:
        annotation["image_id"] = number if annotation["image_id"] == old else annotation["image_id"]
    path.write_text(json.dumps(value))
    table = open_coco(tmp_path, {})
    split = default_split("coco", table)
    assert split is not None
    assert tree.train[clean] in split.test and tree.train[clean] not in split.train
    assert "7 of the 2729 pictures of the published test list are annotated, 6 of them" in str(table.notes)


def test_area_bands(tmp_path: Path) -> None:
    make_coco(tmp_path)
    objects = json.loads((tmp_path / "annotations/instances_val2014.json").read_text())["annotations"]
    tables = {band: open_coco(tmp_path, {"areas": band}) for band in ("small", "medium", "large", "medium+large")}
    everything = labels_of(open_coco(tmp_path, {}))
    found = {band: labels_of(table) for band, table in tables.items()}
    for key, labels in everything.items():
        assert labels == found["small"][key] | found["medium"][key] | found["large"][key]
        assert found["medium+large"][key] == found["medium"][key] | found["large"][key]
    small = {(one["image_id"], one["category_id"]) for one in objects if one["area"] < 32 * 32}
    assert sum(len(labels) for key, labels in found["small"].items() if key.startswith("val")) == len(small)


def test_missing_pictures(tmp_path: Path) -> None:
    tree = make_coco(tmp_path)
    (tmp_path / tree.test[0]).unlink()
    for file in (tmp_path / "train2014").iterdir():
        file.unlink()
    table = open_coco(tmp_path, {})
    assert [(one.key, one.message) for one in table.skipped] == [
        ("train2014/", "None of its 24 pictures is there."),
        (tree.test[0], "There is no such file."),
    ]


def test_pictures_below_images_and_only_those_of_the_test(tmp_path: Path) -> None:
    tree = make_coco(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "val2014").rename(tmp_path / "images/val2014")
    shutil.rmtree(tmp_path / "train2014")
    table = open_coco(tmp_path, {})
    assert list(table.keys) == tree.test and all(file.is_file() for file in table.files)
    assert [one.key for one in table.skipped] == ["train2014/"]


def test_the_facts_are_the_published_ones(shared: Path) -> None:
    folder = shared / "data/protocols/coco"
    split = json.loads((folder / "split_48_17.json").read_text())
    assert (list(SEEN), list(UNSEEN), list(COCO_CATEGORIES)) == (
        split["seen_48"],
        split["unseen_17"],
        split["categories"],
    )
    listed = json.loads((folder / "zero_shot_test_2729.json").read_text())
    ours = {f"COCO_val2014_{number:012}.jpg": list(labels) for number, labels in published_test().items()}
    assert ours == listed
    assert f"{sum(map(len, ours.values())) / len(ours):.3f}" == "1.207"
    assert shared_labels(SEEN, UNSEEN) == []


Value = dict[str, Any]


def changed(change: Callable[[Value], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (changed(lambda v: v["annotations"][3].update(image_id=5)), r"annotations\[3\]: it is about image 5, which"),
        (changed(lambda v: v["annotations"][0].update(category_id=999)), r"annotations\[0\]: it is about category 999"),
        (changed(lambda v: v["images"].append(v["images"][0])), r"images\[13\]: the number \d+ comes twice"),
        (changed(lambda v: v["images"][2].update(file_name=v["images"][0]["file_name"])), "two images have one name"),
        (changed(lambda v: v["images"][1].pop("file_name")), r"images\[1\]: its 'file_name' is None"),
        (changed(lambda v: v["annotations"][7].update(area="12")), r"annotations\[7\]: its 'area' is '12'"),
        (changed(lambda v: v["annotations"][7].update(image_id=1.5)), r"annotations\[7\]: its 'image_id' is 1.5"),
        (changed(lambda v: v["categories"].append(v["categories"][0])), r"categories\[80\]: the number 1 comes twice"),
        (changed(lambda v: v["categories"].pop(0)), "annotations|category 'person'"),
        (changed(lambda v: v.pop("annotations")), "it has no 'annotations'"),
        (
            lambda path: path.write_text(path.read_text()[:-5000]),
            r"cut off or damaged at annotations\[\d+\]|categories",
        ),
        (lambda path: path.write_text(""), "cut off or damaged at its start"),
        (lambda path: path.write_text("[]"), "cut off or damaged at its start"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not text"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    make_coco(tmp_path)
    path = tmp_path / "annotations/instances_val2014.json"
    damage(path)
    with pytest.raises(InputError, match=words) as caught:
        open_coco(tmp_path, {})
    assert "instances_val2014.json" in str(caught.value)


def test_any_white_space_and_order(tmp_path: Path) -> None:
    make_coco(tmp_path)
    path = tmp_path / "annotations/instances_val2014.json"
    before, value = read_coco(path), json.loads(path.read_text())
    path.write_text("\n " + json.dumps({key: value[key] for key in reversed(value)} | {"more": []}, indent=2) + "\n")
    after = read_coco(path)
    assert (after.ids, after.files, after.categories) == (before.ids, before.files, before.categories)
    assert (after.rows == before.rows).all() and (after.columns == before.columns).all()


def test_what_the_published_list_is_not(shared: Path) -> None:
    """Neither the pictures with unseen objects alone, nor all pictures with one: docs/data.md states these counts."""
    labels = json.loads((shared / "data/coco_captions/labels.json").read_text())  # photos with a person
    spoken = {"airplane", "plane", "bus", "cat", "dog", "cow", "elephant", "umbrella", "cake"}
    listed = {key for key in labels if int(Path(key).stem) in published_test()}
    with_unseen = {key for key, own in labels.items() if spoken & set(own)}
    assert (len(labels), len(listed)) == (2484, 163)
    assert (len(with_unseen), len(with_unseen & listed)) == (338, 49)
