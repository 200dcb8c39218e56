"""The head, the standardised rows and their ONNX file; and that shapes are checked at all."""

from __future__ import annotations

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tagprism.bundle.onnx_model import OnnxNetwork, RecordNetwork
from tagprism.bundle.record import max_similarity_numpy
from tagprism.errors import InputError
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix, Network, Standardiser, max_similarity
from tagprism.network.export import export_onnx
from tests.command_line import python


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_head_is_a_linear_map_with_rows_one_after_the_other() -> None:
    head = EmbeddingMatrix(features=5, vectors=3, dimension=4)
    features = torch.randn(2, 5)
    assert torch.allclose(head(features).reshape(2, 12), features @ head.linear.weight.T)
    assert head.linear.bias is None


def test_rows_and_shared_number_give_the_standardised_score() -> None:
    seen, unseen = torch.randn(6, 4), torch.randn(3, 4)
    matrices = torch.randn(5, 3, 4) * torch.logspace(-2, 2, 5)[:, None, None]
    rows, shared = Standardiser(seen)(matrices)
    for image in range(5):
        raw = (matrices[image] @ seen.T).amax(0)
        wanted = ((matrices[image] @ torch.cat([seen, unseen]).T).amax(0) - raw.mean()) / raw.std(correction=0)
        scores, _ = max_similarity(rows[image : image + 1], torch.cat([seen, unseen]))
        assert torch.allclose(scores[0] + shared[image], wanted, atol=1e-4)
    assert rows.shape == (5, 3, 4) and shared.shape == (5, 1)


def test_without_standardising_scores_are_raw() -> None:
    seen, matrices = torch.randn(6, 4), torch.randn(5, 3, 4)
    rows, shared = Standardiser(seen, standardise=False)(matrices)
    assert torch.equal(rows, matrices) and torch.equal(shared, torch.zeros(5, 1))


def test_an_image_whose_scores_are_all_equal_stays_finite() -> None:
    assert all(part.isfinite().all() for part in Standardiser(torch.randn(4, 3))(torch.zeros(1, 2, 3)))


@pytest.mark.slow
def test_onnx_agrees_with_torch_in_every_batch_size(tmp_path: Path) -> None:
    backbone = Backbone("test_efficientnet.r160_in1k", "random")
    network = Network(backbone, EmbeddingMatrix(backbone.features, 3, 8), Standardiser(torch.randn(6, 8)))
    difference = export_onnx(network, (32, 48), tmp_path / "model.onnx")
    assert difference < 1e-2
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]  # the weights are inside
    model = RecordNetwork(tmp_path / "model.onnx", 8, threads=1)
    for size in (1, 3):
        pixels = np.random.default_rng(size).standard_normal((size, 3, 32, 48), dtype=np.float32)
        with torch.inference_mode():
            rows, shared = network(torch.from_numpy(pixels))
        found = model.records(pixels)
        np.testing.assert_allclose(found.rows, rows.numpy(), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.shared, shared.numpy(), rtol=1e-3, atol=1e-3)


class _Dice(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(2, 3)) + torch.rand_like(pixels[:, :, 0, 0])


@pytest.mark.slow
def test_an_onnx_file_that_gives_other_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differs from the torch model"):
        export_onnx(_Dice(), (8, 8), tmp_path / "dice.onnx")


def test_a_file_that_is_no_onnx_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    for name in ("x.onnx", "absent.onnx"):
        with pytest.raises(InputError, match=name):
            OnnxNetwork(tmp_path / name)


def test_wrong_shapes_are_noticed_while_the_tests_run() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        max_similarity(torch.zeros(1, 2, 3), torch.zeros(4, 5))
    with pytest.raises(jaxtyping.TypeCheckError):
        max_similarity_numpy(np.zeros((1, 2, 3), np.float32), np.zeros((4, 5), np.float32))
    with pytest.raises(jaxtyping.TypeCheckError):
        Standardiser(torch.zeros(4, 5))(torch.zeros(2, 5))


def test_shapes_are_checked_without_torch_too() -> None:
    code = """
import sys
sys.modules["torch"] = None
import jaxtyping, numpy as np
jaxtyping.install_import_hook("tagprism.bundle", "beartype.beartype")
from tagprism.bundle.record import max_similarity_numpy
print(max_similarity_numpy(np.ones((1, 2, 3), np.float32), np.ones((4, 3), np.float32))[0].tolist())
try:
    max_similarity_numpy(np.ones((1, 2, 3), np.float32), np.ones((4, 5), np.float32))
except jaxtyping.TypeCheckError:
    print("noticed")
"""
    done = python(code)
    assert done.stdout.split(b"\n")[:2] == [b"[[3.0, 3.0, 3.0, 3.0]]", b"noticed"], done.stderr


@pytest.mark.usefixtures("no_type_checks")
def test_features_and_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="all must be 1 or more"):
        EmbeddingMatrix(4, 0, 3)
    head = EmbeddingMatrix(4, 2, 3)
    for shape in ((2, 3), (4,), (2, 4, 1, 1)):
        with pytest.raises(InputError, match=r"features: have shape .*, not \(images, 4\)"):
            head(torch.ones(shape))
    assert head(torch.ones(2, 6)).shape == (2, 2, 3)  # class evidence may stand behind the features
