"""Which backbones can say where something comes from, and that the exported places sum to the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tagprism.bundle.onnx_model import RecordNetwork
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix, Network, Standardiser
from tagprism.network.export import PlacedNetwork, export_onnx, find_places

TINY = "test_efficientnet.r160_in1k"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("name", "size", "places"),
    [
        (TINY, (64, 96), (2, 3)),
        ("test_resnet", (96, 64), (3, 2)),
        ("test_vit", (160, 160), (10, 10)),  # tokens behind a class token
        ("mobilenetv3_small_050", (64, 64), None),  # a convolution behind the pooling
        ("test_convnext", (64, 64), None),  # a norm behind the pooling
        ("test_vit2", (160, 160), None),
    ],
)
def test_places_are_found_where_features_are_the_mean_of_a_map(
    name: str, size: tuple[int, int], places: tuple[int, int] | None
) -> None:
    backbone = Backbone(name, "random").train()
    assert find_places(backbone, size) == places
    assert backbone.training


class _ChannelsLast(nn.Module):
    """Pools a map (B, h, w, C), with a bias or without one."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.bias = bias

    def forward_features(self, pixels: Tensor) -> Tensor:
        return pixels.unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(4, 5)).permute(0, 2, 3, 1)

    def forward_head(self, found: Tensor) -> Tensor:
        return found.mean(dim=(1, 2)) + self.bias


@pytest.mark.parametrize(("bias", "places"), [(0.0, (2, 4)), (0.01, None)])
def test_channels_may_come_last_and_numbers_decide(bias: float, places: tuple[int, int] | None) -> None:
    backbone = Backbone(TINY, "random")
    backbone.network, backbone.features = _ChannelsLast(bias), 3
    assert find_places(backbone, (16, 32)) == places


def network_of(name: str = TINY, vectors: int = 3, *, standardise: bool = True) -> Network:
    backbone = Backbone(name, "random")
    head = EmbeddingMatrix(backbone.features, vectors, 8)
    return Network(backbone, head, Standardiser(torch.randn(6, 8), standardise=standardise)).eval()


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize(("name", "size"), [(TINY, (64, 96)), ("test_vit", (160, 160))])
def test_a_place_gives_its_part_of_the_mean(name: str, size: tuple[int, int], standardise: bool) -> None:
    network = network_of(name, standardise=standardise)
    grid = find_places(network.backbone, size)
    assert grid is not None
    pixels = torch.randn(3, 3, *size)
    with torch.inference_mode():
        found_rows, shared, places = PlacedNetwork(network, grid)(pixels, torch.arange(3))
        expected, expected_shared = network(pixels)
        found = network.backbone.last_map(pixels)
        rows = found.flatten(2).mT if found.ndim == 4 else found[:, 1:]
        raw = network.head(network.backbone(pixels))
        deviation = raw[1, 0, 0] / expected[1, 0, 0]
        row, column = grid[0] - 1, 1
        one = network.head.linear(rows[1, row * grid[1] + column]) / (grid[0] * grid[1] * deviation)
    torch.testing.assert_close((found_rows, shared), (expected, expected_shared))
    torch.testing.assert_close(places.sum(dim=1), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(places[1, row * grid[1] + column].flatten(), one, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_file_gives_places_only_when_asked_and_holds_the_head_once(tmp_path: Path) -> None:
    network = network_of(vectors=200)
    path = tmp_path / "model.onnx"
    export_onnx(PlacedNetwork(network, (2, 3)), (64, 96), path)
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert path.stat().st_size < weights + 4 * network.head.linear.weight.numel() / 2
    model = RecordNetwork(path, 8, threads=1)
    for size in (1, 3):
        pixels = np.random.default_rng(size).standard_normal((size, 3, 64, 96), dtype=np.float32)
        found, places = model.placed(pixels)
        with torch.inference_mode():
            rows, shared = network(torch.from_numpy(pixels))
        np.testing.assert_allclose(found.rows, rows.numpy(), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.shared, shared.numpy(), rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(found.rows, model.records(pixels).rows)
        assert places.shape == (size, 6, 200, 8)
        np.testing.assert_allclose(places.sum(axis=1), found.rows, rtol=1e-3, atol=1e-4)
    apart = np.concatenate([model.placed(pixels[row : row + 1])[1] for row in range(3)])
    np.testing.assert_allclose(places, apart, rtol=1e-4, atol=1e-4)  # a picture's places are its own
