"""Rows over patches: each a linear map of its own weighted mean."""

from __future__ import annotations

import pytest
import torch

from tagprism.errors import InputError
from tagprism.network.embedding_matrix import EmbeddingMatrix
from tagprism.network.open_clip_backbone import OpenClipPrior
from tagprism.network.patch_rows import PatchRows
from tagprism.training.networks import make_head, open_backbone
from tagprism.training.recipe import ModelTable


def test_rows_are_what_a_loop_gives() -> None:
    torch.manual_seed(0)
    prior = OpenClipPrior(4, 3, 5, weight=2.0).fill(torch.rand(3, 4), torch.rand(3, 5))
    head = PatchRows(4, 2, 5, prior)
    head.queries.data.normal_()
    tokens = torch.randn(6, 7, 4)
    found = head(tokens.flatten(1))
    maps = head.linear.weight.view(2, 5, 4)
    for image in range(6):
        start = prior(tokens[image, :1])[0]
        for row in range(2):
            weights = torch.softmax(tokens[image] @ head.queries[row] / 2.0, dim=0)  # 2: the root of 4 channels
            expected = maps[row] @ (weights[:, None] * tokens[image]).sum(dim=0) + start
            torch.testing.assert_close(found[image, row], expected)


def test_an_untrained_one_is_the_plain_head_on_the_mean_and_learns_where_to_look() -> None:
    torch.manual_seed(0)
    head, plain = PatchRows(4, 2, 5), EmbeddingMatrix(4, 2, 5)
    plain.load_state_dict({"linear.weight": head.linear.weight})
    tokens = torch.randn(6, 7, 4)
    found = head(tokens.flatten(1))
    torch.testing.assert_close(found, plain(tokens.mean(dim=1)))
    found.square().sum().backward()
    assert head.queries.grad is not None and (head.queries.grad != 0).all()


@pytest.mark.parametrize(("name", "places"), [("test_efficientnet.r160_in1k", 25), ("test_vit.r160_in1k", 101)])
def test_timm_backbones_have_patches_too(name: str, places: int) -> None:
    model = ModelTable(backbone=name, weights="random", rows_from="patches", vectors=3)
    backbone = open_backbone(model)
    head = make_head(model, backbone, 12, None)
    features = backbone(torch.rand(2, 3, 160, 160))
    channels = features.shape[1] // (1 + places)
    assert features.shape == (2, backbone.features) and channels * (1 + places) == backbone.features
    assert head(features).shape == (2, 3, 12)


def test_a_backbone_that_changes_what_it_pools_is_refused() -> None:
    with pytest.raises(InputError, match=r"model\.rows_from: its patches have \d+ numbers"):
        open_backbone(ModelTable(backbone="mobilenetv3_small_050", weights="random", rows_from="patches"))
