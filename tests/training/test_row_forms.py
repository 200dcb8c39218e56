"""The losses of `benchmarks/row_forms.py`: the product's where they say so, and by hand where they add something."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.row_forms import FormLoss, alike, assigned, spread_over_rows, variance_of, winning
from tagprism.training.recipe import LossTable

torch.manual_seed(0)
VECTORS = functional.normalize(torch.randn(30, 16), dim=1)
MATRICES = torch.randn(8, 4, 16)
POSITIVE = torch.rand(8, 30) < 0.1
POSITIVE[0], POSITIVE[0, :6] = False, True  # more positives than rows
POSITIVE[3] = False
PRODUCTS = MATRICES @ VECTORS.mT
SEVERAL = [image for image in range(8) if POSITIVE[image].sum() > 1]


def form_loss(**words: str) -> FormLoss:
    return FormLoss(VECTORS, {"M": "4", **words}, LossTable(across_images=0.3))


def test_without_words_of_its_own_the_loss_is_the_products() -> None:
    for words in ({"lam": "0.3"}, {"lam": "none", "top": "2"}):
        loss, matrices = form_loss(**words), MATRICES.clone().requires_grad_()
        product, own = loss.product(matrices, POSITIVE.to(torch.int8)), loss.of_products(matrices, POSITIVE)
        torch.testing.assert_close(own, product)
        torch.testing.assert_close(torch.autograd.grad(own, matrices), torch.autograd.grad(product, matrices))


def test_positives_get_rows_of_their_own_as_long_as_there_are_rows() -> None:
    rows = assigned(PRODUCTS, POSITIVE, bonus=1e9)
    for image in SEVERAL:
        served = rows[image][POSITIVE[image]].bincount(minlength=4)
        assert served.max() - served.min() <= 1
    best = assigned(PRODUCTS, POSITIVE, bonus=0)
    assert torch.equal(best[POSITIVE], PRODUCTS.argmax(1)[POSITIVE])


def test_sinkhorn_gives_every_row_its_share_and_leaves_negatives_alone() -> None:
    scores = spread_over_rows(PRODUCTS, POSITIVE, PRODUCTS.amax(1), temperature=1)
    assert torch.equal(scores[~POSITIVE], PRODUCTS.amax(1)[~POSITIVE])
    assert (scores[POSITIVE] <= PRODUCTS.amax(1)[POSITIVE] + 1e-6).all()
    one_row = torch.zeros(4, 5, 3)
    one_row[:, 2] = 1  # the third row is the best for every label; the plan cannot give it to all
    spread = spread_over_rows(one_row, torch.ones(4, 3, dtype=torch.bool), one_row.amax(1), temperature=0.1)
    torch.testing.assert_close(spread, torch.full((4, 3), 0.2))


def test_the_repulsion_is_the_expected_cosine_of_the_winners_of_two_positives() -> None:
    by_hand = []
    for image in SEVERAL:
        units, shares = functional.normalize(MATRICES[image], dim=1), PRODUCTS[image].softmax(0)
        labels = POSITIVE[image].nonzero()[:, 0].tolist()
        pairs = [shares[:, p] @ units @ units.T @ shares[:, q] for p in labels for q in labels if p != q]
        by_hand.append(torch.stack(pairs).mean())
    torch.testing.assert_close(alike(MATRICES, PRODUCTS, POSITIVE), torch.stack(by_hand).mean())


def test_the_variance_of_some_rows_is_theirs_alone() -> None:
    some = winning(PRODUCTS, POSITIVE).float()
    for image in range(8):
        won = set(PRODUCTS[image].argmax(0)[POSITIVE[image]].tolist())
        assert set(some[image].nonzero()[:, 0].tolist()) == won
        expected = MATRICES[image][sorted(won)].var(0).sum() if len(won) > 1 else torch.tensor(0.0)
        torch.testing.assert_close(variance_of(MATRICES, some)[image], expected)


def test_what_is_added_to_the_prior_is_kept_small_and_rows_are_dropped() -> None:
    targets, prior = POSITIVE.to(torch.int8), torch.randn(8, 16)
    plain = form_loss(lam="none")(MATRICES, targets, prior)
    apart = (MATRICES - prior[:, None]).square().sum(2).mean()
    torch.testing.assert_close(form_loss(lam="none", toward="0.1")(MATRICES, targets, prior), plain + 0.1 * apart)
    alone = form_loss(lam="none", drop="0.75")
    same = MATRICES[:, :1].expand(-1, 4, -1)
    torch.testing.assert_close(alone(same, targets, prior), form_loss(lam="none")(same, targets, prior))
