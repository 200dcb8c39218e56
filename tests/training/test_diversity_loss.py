"""The loss against the authors' numbers, a slow obvious version, and its edges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tagprism.errors import InputError
from tagprism.training.diversity_loss import SemanticDiversityLoss

CASES = ["coco48_m2", "nus925_m7", "nus925_m7_large", "nus100_m3_noreg", "one_positive_each"]


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_authors(shared: Path, name: str) -> None:
    case = next(c for c in json.loads((shared / "golden/official_loss.json").read_text()) if c["name"] == name)
    with np.load(shared / "golden/official_loss.npz", allow_pickle=False) as stored:
        part = {key.split("/")[1]: stored[key] for key in stored.files if key.split("/")[0] == name}
    flat = torch.tensor(part["flat_output"], dtype=torch.float64, requires_grad=True)
    matrices = flat.view(len(flat), 300, case["M"]).mT  # the authors' order is D-major
    loss = SemanticDiversityLoss(torch.tensor(part["label_vectors"], dtype=torch.float64), case["lam"])
    value = loss(matrices, torch.tensor(part["targets"]))
    value.backward()
    assert value.item() == pytest.approx(float(part["loss"]), rel=1e-6)
    np.testing.assert_allclose(flat.grad.numpy(), part["grad"], rtol=1e-6, atol=1e-6 * np.abs(part["grad"]).max())


def slow(
    matrices: Tensor, targets: Tensor, vectors: Tensor, loss: SemanticDiversityLoss, threshold: float | None = None
) -> Tensor:
    """The equations, one image and one pair at a time."""
    total = matrices.new_zeros(())
    for matrix, target in zip(matrices, targets, strict=True):
        scores = torch.stack([torch.stack([row @ w for row in matrix]).max() for w in vectors])
        positive = (target == 1).nonzero().flatten()
        negative = (target == 0 if loss.unlabelled == "ignore" else target != 1).nonzero().flatten()
        if not len(positive):
            continue
        if threshold is not None:
            alike = [max(float(functional.cosine_similarity(w, vectors[p], dim=0)) for p in positive) for w in vectors]
            negative = torch.tensor([n for n in negative if target[n] == 0 or alike[n] <= threshold], dtype=torch.long)
        if loss.unlabelled == "ignore" and not len(negative) and (target == -1).any():
            continue
        rank = matrices.new_zeros(())
        for p in positive:
            if not len(negative):
                rank = rank + functional.softplus(-scores[p])
            for n in negative:
                rank = rank + functional.softplus(scores[n] - scores[p])
        rank = rank / len(positive)
        if loss.normaliser == "pairs":
            rank = rank / max(len(negative), 1)
        if loss.diversity_weighting and len(positive) > 1:
            rank = rank * (1 + vectors[positive].var(dim=0).sum())
        spread = matrix.var(dim=0).sum() if len(matrix) > 1 else matrices.new_zeros(())
        lam = loss.regulariser_weight
        total = total + (rank if lam is None else 2 * ((1 - lam) * rank + lam * spread))
    return total / len(matrices)


@settings(max_examples=120, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 7)),
    lam=st.sampled_from([None, 0.0, 0.3, 1.0]),
    diversity=st.booleans(),
    normaliser=st.sampled_from(["positives", "pairs"]),
    unlabelled=st.sampled_from(["negative", "ignore"]),
    threshold=st.sampled_from([None, -1.0, 0.0, 0.5]),
    seed=st.integers(0, 2**31),
)
def test_equals_the_slow_version(
    sizes: tuple[int, int, int, int],
    lam: float | None,
    diversity: bool,
    normaliser: str,
    unlabelled: str,
    threshold: float | None,
    seed: int,
) -> None:
    B, M, D, L = sizes
    draw = torch.Generator().manual_seed(seed)
    vectors = torch.randn(L, D, generator=draw, dtype=torch.float64)
    matrices = torch.randn(B, M, D, generator=draw, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(-1, 2, (B, L), generator=draw)
    loss = SemanticDiversityLoss(vectors, lam, diversity, normaliser, unlabelled, near_threshold=threshold)  # type: ignore[arg-type]
    value = loss(matrices, targets)
    (gradient,) = torch.autograd.grad(value, matrices)
    expected = slow(matrices, targets, vectors, loss, threshold)
    wanted = torch.autograd.grad(expected, matrices)[0] if expected.requires_grad else torch.zeros_like(matrices)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-12, check_dtype=False)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-10)
    assert value.item() >= 0


def slow_across(matrices: Tensor, targets: Tensor, vectors: Tensor, unlabelled: str) -> Tensor:
    """Ranking images within each label, one label and one pair at a time."""
    scores = (matrices @ vectors.T).max(dim=1).values
    scores = (scores - scores.mean(dim=1, keepdim=True)) / scores.std(dim=1, correction=0, keepdim=True)
    labels = []
    for column, marks in zip(scores.T, targets.T, strict=True):
        negative = column[marks == 0] if unlabelled == "ignore" else column[marks != 1]
        pairs = [functional.softplus(n - p) for p in column[marks == 1] for n in negative]
        if pairs:
            labels.append(torch.stack(pairs).mean())
    return len(vectors) * torch.stack(labels).mean() if labels else matrices.new_zeros(())


@settings(max_examples=60, deadline=None)
@given(
    share=st.sampled_from([0.1, 0.5]),
    unlabelled=st.sampled_from(["negative", "ignore"]),
    sizes=st.tuples(st.integers(1, 6), st.integers(2, 6)),
    seed=st.integers(0, 2**31),
)
def test_across_images_equals_the_slow_version(
    share: float, unlabelled: str, sizes: tuple[int, int], seed: int
) -> None:
    (B, L), draw = sizes, torch.Generator().manual_seed(seed)
    vectors = torch.randn(L, 3, generator=draw, dtype=torch.float64)
    matrices = torch.randn(B, 2, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(-1, 2, (B, L), generator=draw)
    plain = SemanticDiversityLoss(vectors, None, unlabelled=unlabelled)  # type: ignore[arg-type]
    mixed = SemanticDiversityLoss(vectors, None, unlabelled=unlabelled, across_images=share)  # type: ignore[arg-type]
    value = mixed(matrices, targets)
    expected = (1 - share) * plain(matrices, targets) + share * slow_across(matrices, targets, vectors, unlabelled)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)
    gradients = [torch.autograd.grad(one, matrices)[0] for one in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-9)


def test_across_images_of_equal_scores_has_a_gradient() -> None:
    matrices = torch.zeros(2, 3, 4, requires_grad=True)
    SemanticDiversityLoss(torch.randn(5, 4), across_images=0.5)(matrices, torch.eye(5)[:2].long()).backward()
    assert matrices.grad is not None and torch.isfinite(matrices.grad).all()


def test_gradient_by_finite_differences() -> None:
    torch.manual_seed(0)
    loss = SemanticDiversityLoss(torch.randn(6, 4, dtype=torch.float64))
    targets = torch.tensor([[1, 0, 0, 1, -1, 0], [0, 0, 1, 0, 0, 0]])
    matrices = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: loss(a, targets), matrices)


def test_batch_without_positives_is_zero_with_a_gradient() -> None:
    matrices = torch.randn(3, 2, 4, requires_grad=True)
    value = SemanticDiversityLoss(torch.randn(5, 4))(matrices, torch.zeros(3, 5, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    assert matrices.grad is not None and not matrices.grad.any()


def test_mean_of_equal_shards_is_the_whole() -> None:
    torch.manual_seed(1)
    loss = SemanticDiversityLoss(torch.randn(5, 4))
    matrices, targets = torch.randn(6, 2, 4), torch.randint(0, 2, (6, 5))
    targets[0] = 0
    whole, halves = loss(matrices, targets), [loss(matrices[i : i + 3], targets[i : i + 3]) for i in (0, 3)]
    torch.testing.assert_close(whole, torch.stack(halves).mean())


def test_ignored_images_are_counted() -> None:
    loss = SemanticDiversityLoss(torch.randn(3, 4), unlabelled="ignore")
    value = loss(torch.randn(2, 2, 4), torch.tensor([[1, -1, -1], [-1, -1, -1]]))
    assert value.item() == 0
    assert loss.skipped_images == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_large_margins_stay_finite(dtype: torch.dtype) -> None:
    matrices = (torch.randn(4, 3, 8) * 100).to(dtype).requires_grad_()
    targets = torch.randint(0, 2, (4, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = SemanticDiversityLoss(torch.randn(6, 8))(matrices, targets)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value) and torch.isfinite(matrices.grad).all()


def test_ties_go_to_the_lowest_row() -> None:
    matrices = torch.ones(1, 3, 2, requires_grad=True)
    SemanticDiversityLoss(torch.eye(2), None)(matrices, torch.tensor([[1, 0]])).backward()
    assert matrices.grad is not None
    assert matrices.grad[0, 0].abs().sum() > 0
    assert not matrices.grad[0, 1:].any()


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"regulariser_weight": 1.5}, "regulariser_weight"),
        ({"normaliser": "images"}, "normaliser"),
        ({"unlabelled": "unknown"}, "unlabelled"),
        ({"near_threshold": 1.5}, "near_threshold"),
        ({"across_images": 1.0}, "across_images"),
    ],
)
def test_bad_options(options: dict[str, object], names: str) -> None:
    with pytest.raises(InputError, match=names):
        SemanticDiversityLoss(torch.randn(3, 2), **options)  # type: ignore[arg-type]


def test_targets_of_another_size() -> None:
    with pytest.raises(InputError, match="targets"):
        SemanticDiversityLoss(torch.randn(3, 2))(torch.randn(2, 1, 2), torch.zeros(2, 4, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32, torch.bool])
def test_targets_of_any_type_that_holds_them(dtype: torch.dtype) -> None:
    loss, matrices = SemanticDiversityLoss(torch.eye(3)), torch.randn(2, 2, 3)
    targets = torch.tensor([[1, 0, 1], [0, 1, 0]])
    assert loss(matrices, targets.to(dtype)) == loss(matrices, targets)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(0.7, torch.float32), (-0.5, torch.float64), (2, torch.int64), (-2, torch.int8), (float("nan"), torch.float32)],
)
def test_targets_other_than_1_0_and_unknown_are_refused(value: float, dtype: torch.dtype) -> None:
    targets = torch.zeros(2, 3).to(dtype)
    targets[1, 2] = value
    with pytest.raises(InputError, match=rf"hold {value:g}; a target is 1 .*Soft targets"):
        SemanticDiversityLoss(torch.eye(3))(torch.randn(2, 2, 3), targets)


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 6), r"\(2, 6\), not \(images, M, 3\).*D-major.*flat\.view\(len\(flat\), 3, 2\)\.mT"),
        ((2, 3, 2), r"changed places.*matrices\.mT"),
        ((2, 7), r"not \(images, M, 3\)"),
        ((2, 2, 4), r"not \(images, M, 3\)"),
    ],
)
def test_matrices_of_another_shape_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SemanticDiversityLoss(torch.eye(3))(torch.randn(*shape), torch.zeros(2, 3))


@pytest.mark.usefixtures("no_type_checks")
def test_label_vectors_that_are_none_are_refused() -> None:
    vectors = torch.eye(3)
    vectors[1, 0] = torch.nan
    with pytest.raises(InputError, match=r"1 of them hold NaN or infinity, the first is number 1"):
        SemanticDiversityLoss(vectors)
    with pytest.raises(InputError, match=r"\(3,\), not \(labels, D\)"):
        SemanticDiversityLoss(torch.ones(3))


def test_the_authors_flat_output_reshaped_as_the_message_says() -> None:
    flat = torch.arange(12.0).view(2, 6)  # element d*M + m, with D = 3 and M = 2
    matrices = flat.view(len(flat), 3, 2).mT
    assert matrices[0].tolist() == [[0, 2, 4], [1, 3, 5]]


SIZES = ((4, 3), (7, 0), (0, 7))  # images of the two processes


def _one_of_two(rank: int, folder: str) -> None:
    """Each part's loss, weighted as the trainer does it, and its gradient."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    vectors, matrices, targets = torch.load(f"{folder}/whole", weights_only=True)
    loss = SemanticDiversityLoss(vectors, across_images=0.4)
    found = []
    for sizes in SIZES:
        rows = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        part = matrices[rows].clone().requires_grad_()
        value = loss(part, targets[rows]) * (len(part) / len(matrices))
        value.backward()
        found.append((value.detach(), part.grad))
    torch.save(found, f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_across_images_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    torch.manual_seed(2)
    vectors, matrices = torch.randn(5, 3, dtype=torch.float64), torch.randn(7, 2, 3, dtype=torch.float64)
    targets = torch.randint(-1, 2, (7, 5))
    torch.save((vectors, matrices, targets), tmp_path / "whole")
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    matrices.requires_grad_()
    whole = SemanticDiversityLoss(vectors, across_images=0.4)(matrices, targets)
    whole.backward()
    parts = [torch.load(tmp_path / str(rank), weights_only=True) for rank in (0, 1)]
    for (one, gradient), (other, its) in zip(*parts, strict=True):
        torch.testing.assert_close(one + other, whole.detach())
        torch.testing.assert_close(torch.cat([gradient, its]), matrices.grad)


def test_a_label_of_several_vectors_is_ranked_by_the_best_of_them() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(6, 5, dtype=torch.float64)
    groups, means = torch.tensor([[0, 0, 0], [1, 2, 3], [4, 5, 4]]), torch.randn(3, 5, dtype=torch.float64)
    targets = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1]])
    loss = SemanticDiversityLoss(means, None, diversity_weighting=False, sentences=(vectors, groups))
    scores = torch.stack([(matrices @ vectors[own].mT).amax(dim=(1, 2)) for own in groups], dim=1)
    wanted = matrices.new_zeros(())
    for own, target in zip(scores, targets, strict=True):
        margins = own[target == 0][None] - own[target == 1][:, None]
        wanted = wanted + functional.softplus(margins).sum() / (target == 1).sum()
    torch.testing.assert_close(loss(matrices, targets), wanted / 4)
    (gradient,) = torch.autograd.grad(loss(matrices, targets), matrices)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted / 4, matrices)[0])


def test_a_soft_maximum_has_the_gradient_of_all_its_rows() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    vectors, targets = torch.randn(3, 5, dtype=torch.float64), torch.tensor([[1, 0, 0], [0, 1, 0]])
    loss = SemanticDiversityLoss(vectors, None, diversity_weighting=False, best_rows=2)
    scores = (matrices @ vectors.mT).sort(dim=1, descending=True).values[:, :2].mean(dim=1)
    margins = [own[target == 0] - own[target == 1] for own, target in zip(scores, targets, strict=True)]
    wanted = functional.softplus(torch.cat(margins)).sum() / 2
    torch.testing.assert_close(loss(matrices, targets), wanted)
    (gradient,) = torch.autograd.grad(loss(matrices, targets), matrices)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, matrices)[0])
