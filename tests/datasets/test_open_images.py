"""Open Images: the block reader against the csv module, the three answers, machine labels, disk layouts, damage."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagprism.datasets import open_images_csv
from tagprism.datasets.open_images import SAME_LABEL, label_names, official_labels, open_open_images
from tagprism.datasets.open_images_csv import KnownLabels, read_label_file
from tagprism.datasets.registry import default_split, open_dataset
from tagprism.datasets.splits import shared_labels
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tests.datasets.official_trees import make_open_images
from tests.datasets.test_nus_wide import labels_of

HEADER = "ImageID,Source,LabelName,Confidence\n"
HUMAN = "train/train-annotations-human-imagelabels.csv"
MACHINE = "train/train-annotations-machine-imagelabels.csv"
_MIDS = ["/m/01", "/m/0108_09c", "/g/11bc5v_0f", "/m/02xyz"]


def negatives_of(table: ImageTable) -> dict[str, set[str]]:
    return {key: {table.labels[column] for column in table.negative[row]} for row, key in enumerate(table.keys)}


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**64 - 1),
            st.sampled_from([*_MIDS, "/m/0stranger"]),
            st.sampled_from(["0", "1", "0.5", "0.93", "1.0", "1e-3"]),
        ),
        min_size=1,
        max_size=40,
    ),
    size=st.integers(40, 400),
    packed=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    order=st.permutations(["ImageID", "Source", "LabelName", "Confidence", "Rotation"]),
)
def test_blocks_equal_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, str, str]],
    size: int,
    packed: bool,
    ending: str,
    last: bool,
    order: list[str],
) -> None:
    cells = [
        {"ImageID": f"{number:016x}", "Source": "verification", "LabelName": mid, "Confidence": how, "Rotation": ""}
        for number, mid, how in rows
    ]
    text = ending.join([",".join(order), *(",".join(row[name] for name in order) for row in cells)])
    data = (text + ending * last).encode()
    path = tmp_path_factory.mktemp("csv") / ("labels.csv.gz" if packed else "labels.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_images_csv, "BLOCK", size)
        blocks = list(read_label_file(path, KnownLabels(_MIDS)))
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert np.concatenate([block.images for block in blocks]).tolist() == [int(row["ImageID"], 16) for row in read]
    labels = [_MIDS.index(row["LabelName"]) if row["LabelName"] in _MIDS else -1 for row in read]
    assert np.concatenate([block.labels for block in blocks]).tolist() == labels
    wanted = np.asarray([float(row["Confidence"]) for row in read], np.float32)
    assert (np.concatenate([block.confidences for block in blocks]) == wanted).all()
    at = 2
    for block in blocks:
        assert block.first == at
        at += len(block.images)
    strangers = [row + 2 for row, label in enumerate(labels) if label < 0]
    told = [block.unknown for block in blocks if block.unknown]
    assert bool(told) == bool(strangers)
    assert all(row in strangers and label == "/m/0stranger" for row, label in told)


@pytest.mark.slow
def test_the_three_answers(tmp_path: Path) -> None:
    tree = make_open_images(tmp_path)
    table = open_open_images(tmp_path, {})
    assert (labels_of(table), negatives_of(table)) == (tree.positive, tree.negative)
    assert table.unlisted == "unknown"
    assert all(file.is_file() for file in table.files)
    split = default_split("open-images", table)
    assert split is not None
    assert (len(split.seen), len(split.unseen)) == (7186, 400)
    assert (sorted(split.train), sorted(split.test)) == (sorted(tree.train), sorted(tree.test))
    assert len(split.val) == 6
    assert table.digest == open_open_images(tmp_path, {}).digest


def test_what_people_said_both_ways_is_unknown(tmp_path: Path) -> None:
    tree = make_open_images(tmp_path)
    key = tree.train[0]
    mids = {name: mid for side in official_labels() for mid, name in side}
    yes = sorted(tree.positive[key])[0]
    with (tmp_path / HUMAN).open("a") as file:
        for answer in (1, 0):
            file.write(f"{key[6:22]},verification,{mids[yes]},{answer}\n")
    table = open_open_images(tmp_path, {})
    assert table.targets(table.rows_of([key]), [yes]).tolist() == [[-1]]
    assert table.notes["contradicted"] == 1


def test_machine_labels_fill_gaps_of_the_training_pictures_alone(tmp_path: Path) -> None:
    tree = make_open_images(tmp_path)
    table = open_dataset(f"open-images:{tmp_path}?machine=0.8")
    names = {mid: name for side in official_labels() for mid, name in side}
    with (tmp_path / MACHINE).open() as file:
        said = [row for row in csv.DictReader(file) if float(row["Confidence"]) >= 0.8]
    wanted = {key: set(labels) for key, labels in tree.positive.items()}
    for row in said:
        key = f"train/{row['ImageID']}.jpg"
        wanted[key] |= {names[row["LabelName"]]} - tree.negative[key]
    assert labels_of(table) == wanted != tree.positive
    assert negatives_of(table) == tree.negative
    assert table.protocol is not None and "by the machine from 0.8 in training" in table.protocol.name


def test_a_machine_picture_that_no_one_looked_at(tmp_path: Path) -> None:
    make_open_images(tmp_path)
    mid, name = official_labels()[0][3]
    with (tmp_path / MACHINE).open("a") as file:
        file.write(f"00000000000000aa,machine,{mid},0.9\n")
    (picture,) = list((tmp_path / "train").glob("*.jpg"))[:1]
    shutil.copy(picture, tmp_path / "train/00000000000000aa.jpg")
    assert "train/00000000000000aa.jpg" not in open_open_images(tmp_path, {}).keys
    assert labels_of(open_open_images(tmp_path, {"machine": "0.9"}))["train/00000000000000aa.jpg"] == {name}


def test_later_versions_names_packed_files_and_archives(tmp_path: Path) -> None:
    tree = make_open_images(tmp_path)
    before = open_open_images(tmp_path, {})
    (tmp_path / "annotations").mkdir()
    for part, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        file = tmp_path / part / f"{part}-annotations-human-imagelabels.csv"
        packed = tmp_path / f"annotations/oidv7-{name}-annotations-human-imagelabels.csv.gz"
        packed.write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    names = (tmp_path / "class-descriptions.csv").read_text()
    (tmp_path / "annotations/oidv7-class-descriptions.csv").write_text("LabelName,DisplayName\n" + names)
    (tmp_path / "class-descriptions.csv").unlink()
    for picture in list((tmp_path / "train").glob("*.jpg")):
        folder = tmp_path / f"images/train_{picture.name[0]}"
        folder.mkdir(parents=True, exist_ok=True)
        picture.rename(folder / picture.name)
    after = open_open_images(tmp_path, {})
    assert after.digest == before.digest
    assert all(file.is_file() for file in after.files)
    assert after.files[0].parent.name == f"train_{after.keys[0][6]}"
    assert [file.name for file in after.files[1:3]] == [key[6:] for key in after.keys[1:3]]
    assert tree.train


def test_missing_pictures(tmp_path: Path) -> None:
    tree = make_open_images(tmp_path)
    for key in tree.test[:2]:
        (tmp_path / key).unlink()
    for picture in (tmp_path / "train").glob("*.jpg"):
        picture.unlink()
    table = open_open_images(tmp_path, {})
    assert sorted(one.key for one in table.skipped) == sorted([*tree.test[:2], "train/"])
    assert table.skipped[-1].message == "None of its 18 pictures is there."
    wanted = {key: labels for key, labels in tree.positive.items() if key not in (*tree.train, *tree.test[:2])}
    assert labels_of(table) == wanted


def test_names_are_unique_and_spoken_without_identifier() -> None:
    seen, unseen = label_names()
    assert len({*seen, *unseen}) == 7586
    assert sum("(/m/" in name or "(/g/" in name for name in (*seen, *unseen)) == 229
    assert set(shared_labels(seen, unseen)) == SAME_LABEL


def test_the_lists_are_the_published_ones(shared: Path) -> None:
    for side, file in zip(official_labels(), ("seen_7186.csv", "unseen_400.csv"), strict=True):
        with (shared / "data/protocols/open_images" / file).open(newline="") as opened:
            rows = list(csv.reader(opened))
        assert [mid for mid, _ in side] == [row[0] for row in rows]
        assert [name.removesuffix(f" ({mid})") for mid, name in side] == [row[1] for row in rows]


def written(text: str, name: str = HUMAN) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


_ROW = "00000000000000aa,verification,/m/0other1,1\n"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / HUMAN).unlink(), "not there: train-annotations-human-imagelabels.csv.*2018_04"),
        (written("ImageID,Source,LabelName\n"), "human-imagelabels.csv: its first row lacks the column Confidence"),
        (written(""), "first row lacks the column ImageID"),
        (written(HEADER), "it has no rows"),
        (written(HEADER + _ROW + "00000000000000aa,verif"), "row 3: the row '00000000000000aa,verif' is cut off"),
        (written(HEADER + _ROW + _ROW[:-2]), "row 3: its Confidence is wrong"),
        (written(HEADER + _ROW * 2 + _ROW.replace("\n", ",5\n")), "row 4: the row .* has too many cells"),
        (written(HEADER + _ROW.replace("00aa", "00zz")), "row 2: its ImageID is wrong"),
        (written(HEADER + _ROW.replace("00aa", "0aa")), "row 2: its ImageID is wrong"),
        (written(HEADER + _ROW + _ROW.replace("/m/0other1", "")), "row 3: its LabelName is wrong"),
        (written(HEADER + _ROW + _ROW.replace("/m/0other1", "Dog!")), "row 3: its LabelName is wrong"),
        (written(HEADER + _ROW.replace(",1\n", ",x\n")), "row 2: its Confidence is wrong"),
        (written(HEADER + _ROW.replace(",1\n", ",2\n")), "row 2: its Confidence is wrong"),
        (written(HEADER + _ROW + _ROW.replace(",1\n", ",0.7\n")), "row 3: the confidence of what people said"),
        (written(HEADER + _ROW + _ROW.replace("other1", "nameless")), "row 3: the label '/m/0nameless' has no name"),
        (written("/m/01,One\n/m/02\n", "class-descriptions.csv"), "class-descriptions.csv, row 2: it is not an ident"),
        (written("/m/01,One\n/m/01,Two\n", "class-descriptions.csv"), r"descriptions.csv, row 2: '/m/01' is in row 1"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    make_open_images(tmp_path, pictures=12)
    damage(tmp_path)
    with pytest.raises(InputError, match=words):
        open_open_images(tmp_path, {})


def test_a_gzip_file_that_is_cut_off(tmp_path: Path) -> None:
    make_open_images(tmp_path, pictures=12)
    data = gzip.compress((tmp_path / HUMAN).read_bytes())
    (tmp_path / HUMAN).unlink()
    for damaged in (data[:-20], b"not gzip", data[:40] + b"\x00" * 30 + data[70:]):
        (tmp_path / (HUMAN + ".gz")).write_bytes(damaged)
        with pytest.raises(InputError, match=r"human-imagelabels.csv.gz: the gzip file is cut off or damaged"):
            open_open_images(tmp_path, {})
