"""A researcher's whole loop: a table and a split of one's own, a loss, a backbone, measured and compared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tagprism
from tagprism.training.recipe import load_recipe
from tests.small_world import COLOURS, SHAPES, draw, make_recipe

pytestmark = pytest.mark.slow


class MyLoss(nn.Module):
    """Squared distance of each label's best score from its target; knows the vectors of the seen labels."""

    def __init__(self, label_vectors: Tensor) -> None:
        super().__init__()
        self.label_vectors = label_vectors

    def forward(self, matrices: Tensor, targets: Tensor) -> Tensor:
        scores, _ = tagprism.max_similarity(matrices, self.label_vectors)
        return ((scores - targets.clamp_min(0)) ** 2).mean()


class MyBackbone(nn.Module):
    """Mean and largest colour of the picture's quarters."""

    image_size, mean, std = 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        both = nn.functional.adaptive_avg_pool2d(pixels, 2), nn.functional.adaptive_max_pool2d(pixels, 2)
        return torch.cat([one.flatten(1) for one in both], dim=1)


def test_the_whole_loop_in_ten_lines(tmp_path: Path) -> None:
    pictures = []
    for number in range(96):
        colour, shape = tuple(COLOURS)[number % 4], SHAPES[number // 4 % 4]
        draw(tmp_path / f"{number}.png", colour, shape, number)
        pictures.append((tmp_path / f"{number}.png", [colour, shape]))
    recipe = load_recipe(make_recipe(tmp_path))

    table = tagprism.ImageTable.from_labels(pictures)
    split = tagprism.draw_split(table, unseen=0.25, test=0.3)
    run = tagprism.train(recipe, table, split, tmp_path / "run", loss=MyLoss)
    other = tagprism.train(recipe, table, split, tmp_path / "other", backbone=MyBackbone())
    result, scored = tagprism.evaluate(run, table, split), tagprism.evaluate(other.path, table, split)
    comparison = tagprism.compare([recipe, run, other.path], table, split)

    for one in (result, scored):
        assert 0 <= one.to_json()["zsl"]["mAP"] <= 100
    assert list(comparison.results) == [recipe.name, "run", "other"]
    tags = tagprism.load(run).tag(pictures[0][0], labels=["red", "star"])
    assert {tag.label for tag in tags[0].tags} == {"red", "star"}
