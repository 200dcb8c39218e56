"""`train` with a loss, a head or a backbone of one's own: a bundle that works, or an error that says what is wrong."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tagprism
from tagprism.bundle.record import Records
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import Split, load_split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError, NothingToDoError
from tagprism.network.embedding_matrix import EmbeddingMatrix, max_similarity
from tagprism.training.custom_parts import CustomBackbone, CustomHead, CustomLoss
from tagprism.training.diversity_loss import SemanticDiversityLoss
from tagprism.training.recipe import ModelTable, Recipe, load_recipe
from tagprism.training.torch_engine import torch_records
from tagprism.training.train import Run, train
from tests.small_world import World

Train = Callable[..., Run]
END_TO_END = ("training.end_to_end=true", "training.workers=0")


class BinaryLoss(nn.Module):
    """Binary cross-entropy of the best row's score."""

    def __init__(self, label_vectors: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("vectors", label_vectors, persistent=False)
        self.scale = scale

    def forward(self, matrices: Tensor, targets: Tensor) -> Tensor:
        scores, _ = max_similarity(matrices, self.get_buffer("vectors"))
        return nn.functional.binary_cross_entropy_with_logits(self.scale * scores, (targets == 1).float())


class TwoLayers(nn.Module):
    """A head with a hidden layer."""

    def __init__(self, features: int, vectors: int, dimension: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, vectors * dimension))
        self.shape = (vectors, dimension)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).unflatten(1, self.shape)


class Pooled(nn.Module):
    """A small backbone without batch norm."""

    image_size, mean, std = 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, channels, 4, stride=4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.convolution(pixels).relu().mean(dim=(2, 3))


def pooled() -> Pooled:
    torch.manual_seed(0)
    return Pooled()


@pytest.fixture
def data(world: World) -> tuple[ImageTable, Split]:
    table = open_dataset(f"tagged:{world.data}")
    return table, load_split(f"{world.data}/splits.json#0", table)


@pytest.fixture
def run(world: World, data: tuple[ImageTable, Split], tmp_path: Path) -> Train:
    """Train the small recipe with changed settings and custom parts."""

    def call(*settings: str, out: str = "run", **parts: Any) -> Run:
        recipe = load_recipe(world.recipe, ("training.epochs=2", "model.image_size=32", *settings))
        return train(recipe, *data, tmp_path / out, **parts)

    return call


def rows_of(run: Run, world: World) -> np.ndarray:
    """Rows of the records of some pictures by the run's bundle."""
    found = tagprism.load(run.bundle).records(world.pictures()[:2])
    return Records.joined(record for _, record, _ in found if isinstance(record, Records)).rows


@pytest.mark.parametrize("mode", [(), END_TO_END], ids=["frozen", "end to end"])
@pytest.mark.slow
def test_all_three_parts_train_and_their_bundle_tags(mode: tuple[str, ...], run: Train, world: World) -> None:
    backbone = pooled()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    done = run(*mode, loss=BinaryLoss, head=TwoLayers, backbone=backbone)
    assert done.bundle == done.path / "bundle" and not done.skipped and done.speed.images
    assert done.validation_mAP is not None and 0 <= done.validation_mAP <= 100
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])  # it was copied
    assert rows_of(done, world).shape == (2, 3, 12)
    (tags,) = tagprism.load(done.bundle).tag([world.pictures()[0]], ["red", "orange"])
    assert {tag.label for tag in tags.tags} == {"red", "orange"}
    config = tagprism.load(done.bundle).bundle.config
    assert config.places is None and set(config.provenance["custom"]) == {"loss", "head", "backbone"}
    assert config.provenance["custom"]["head"].startswith("TwoLayers ")
    assert "| custom backbone | `Pooled` |" in (done.bundle / "README.md").read_text()
    with pytest.raises(InputError, match=r"custom head and backbone.*--engine onnx"):
        torch_records(done.path, tagprism.load(done.bundle).vocabulary)


@pytest.mark.slow
def test_a_recipe_may_be_a_file_or_left_out(data: tuple[ImageTable, Split], world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        train(None, *data, tmp_path / "x", vocabulary={}, backbone=pooled(), head=_missing)
    done = train(str(world.recipe), *data, str(tmp_path / "run"))
    assert done.path == tmp_path / "run" and done.bundle.is_dir()


def _missing(*_sizes: int) -> nn.Module:
    raise InputError("no such file")


@pytest.mark.slow
def test_the_own_loss_as_a_class_is_the_recipes(run: Train, world: World) -> None:
    """Our own loss given from outside trains the same weights as the recipe's."""
    theirs = run("loss.regulariser_weight=0.1", out="one")
    ours = run(out="two", loss=functools.partial(SemanticDiversityLoss, regulariser_weight=0.1), head=EmbeddingMatrix)
    np.testing.assert_array_equal(rows_of(theirs, world), rows_of(ours, world))
    assert tagprism.load(ours.bundle).bundle.config.places == tagprism.load(theirs.bundle).bundle.config.places


@pytest.mark.slow
def test_a_function_and_a_ready_made_module_will_do(run: Train, data: tuple[ImageTable, Split]) -> None:
    def smallest(matrices: Tensor, targets: Tensor) -> Tensor:
        assert targets.unique().tolist() in ([0, 1], [0], [1])
        return matrices.square().mean()

    torch.manual_seed(0)
    done = run("calibration.folds=2", loss=smallest, head=TwoLayers(6, 3, 12), backbone=pooled())
    config = json.loads((done.bundle / "config.json").read_text())
    assert "ready-made" in config["provenance"]["no_calibration"]


@pytest.mark.slow
def test_only_the_same_parts_continue_a_run(run: Train, tmp_path: Path) -> None:
    done = run(backbone=pooled(), loss=BinaryLoss)
    with pytest.raises(NothingToDoError):
        run(backbone=pooled(), loss=BinaryLoss)
    shutil.rmtree(done.bundle)
    run(backbone=pooled(), loss=BinaryLoss)
    shutil.rmtree(done.bundle)
    other = pooled()
    with torch.no_grad():
        other.convolution.bias.add_(1)
    for parts in (
        {"backbone": other, "loss": BinaryLoss},
        {"backbone": pooled()},
        {"backbone": pooled(), "loss": functools.partial(BinaryLoss, scale=2.0)},
    ):
        with pytest.raises(InputError, match=r"another custom loss, head or backbone.*torch\.manual_seed"):
            run(**parts)
    assert not done.bundle.exists()


class Lists(nn.Module):
    """A head that no graph can hold."""

    def __init__(self, features: int, vectors: int, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, vectors * dimension)
        self.shape = (vectors, dimension)

    def forward(self, features: Tensor) -> Tensor:
        if features.sum().item() > 0:
            features = features + 1
        return self.linear(features).unflatten(1, self.shape)


@pytest.mark.slow
def test_what_cannot_be_exported_is_said_before_the_training(run: Train, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Lists: torch cannot export this network to ONNX"):
        run(head=Lists, backbone=pooled())
    assert not (tmp_path / "run/checkpoints").exists()


def loss_of(function: Callable[..., Any]) -> CustomLoss:
    return CustomLoss(function, torch.eye(3), "negative")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda matrices, targets: matrices.mean(dim=(1, 2)), r"tensor of shape \(2,\), not a scalar.*the mean"),
        (lambda matrices, targets: 1.0, "float, not a scalar"),
        (lambda matrices, targets: matrices.detach().sum(), "no gradient.*without detach"),
        (lambda matrices, targets: (matrices > 0).sum(), "not a scalar"),
    ],
)
def test_a_loss_of_another_form_is_refused(function: Callable[..., Any], message: str) -> None:
    matrices = torch.ones(2, 1, 3, requires_grad=True)
    with pytest.raises(InputError, match=message):
        loss_of(function)(matrices, torch.ones(2, 3))


class Gives(nn.Module):
    """Whatever is wanted."""

    def __init__(self, answer: Callable[[Tensor], Any], **attributes: Any) -> None:
        super().__init__()
        self.answer = answer
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, inputs: Tensor) -> Any:
        return self.answer(inputs)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x.new_zeros(len(x), 3 * 12), r"D-major.*view\(len\(flat\), 12, 3\)\.mT"),
        (lambda x: x.new_zeros(len(x), 12, 3), "changed places.*mT"),
        (lambda x: x.new_zeros(len(x), 3, 7), r"\(2, 3, 7\), not \(images, M, 12\)"),
        (lambda x: x.new_zeros(len(x), 5, 12), r"the recipe wants 3 vectors.*model\.vectors = 5"),
        (lambda x: [x], "gives list, not a tensor"),
        (lambda x: x @ torch.zeros(9, 9), r"cannot take a batch of shape \(2, 6\)"),
    ],
)
def test_a_head_of_another_form_is_refused(answer: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CustomHead(Gives(answer), 6, 3, 12)


def mean(pixels: Tensor) -> Tensor:
    return pixels.mean(dim=(2, 3))


PREPARED = {"mean": (0.5,) * 3, "std": [0.5] * 3}


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Gives(mean, **PREPARED), r"lacks an attribute `image_size`.*model\.image_size"),
        (Gives(mean, image_size=32), r"lacks attributes `mean` and `std`.*normalise_pixels = false"),
        (Gives(lambda x: x[:, :, ::8, ::8], image_size=32, **PREPARED), r"\(2, 3, 4, 4\).*AdaptiveAvgPool2d"),
        (Gives(lambda x: (x, x), image_size=32, **PREPARED), "gives tuple, not a tensor"),
    ],
)
def test_a_backbone_says_what_it_lacks(backbone: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CustomBackbone(backbone, ModelTable())


def test_a_backbone_is_prepared_as_it_says_or_as_the_recipe_does() -> None:
    own = CustomBackbone(
        Gives(mean, image_size=(32, 48), name="mine", interpolation="bilinear", **PREPARED), ModelTable()
    )
    assert (own.image_size, own.mean, own.std) == ((32, 48), (0.5,) * 3, (0.5,) * 3)
    assert (own.name, own.features, own.interpolation) == ("mine", 3, "bilinear")
    plain = CustomBackbone(Gives(mean), ModelTable(image_size=64, normalise_pixels=False))
    assert (plain.image_size, plain.name) == ((64, 64), "Gives")
    other = CustomBackbone(Gives(lambda x: x.amax(dim=(2, 3))), ModelTable(image_size=64, normalise_pixels=False))
    assert plain.weights_digest() != other.weights_digest()  # the same name and no weights, but other features


def test_what_custom_parts_do_not_have_is_refused(run: Train) -> None:
    with pytest.raises(InputError, match=r"custom head has no prior.*model\.prior = 0"):
        run("model.prior=0.5", head=TwoLayers)
    with pytest.raises(InputError, match=r"Pooled.*no ImageNet-1k classifier"):
        run("model.class_columns=0.5", backbone=pooled(), out="two")
    with pytest.raises(InputError, match=r'no features of places.*"pooled"'):
        run("model.rows_from=patches", backbone=pooled(), out="three")


@pytest.mark.slow
def test_a_recipe_is_made_in_python(data: tuple[ImageTable, Split], world: World, tmp_path: Path) -> None:
    recipe = Recipe(
        name="x",
        labels={"parts": [{"encoder": f"file:{world.words}"}]},
        model={"vectors": 2, "image_size": 32},
        training={"epochs": 1},
        calibration={"folds": 0},
    )
    assert rows_of(train(recipe, *data, tmp_path / "run", backbone=pooled()), world).shape == (2, 2, 12)
