"""The plain format: what it reads, and a clear error or a listed skip for everything that is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pytest

from tagprism.datasets.registry import default_split, open_dataset
from tagprism.datasets.splits import load_split
from tagprism.datasets.tagged import open_tagged
from tagprism.errors import InputError


def folder(root: Path, labels: Any, dataset: Any = None, pictures: tuple[str, ...] = ("a.jpg", "b.jpg")) -> Path:
    for name in pictures:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(b"a picture, as far as this room knows")
    (root / "labels.json").write_text(labels if isinstance(labels, str) else json.dumps(labels), encoding="utf-8")
    if dataset is not None:
        (root / "dataset.json").write_text(json.dumps(dataset))
    return root


def test_lists_and_both_sides(tmp_path: Path) -> None:
    labels = {"sub/é b.jpg": ["dog", "tree", "dog"], "a.jpg": {"positive": ["cat"], "negative": ["dog"]}}
    table = open_tagged(folder(tmp_path, labels, pictures=("a.jpg", "sub/é b.jpg")))
    assert table.keys == ("sub/é b.jpg", "a.jpg")
    assert table.files[0] == tmp_path / "images" / "sub" / "é b.jpg"
    assert table.labels == ("cat", "dog", "tree")
    assert table.targets([0, 1], table.labels).tolist() == [[0, 1, 1], [1, 0, 0]]
    assert table.skipped == ()


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_accents_of_one_piece_and_of_two_are_the_same(
    tmp_path: Path, written: Literal["NFC", "NFD"], on_disk: Literal["NFC", "NFD"]
) -> None:
    """macOS gives names with accents as letters of their own; who writes lists elsewhere does not."""
    name, label = "süß/Café é.jpg", "crème brûlée"
    labels = {normalize(written, name): [normalize("NFD", label)], "a.jpg": [normalize("NFC", label), "dog"]}
    root = folder(tmp_path, labels, pictures=("a.jpg", normalize(on_disk, name)))
    table = open_tagged(root)
    assert table.skipped == () and all(file.is_file() for file in table.files)
    assert table.keys[0] == normalize(written, name) and table.labels == (normalize("NFC", label), "dog")
    split = {"seen": [normalize("NFD", label)], "unseen": ["dog"], "test": ["a.jpg"]}
    split["train"] = [normalize("NFD" if written == "NFC" else "NFC", name)]
    (tmp_path / "split.json").write_text(json.dumps(split))
    read = load_split(str(tmp_path / "split.json"), table)
    assert (read.train, read.seen) == ((table.keys[0],), (table.labels[0],))


@pytest.mark.parametrize(("unlisted", "value"), [("negative", 0), ("unknown", -1)])
def test_dataset_json_says_what_unlisted_means(tmp_path: Path, unlisted: str, value: int) -> None:
    labels = {"a.jpg": ["cat"], "b.jpg": {"negative": ["cat"], "positive": ["dog"]}}
    table = open_tagged(folder(tmp_path, labels, {"unlisted": unlisted}))
    assert table.targets([0, 1], ["cat", "dog"]).tolist() == [[1, value], [0, 1]]


def test_pictures_without_a_file_or_without_labels_are_listed_and_skipped(tmp_path: Path) -> None:
    labels = {
        **{"gone.jpg": ["cat", "wolf"], "a.jpg": ["cat"], "b.jpg": [], "dir": ["cat"], "c\0.jpg": ["cat"]},
        **{"empty.jpg": {"positive": [], "negative": []}, "nothing.jpg": {}},
    }
    root = folder(tmp_path, labels)
    (root / "images" / "dir").mkdir()
    table = open_tagged(root)
    assert table.keys == ("a.jpg",)
    assert table.labels == ("cat", "wolf")  # a split may name it, although its only picture is gone
    assert [(skip.key, skip.code) for skip in table.skipped] == [
        *(("gone.jpg", "missing"), ("b.jpg", "no_labels"), ("dir", "unreadable"), ("c\0.jpg", "missing")),
        *(("empty.jpg", "no_labels"), ("nothing.jpg", "no_labels")),
    ]
    assert table.info()["skipped"] == 6


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ('{"a.jpg": ["cat"', r"labels\.json, line 1, column 17: this is not JSON"),
        ("[]", "at least one picture"),
        ("{}", "at least one picture"),
        ('"a.jpg"', "at least one picture"),
        ("", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ('{"a.jpg": ["x"], "a.jpg": ["y"]}', "'a.jpg' is named twice"),
        ({"a.jpg": "cat"}, r"'a\.jpg': expected a list of labels, found 'cat'"),
        ({"a.jpg": None}, "expected a list of labels, found None"),
        ({"a.jpg": 3}, "expected a list of labels, found 3"),
        ({"a.jpg": {"yes": ["cat"]}}, "expected a list of labels"),
        ({"a.jpg": {"positive": "cat"}}, r"'a\.jpg', positive: expected a list of labels, found 'cat'"),
        ({"a.jpg": {"positive": ["cat"], "negative": None}}, "negative: expected a list"),
        ({"a.jpg": [1]}, "a label must be words, found 1"),
        ({"a.jpg": [["cat"]]}, "a label must be words"),
        ({"a.jpg": [" _ "]}, "a label must be words"),
        ({"a.jpg": ["x" * 100, 2.5]}, r"found 2\.5"),
        ({"a.jpg": {"x" * 100: 1}}, r"found \{'xxx.*\.\.\."),
        ({"a.jpg": {"positive": ["dog", "cat"], "negative": ["cat"]}}, "both positive and negative: 'cat'"),
        ({"../secret.jpg": ["cat"]}, r"'\.\./secret\.jpg' leads out of images/"),
        ({"sub/../../x.jpg": ["cat"]}, "leads out of images/"),
        ({"/etc/passwd": ["cat"]}, "leads out of images/"),
        ({"./a.jpg": ["cat"]}, r"not a plain file name\. Write it as 'a\.jpg'"),
        ({"sub//a.jpg": ["cat"]}, r"Write it as 'sub/a\.jpg'"),
        ({"": ["cat"]}, "not a plain file name"),
        ({"a.jpg": ["Beach"], "b.jpg": ["beach"]}, "'Beach' and 'beach' are the same label"),
        ({"x.jpg": ["cat"], "y.jpg": []}, r"none of the pictures can be used: 'x\.jpg: missing', 'y\.jpg: no_labels'"),
    ],
)
def test_wrong_labels_are_one_clear_error(tmp_path: Path, labels: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_tagged(folder(tmp_path, labels))
    assert str(tmp_path / "labels.json") in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "dataset", [{"unlisted": "absent"}, {}, [], {"unlisted": "unknown", "more": 1}, {"unlisted": []}]
)
def test_wrong_dataset_json_is_refused(tmp_path: Path, dataset: Any) -> None:
    with pytest.raises(InputError, match=r"dataset\.json: it must say what an unlisted label means"):
        open_tagged(folder(tmp_path, {"a.jpg": ["cat"]}, dataset))


def test_folders_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_tagged(tmp_path / "none")
    with pytest.raises(InputError, match="no folder images/"):
        open_tagged(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match=r"labels\.json: the file cannot be read \(No such file or directory\)"):
        open_tagged(tmp_path)
    (tmp_path / "labels.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        open_tagged(tmp_path)


def test_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    root = folder(tmp_path, "")
    (root / "labels.json").write_text('{"a.jpg": ["cat"]}', encoding="utf-8-sig")
    assert open_tagged(root).keys == ("a.jpg",)


def test_file_that_cannot_be_looked_at_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path, {"a.jpg": ["cat"], "b.jpg": ["cat"]})
    exists = Path.exists

    def refuse(path: Path) -> bool:
        if path.name == "b.jpg":
            raise PermissionError(13, os.strerror(13))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refuse)
    table = open_tagged(root)
    assert [(skip.key, skip.code, skip.message) for skip in table.skipped] == [
        ("b.jpg", "unreadable", "The file cannot be looked at (Permission denied).")
    ]


def test_by_name(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a.jpg": ["cat"]})
    table = open_dataset(f"tagged:{root}")
    assert table.kind == "tagged"
    assert default_split(f"tagged:{root}", table) is None
    for name in ("tagged", "tagged:", "openclipart:x", "folder:x", str(root), ""):
        with pytest.raises(InputError, match=r"there is no data set .* Choose one of: openclipart, tagged:DIR"):
            open_dataset(name)


def test_real_photos(shared: Path) -> None:
    table = open_tagged(shared / "data" / "corel5k")
    assert len(table) == 4999
    assert len(table.labels) == 374
    written = json.loads((shared / "data" / "corel5k" / "labels.json").read_text())
    targets = table.targets(range(len(table)), table.labels)
    assert [{label for label, value in zip(table.labels, row, strict=True) if value == 1} for row in targets] == [
        set(labels) for labels in written.values()
    ]
