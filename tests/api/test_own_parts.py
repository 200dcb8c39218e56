"""What a researcher gives from Python that is nearly right: refused before pictures are read, and the remedy said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tagprism
from tagprism import EvaluationProtocol, ImageTable, OwnMethod, Recipe, Split, compare, evaluate
from tagprism.errors import InputError
from tagprism.training.custom_parts import CustomLoss, CustomParts
from tests.small_world import World

PHOTOS = Path(__file__).parents[1] / "photos"

pytestmark = pytest.mark.usefixtures("no_type_checks")


@pytest.fixture
def given() -> tuple[ImageTable, Split]:
    pictures = [("coffee.jpg", ["cup", "table"]), ("chelsea.jpg", ["cat"]), ("rocket.jpg", ["sky"])]
    table = ImageTable.from_labels(pictures, folder=PHOTOS)
    return table, Split(seen=["cup", "table"], unseen=["cat", "sky"], train=["coffee.jpg"], test=["rocket.jpg"])


def opened(world: World) -> tuple[ImageTable, Split]:
    return tagprism.open_data(f"tagged:{world.data}", f"{world.data}/splits.json#0")


class NeedsScores(nn.Module):
    """A loss of scores, which is what BCEWithLogitsLoss is."""

    def __init__(self, label_vectors: Tensor) -> None:
        super().__init__()

    def forward(self, matrices: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(matrices, targets.float())


class Random(nn.Module):
    """A loss with random weights."""

    def __init__(self, label_vectors: Tensor) -> None:
        super().__init__()
        self.weight = torch.randn(label_vectors.shape[1])

    def forward(self, matrices: Tensor, targets: Tensor) -> Tensor:
        return (matrices * self.weight * torch.rand(1)).square().mean()


class Own(nn.Module):
    """A network that would do."""


def nan(matrices: Tensor, targets: Tensor) -> Tensor:
    return matrices.sum() * 0 / (targets * 0).sum()


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"loss": "bce"}, "loss: is str 'bce', which cannot be called"),
        ({"head": 3}, "head: is int 3, which cannot be called"),
        ({"backbone": Own}, r"backbone: is the class Own, not a torch module. Give a module.*torch.manual_seed"),
        ({"backbone": abs}, "backbone: is builtin_function_or_method .*, not a torch module"),
        ({"loss": lambda matrices: matrices.mean()}, r"loss: cannot take matrices of shape \(2, 3, 12\) and targets"),
        ({"loss": nn.BCEWithLogitsLoss}, r"targets of shape \(2, 6\): ValueError: Target size .* must be the same"),
        ({"loss": NeedsScores}, r"loss: cannot take matrices of shape \(2, 3, 12\)"),
        (
            {"loss": nn.MultiheadAttention},
            r"loss: cannot be made with the vectors of the seen labels alone, .*\(6, 12",
        ),
        ({"loss": nan}, "loss: gives NaN for a batch of 2 images"),
        ({"loss": lambda matrices, targets: float(matrices.detach().mean())}, "loss: gives float, not a scalar"),
    ],
)
def test_a_part_that_cannot_be_used_is_refused_before_a_picture_is_read(
    parts: dict[str, Any], says: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pictures were read")

    monkeypatch.setattr("tagprism.training.prepare._part", refuse)
    with pytest.raises(InputError, match=says) as caught:
        tagprism.train(world.recipe, *opened(world), tmp_path / "run", **parts)
    assert caught.value.remedy


def test_a_loss_that_becomes_nan_says_so_and_one_of_matrices_that_are_is_left_alone() -> None:
    """Where the network overflowed in half precision, the step is left out and the training goes on."""
    loss = CustomLoss(lambda matrices, _: matrices.sum() * float("nan"), torch.eye(2), "negative")
    finite = torch.ones(1, 1, 2, requires_grad=True)
    targets = torch.ones(1, 2, dtype=torch.int8)
    with pytest.raises(InputError, match=r"gives NaN for a batch of 1 images.*without positives"):
        loss(finite, targets)
    assert loss(finite * float("inf"), targets).isnan()


def test_trying_a_loss_changes_nothing_that_is_random() -> None:
    torch.manual_seed(3)
    CustomParts(loss=Random).check_loss(torch.eye(4), 2)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda table, split, out: tagprism.train(None, split, table, out),
            "table: expected ImageTable, found a Split",
        ),
        (lambda table, split, out: tagprism.train(None, [("a.jpg", ["a"])], split, out), "table: .*found a list"),
        (lambda table, split, out: tagprism.train(None, table, "split.json", out), "split: .*the text 'split.json'"),
        (lambda table, split, out: tagprism.train(3, table, split, out), "recipe: must be a Recipe or .*found a int"),
        (lambda table, split, out: tagprism.train({"nam": "x"}, table, split, out), r"`name`: Field required; `nam`"),
        (lambda table, split, out: evaluate("run", split, table), "table: expected ImageTable"),
        (lambda table, split, out: evaluate([[0.0] * 4], table, None), "split: expected Split, found a NoneType"),
        (lambda table, split, out: compare([], table, split), "0 rows, 1 split and"),
        (lambda table, split, out: compare([lambda *_: 0], table, split), r"a function is no row.*OwnMethod\(\"mine\""),
        (lambda table, split, out: compare([3], table, split), "a int is no row of a comparison. Give recipes"),
        (lambda table, split, out: compare([out / "none"], table, split), "none: there is no such folder"),
        (
            lambda table, split, out: compare([OwnMethod("mine", lambda *_: 0)], table, "split.json"),
            "split: expected Split",
        ),
        (lambda table, split, out: OwnMethod("mine", 3), "mine: its `run` is int, which cannot be called"),
        (lambda table, split, out: EvaluationProtocol(ks=3), r"ks is 3. Give whole numbers from 1: ks=\(3, 5\)"),
        (lambda table, split, out: EvaluationProtocol(ks=(0,)), "K must be at least 1, not 0"),
        (lambda table, split, out: EvaluationProtocol(unknown="none"), "unknown must be one of ignore, negative, lesa"),
        (lambda table, split, out: EvaluationProtocol(image_set="seen"), "image_set must be one of labelled, all"),
        (lambda table, split, out: Recipe(name="x", training={"epoch": 3}), "`training.epoch`: Extra inputs"),
        (lambda table, split, out: ImageTable.from_labels(out), r"expected files and their labels.*open_data\("),
    ],
)
def test_what_is_no_table_split_recipe_or_row_is_said(
    call: Callable[..., Any], says: str, given: tuple[ImageTable, Split], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        call(*given, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_labels_json_holds_is_a_table() -> None:
    lists = {"coffee.jpg": ["cup"], "chelsea.jpg": {"positive": ["cat"], "negative": ["cup"]}}
    table = ImageTable.from_labels(lists, folder=PHOTOS, unlisted="unknown")
    assert table.targets([0, 1], ["cat", "cup"]).tolist() == [[-1, 1], [1, 0]]
    pairs = ImageTable.from_labels(list(lists.items()), folder=PHOTOS, unlisted="unknown")
    assert pairs.digest == table.digest
    with pytest.raises(InputError, match="expected a list of labels"):
        ImageTable.from_labels({"coffee.jpg": {"positives": ["cup"]}}, folder=PHOTOS)


def test_a_finished_run_is_a_row_by_its_path_or_itself(world: World) -> None:
    table, split = opened(world)
    run = tagprism.Run(world.run, {}, None, None)  # type: ignore[arg-type]

    def perfect(table: ImageTable, split: Split, seed: int) -> np.ndarray:
        return table.targets(table.rows_of(split.test), (*split.seen, *split.unseen)).astype(float)

    found = compare([run, OwnMethod("perfect", perfect)], table, split).results
    assert list(found) == [world.run.name, "perfect"]
    assert found["perfect"][0].zsl.labelled.mean_ap == 100 > found[world.run.name][0].zsl.labelled.mean_ap
    assert tagprism.load(run).bundle.digest == tagprism.load(world.run).bundle.digest
