"""NUS-WIDE, COCO and Open Images through the command line: look, train a tiny network, measure, write the lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tagprism.datasets.registry import default_split, open_dataset
from tests.app.conftest import Cli
from tests.datasets.official_trees import Tree, make_coco, make_nus_wide, make_open_images, make_words
from tests.small_world import RECIPE

TREES: dict[str, Callable[[Path], Tree]] = {
    "nus-wide": make_nus_wide,
    "coco": make_coco,
    "open-images": make_open_images,
}


def make_recipe(folder: Path, data: str) -> Path:
    """A tiny network over word vectors of the labels of a data set."""
    split = default_split(data, open_dataset(data))
    assert split is not None
    words = make_words(folder / "words.txt", [*split.seen, *split.unseen])
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE.format(words=words.as_posix()))
    return recipe


@pytest.mark.slow
@pytest.mark.parametrize("kind", TREES)
def test_from_official_files_to_a_result(cli: Cli, tmp_path: Path, kind: str) -> None:
    tree = TREES[kind](tmp_path / "data")
    data = f"{kind}:{tree.folder}"
    recipe, run = make_recipe(tmp_path, data), tmp_path / "run"
    info = cli("data", "info", data, "--encoder", f"file:{tmp_path}/words.txt", "--format", "json")
    assert (info.code, info.err) == (0, "")
    facts = json.loads(info.out)
    (rules,) = facts["labels_by_encoder"].values()
    assert rules["partly"] == rules["missing"] == 0
    assert rules["whole"] + rules["words"] == facts["split_seen"] + facts["split_unseen"]
    sets = ["--set", "training.epochs=1"]
    if kind == "open-images":  # rank against what people said no to; what nobody looked at is left out
        sets += ["--set", "loss.unlabelled=ignore"]
    trained = cli("train", recipe, "--data", data, "--out", run, *sets, "--quiet")
    assert (trained.code, trained.out) == (0, ""), trained.err
    gone = tree.folder / ("Flickr" if kind == "nus-wide" else "") / tree.test[0]
    gone.unlink()
    measured = cli("evaluate", run, "--data", data, "--format", "json", "--k", "1", "--k", "3")
    assert measured.code == 4 and f"skipped {tree.test[0]}: There is no such file" in measured.err
    assert "official test pictures are there" in measured.err
    result = json.loads(measured.out)
    protocol = result["provenance"]["protocol"]
    assert protocol["pictures"]["test"]["there"] == facts["split_test"] - 1 == result["zsl"]["all"]["images"]
    assert protocol["pictures"]["test"]["official"] == facts["protocol"]["pictures"]["test"]["official"]
    assert protocol["same_label_allowed"] == facts["protocol"]["same_label_allowed"]
    assert bool(protocol["same_label_allowed"]) == (kind != "coco")
    assert not result["leak"] and 0 <= result["zsl"]["mAP"] <= 100
    if kind == "open-images":
        authors = cli("evaluate", run, "--data", data, "--format", "json", "--unknown", "negative", "--quiet")
        assert result["zsl"]["chance_mAP"] > json.loads(authors.out)["zsl"]["chance_mAP"]


def test_lists_of_coco(cli: Cli, tmp_path: Path) -> None:
    tree = make_coco(tmp_path / "data")
    done = cli("data", "lists", f"coco:{tree.folder}?test=val", "--out", tmp_path / "lists")
    assert (done.code, done.out) == (0, "")
    cli("data", "lists", f"coco:{tree.folder}?test=val", "--out", tmp_path / "lists").refused(
        "split.json: is there already"
    )
    assert "zsl_test: 12 pictures" in done.err and "6 of the 2729 pictures" in done.err
    train = (tmp_path / "lists/train.txt").read_text().splitlines()
    assert (tmp_path / "lists/zsl_test.txt").read_text().splitlines() == tree.test
    split = json.loads((tmp_path / "lists/split.json").read_text())
    assert (split["train"], split["test"]) == (train, tree.test)
    info = cli("data", "info", f"coco:{tree.folder}", "--split", f"{tmp_path}/lists/split.json", "--format", "json")
    facts = json.loads(info.out)
    assert (facts["split_train"], facts["split_test"], facts["split_unseen"]) == (len(train), 12, 17)
    assert "protocol" not in facts


def test_lists_of_nus_wide_hold_no_split_file(cli: Cli, tmp_path: Path) -> None:
    tree = make_nus_wide(tmp_path / "data")
    assert cli("data", "lists", f"nus-wide:{tree.folder}", "--out", tmp_path / "lists").code == 0
    assert {path.name for path in (tmp_path / "lists").iterdir()} == {"train.txt", "zsl_test.txt", "gzsl_test.txt"}


def test_labels_of_the_protocols(cli: Cli) -> None:
    assert len(cli("data", "labels", "open-images").out.splitlines()) == 7586
    names = cli("data", "labels", "coco").out.splitlines()
    assert (len(names), names[0], names[-1]) == (65, "person", "scissors")


def test_half_a_download_and_a_wrong_option(cli: Cli, tmp_path: Path) -> None:
    cli("data", "info", f"coco:{tmp_path}").refused(
        "instances_train2014.json", "instances_train2017.json", "cocodataset"
    )
    cli("data", "info", f"coco:{tmp_path}?year=2015").refused("'year=2015' cannot be", "'2014', '2017'")
    cli("data", "lists", f"tagged:{tmp_path}", "--out", tmp_path / "x").refused("no folder images/")
