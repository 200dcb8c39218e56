"""Shards: what is written is read back, as the same table, and what is wrong with a shard is said."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tagprism.datasets import parquet_shards
from tagprism.datasets.compact import PackedNames, Picked
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.shards import blocks_of
from tagprism.datasets.table import ImageTable
from tagprism.datasets.write_shards import write_shards
from tagprism.errors import InputError, NothingToDoError, PictureError
from tagprism.images.decode import read_bytes
from tagprism.images.stream import digest_pictures, reading_order
from tests.command_line import tagprism

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FORMS = ("parquet", "webdataset")
ENDING = {"parquet": "*.parquet", "webdataset": "*.tar"}
LABELS = {
    "a/One.two.jpg": ["cat", "Sea"],
    "a/b.png": {"positive": ["cat"], "negative": ["Sea"]},
    "ä.jpg": {"negative": ["cat"]},
    "c.jpg": ["blue sky"],
    "d.jpg": ["cat", "blue sky", "Sea"],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """A folder of five files, whose bytes differ; a table opens none of them."""
    folder = tmp_path / "tagged"
    for key in LABELS:
        path = folder / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode() * 50)
    (folder / "labels.json").write_text(json.dumps(LABELS))
    (folder / "dataset.json").write_text('{"unlisted": "unknown"}')
    return folder


def written(tagged: Path, form: str, per_shard: int = 2) -> tuple[Path, ImageTable]:
    out = tagged.parent / f"{form}{per_shard}"
    table = open_dataset(f"tagged:{tagged}")
    assert write_shards(table, out, form, per_shard=per_shard) == []  # type: ignore[arg-type]
    return out, table


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("per_shard", [1, 2, 9])
def test_shards_are_the_folder(tagged: Path, form: str, per_shard: int) -> None:
    out, table = written(tagged, form, per_shard)
    for _ in range(2):  # the second time from what is remembered
        shards = open_dataset(f"{form}:{out}/{ENDING[form]}")
        assert shards.digest == table.digest
        assert list(shards.keys) == list(LABELS) and shards.unlisted == "unknown"
        assert open_dataset(f"{form}:{out}/*").digest == table.digest  # as the help of `data shards` says
        assert [read_bytes(one) for one in shards.files] == [read_bytes(one) for one in table.files]
        digests, errors = digest_pictures(shards.files, keep=True)
        assert not errors and digests == digest_pictures(table.files)[0]
        assert shards.rows_of(list(LABELS)[::-1]).tolist() == [4, 3, 2, 1, 0]
    assert len(list(out.iterdir())) == 2 + -(-len(LABELS) // per_shard)


@pytest.mark.parametrize("form", FORMS)
def test_writing_continues_and_refuses_another_folder(tagged: Path, form: str) -> None:
    out, table = written(tagged, form)
    first, second, _ = sorted(out.glob(ENDING[form]))
    second.unlink()
    with pytest.raises(InputError, match="2 of 3 shards are there"):
        open_dataset(f"{form}:{out}/{ENDING[form]}")
    stamp = first.stat().st_mtime_ns
    write_shards(table, out, form, per_shard=2)  # type: ignore[arg-type]
    assert first.stat().st_mtime_ns == stamp
    assert open_dataset(f"{form}:{out}/{ENDING[form]}").digest == table.digest
    with pytest.raises(NothingToDoError):
        write_shards(table, out, form, per_shard=2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="another data set or form"):
        write_shards(table, out, form, per_shard=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"holds no shards of tagprism\. Choose another `out`"):
        write_shards(table, tagged, form)  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_read_is_left_out_and_said(tagged: Path) -> None:
    (tagged / "images/c.jpg").write_bytes(b"")
    out = tagged.parent / "out"
    ended = tagprism("data", "shards", f"tagged:{tagged}", "--out", out, "--per-shard", "2")
    said = ended.stderr.decode()
    assert ended.returncode == 4 and "c.jpg: The file has zero bytes" in said and "--data 'webdataset:" in said
    shards = open_dataset(f"webdataset:{out}/*.tar")
    assert list(shards.keys) == [key for key in LABELS if key != "c.jpg"]


@pytest.mark.parametrize("form", FORMS)
def test_a_shard_cut_short_is_an_error_wherever_it_ends(tagged: Path, form: str) -> None:
    out, _ = written(tagged, form, 9)
    (shard,) = out.glob(ENDING[form])
    whole = shard.read_bytes()
    for size in (0, 100, 512, 1024, len(whole) // 2, len(whole) // 2 // 512 * 512):
        shard.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut short|not a tar|as Parquet"):
            open_dataset(f"{form}:{shard}")


@pytest.mark.parametrize("form", FORMS)
def test_a_shard_that_shrinks_later_costs_its_pictures_alone(tagged: Path, form: str) -> None:
    out, _ = written(tagged, form)
    shards = open_dataset(f"{form}:{out}/{ENDING[form]}")
    first, second, _ = sorted(out.glob(ENDING[form]))
    first.write_bytes(first.read_bytes()[:600])
    second.unlink()
    digests, errors = digest_pictures(shards.files)
    assert sorted(digests) == [4]
    assert [error.code for _, error in errors] == ["unreadable", "unreadable", "missing", "missing"]
    assert errors[0][1].message.startswith("The shard")


def tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def test_a_webdataset_of_others(tmp_path: Path) -> None:
    """Names by their first dot, further members, labels as a list, other fields, pictures without labels."""
    path = tar(
        tmp_path / "x.tar",
        {
            "train/1.jpg": b"one",
            "train/1.json": b'["cat", "cat"]',
            "train/1.cls": b"3",
            "train/2.v2.png": b"two",
            "train/2.json": b'{"positive": ["dog"], "caption": "a dog"}',
            "train/3.json": b'["dog"]',
            "train/4.webp": b"four",
        },
    )
    table = open_dataset(f"webdataset:{path}")
    assert list(table.keys) == ["train/1.jpg", "train/2.v2.png"]
    assert table.targets([0, 1], ["cat", "dog"]).tolist() == [[1, 0], [0, 1]]
    assert [(one.key, one.code) for one in table.skipped] == [("train/3", "missing"), ("train/4.webp", "no_labels")]
    assert read_bytes(table.files[1]) == b"two" and os.fspath(table.files[1]) == f"{path}/train/2.v2.png"
    with pytest.raises(PictureError, match="at most 0 MiB"):
        read_bytes(table.files[1], 2)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"1.jpg": b"x", "1.json": b"{"}, "is not JSON"),
        ({"1.jpg": b"x", "1.json": b'{"labels": ["cat"]}'}, "neither `positive` nor `negative`"),
        ({"1.jpg": b"x", "1.json": b'{"positive": "cat"}'}, "lists of words"),
        ({"1.jpg": b"x", "1.json": b'{"positive": ["cat"], "key": 3}'}, "`key`"),
        ({"1.jpg": b"x", "1.png": b"x", "1.json": b'["cat"]'}, "2 pictures"),
        ({"1.jpg": b"x", "1.json": b'["cat", " "]'}, "a label must be words"),
        ({"1.jpg": b"x", "1.json": b'["cat", "Cat"]'}, "the same label"),
        ({"1.jpg": b"x", "1.json": b'{"positive": ["cat"], "negative": ["cat"]}'}, "both positive and negative in '1"),
        ({"1.jpg": b"x"}, "none of the pictures can be used"),
        (
            {"1.jpg": b"x", "1.json": b'["cat"]', "2.jpg": b"x", "2.json": b'{"positive": ["cat"], "key": "1.jpg"}'},
            "two",
        ),
    ],
)
def test_what_is_wrong_with_a_tar(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    path = tar(tmp_path / "x.tar", members)
    with pytest.raises(InputError, match=said) as caught:
        open_dataset(f"webdataset:{path}")
    assert "x.tar" in str(caught.value)


def test_compressed_tars_missing_shards_and_folders_that_disagree(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tgz", "w:gz"):
        pass
    with pytest.raises(InputError, match="gunzip"):
        open_dataset(f"webdataset:{tmp_path}/x.tgz")
    with pytest.raises(InputError, match="no file is there"):
        open_dataset(f"webdataset:{tmp_path}/*.tar")
    for folder, unlisted in (("a", "negative"), ("b", "unknown")):
        tar(tmp_path / folder / "x.tar", {f"{folder}.jpg": b"x", f"{folder}.json": b'["cat"]'})
        (tmp_path / folder / "dataset.json").write_text(json.dumps({"unlisted": unlisted}))
    with pytest.raises(InputError, match="another thing by an unlisted label"):
        open_dataset(f"webdataset:{tmp_path}/*/x.tar")
    (tmp_path / "b/dataset.json").unlink()
    assert len(open_dataset(f"webdataset:{tmp_path}/**/x.tar")) == 2
    tar(tmp_path / "b/x.tar", {"a.jpg": b"x", "a.json": b'["cat"]'})
    with pytest.raises(InputError, match=r"two pictures are named 'a\.jpg', in .*a.x\.tar and in .*b.x\.tar"):
        open_dataset(f"webdataset:{tmp_path}/*/x.tar")


Change = Callable[[dict[str, object]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda columns: columns.pop("image"), "no column `image`. There are: key, positive"),
        (lambda columns: columns.pop("key"), "no column `key`"),
        (lambda columns: columns.pop("positive"), "no column `positive`"),
        (lambda columns: columns.update(image=["x", "y"]), "column `image` is string, not binary"),
        (lambda columns: columns.update(positive=["x", "y"]), "column `positive` is string, not lists"),
        (lambda columns: columns.update(key=["1", None]), "row 1 has no `key`"),
        (lambda columns: columns.update(positive=[["cat"], [None]]), "a label in `positive` is null"),
        (lambda columns: columns.update(key=["1", "1"]), "two pictures are named '1'"),
    ],
)
def test_what_is_wrong_with_a_parquet_file(tmp_path: Path, change: Change, said: str) -> None:
    columns: dict[str, object] = {"key": ["1", "2"], "image": [b"x", b"y"], "positive": [["cat"], ["dog"]]}
    change(columns)
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=said) as caught:
        open_dataset(f"parquet:{tmp_path}/*.parquet")
    assert "x.parquet" in str(caught.value) or "*.parquet" in str(caught.value)


def test_a_parquet_file_of_others(tmp_path: Path) -> None:
    """An image as Hugging Face stores it, no labels in a row, a picture that is null, large types, several groups."""
    images = [{"bytes": b"x", "path": "1.jpg"}, {"bytes": None, "path": "2.jpg"}, {"bytes": b"z", "path": None}]
    table = pa.table(
        {
            "key": ["1", "2", "3"],
            "image": images,
            "positive": pa.array([["cat"], None, ["dog", "cat"]]),
            "width": [1, 2, 3],
        }
    ).cast(
        pa.schema(
            {
                "key": pa.large_string(),
                "image": pa.struct({"bytes": pa.large_binary(), "path": pa.string()}),
                "positive": pa.large_list(pa.large_string()),
                "width": pa.int64(),
            }
        )
    )
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    found = open_dataset(f"parquet:{tmp_path}/x.parquet")
    assert list(found.keys) == ["1", "3"] and found.skipped[0].code == "no_labels"
    assert [read_bytes(one) for one in found.files] == [b"x", b"z"]
    assert found.targets([0, 1], ["cat", "dog"]).tolist() == [[1, 0], [1, 1]]


def test_row_groups_are_read_once_in_reading_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(number) for number in range(12)]
    for shard in range(2):
        own = names[6 * shard : 6 * shard + 6]
        columns = {"key": own, "image": [one.encode() for one in own], "positive": [["cat"]] * 6}
        parquet.write_table(pa.table(columns), tmp_path / f"{shard}.parquet", row_group_size=3)
    table, reads = open_dataset(f"parquet:{tmp_path}/*.parquet"), []
    read = parquet_shards._read_group
    monkeypatch.setattr(parquet_shards, "_KEPT", 60)  # bytes: two groups
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # of two threads one may fall behind, and read its group anew
    monkeypatch.setattr(parquet_shards, "_read_group", lambda *one: reads.append(one) or read(*one))
    rows = np.random.default_rng(0).permutation(12)
    files = Picked(table.files, rows)
    assert [files[place].key for place in reading_order(files)] == names
    digests, _ = digest_pictures(files)
    assert list(digests) == list(range(12)) and len(reads) == 4
    blocks = blocks_of(files)
    assert blocks is not None and len(blocks.sizes) == 4
    assert blocks.of.tolist() == (rows // 3).tolist()
    assert blocks_of(table.files) is None  # not picked: nobody trains on it


def test_packed_names_are_a_list() -> None:
    names = ["b", "ä", "", "a/b.jpg", "\udcff"]
    packed = PackedNames(names)
    assert list(packed) == names and list(packed[1:4]) == names[1:4] and packed[-1] == names[-1]
    assert [packed.row(name) for name in names] == list(range(5))
    assert packed.row("c") is None and "ä" in packed and packed.twice() is None
    assert PackedNames(["x", "y", "x"]).twice() == (0, 2)
    with pytest.raises(IndexError):
        packed[5]
