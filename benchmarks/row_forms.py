"""Losses under which rows of an embedding matrix may become different, beside the product's; `rows.py` measures them.

A form (`rows.py`) names them by these words. P are an image's positives, `m_p` the row that wins for p.

    apart=W     a repulsion on winners: W times the mean over pairs of positives of the expected cosine of their rows,
                a row having the share softmax_m <A_m, w_p>
    assign=U    each positive is served by a row of its own: greedily, the best product first, and a row that serves
                already has its products lowered by U for each positive that it serves
    sinkhorn=T  the positives of the batch are spread over the rows, each row getting the same share, at temperature T
    spread=W    the paper's regulariser on the rows that win for a positive alone (`winning`) or on the others alone
                (`losing`), such as `lam=0.3 spread=losing`
    drop=R      for each image and step a random share R of the rows is left out; use takes all of them
    toward=W    W times the mean squared length of what the head adds to the prior, in place of rows like one another
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagprism.training.diversity_loss import SemanticDiversityLoss, _across_images, _diversity_weight
from tagprism.training.recipe import LossTable

WORDS = ("apart", "assign", "sinkhorn", "spread", "drop", "toward")
ROUNDS = 5  # of Sinkhorn's normalisation


class FormLoss(nn.Module):
    """The loss of a form: the product's own, where the form has none of the WORDS.

    Args:
        vectors: (S, D) of the seen labels.
        form: its words and values.
        table: `[loss]` of the recipe.
    """

    def __init__(self, vectors: Tensor, form: dict[str, str], table: LossTable) -> None:
        super().__init__()
        self.vectors, self.form, self.across = vectors, form, table.across_images
        self.weighting, self.top = table.diversity_weighting, int(form.get("top", 1))
        self.lam = None if form.get("lam") == "none" else float(form.get("lam", 0.3))
        self.known = set(WORDS) & set(form)
        self.product = SemanticDiversityLoss(
            vectors, self.lam, self.weighting, across_images=self.across, best_rows=self.top
        )

    def forward(self, matrices: Tensor, targets: Tensor, prior: Tensor) -> Tensor:
        """Mean loss of a batch: matrices (B, M, D), targets (B, S) of 1 and 0, prior (B, D)."""
        if "drop" in self.known:
            matrices = some_rows(matrices, float(self.form["drop"]))
        if not self.known - {"drop", "toward"}:
            value = self.product(matrices, targets)
        else:
            value = self.of_products(matrices, targets == 1)
        if "toward" in self.known:
            apart = matrices - prior[:, None]
            value = value + float(self.form["toward"]) * apart.square().sum(2).mean()
        return value

    def of_products(self, matrices: Tensor, positive: Tensor) -> Tensor:
        """The loss with scores of the form."""
        products = matrices @ self.vectors.mT  # (B, M, S)
        scores = products.topk(min(self.top, products.shape[1]), dim=1).values.mean(1) if self.top > 1 else None
        scores = products.amax(1) if scores is None else scores
        if "assign" in self.known:
            row = assigned(products.detach(), positive, float(self.form["assign"]))
            scores = torch.where(positive, products.gather(1, row[:, None])[:, 0], scores)
        if "sinkhorn" in self.known:
            scores = spread_over_rows(products, positive, scores, float(self.form["sinkhorn"]))
        value = ranking(scores, positive, self.vectors, self.across, weighting=self.weighting)
        if self.lam is not None:
            some = torch.ones_like(products[..., 0])
            if "spread" in self.known:
                some = winning(products.detach(), positive).to(products.dtype)
                some = some if self.form["spread"] == "winning" else 1 - some
            variance = (variance_of(matrices, some) * positive.any(1)).mean()
            value = 2 * ((1 - self.lam) * value + self.lam * variance)
        if "apart" in self.known:
            value = value + float(self.form["apart"]) * alike(matrices, products, positive)
        return value


def ranking(scores: Tensor, positive: Tensor, vectors: Tensor, across: float, *, weighting: bool) -> Tensor:
    """The product's ranking of labels and of images, for scores (B, S) made in any way."""
    image, label = positive.nonzero(as_tuple=True)
    positives = positive.sum(1)
    share = 1 / positives.clamp_min(1)
    if weighting:
        share = share * _diversity_weight(vectors[label], image, positives)
    margins = (scores[image] - scores[image, label][:, None]).masked_fill(positive[image], -torch.inf)
    value = (functional.softplus(margins).sum(1) * share[image]).sum() / len(scores)
    return (1 - across) * value + across * _across_images(scores, positive, ~positive, together=False)


def some_rows(matrices: Tensor, share: float) -> Tensor:
    """Rows (B, M', D) without a random share of each image's, drawn anew at every step."""
    rows = matrices.shape[1]
    kept = torch.rand(matrices.shape[:2]).argsort(1)[:, : max(rows - round(share * rows), 1)]
    return matrices.gather(1, kept[..., None].expand(-1, -1, matrices.shape[2]))


def assigned(products: Tensor, positive: Tensor, bonus: float) -> Tensor:
    """The row (B, S) that serves each positive; 0 for other labels."""
    images, rows, labels = products.shape
    open_ = products.masked_fill(~positive[:, None], -torch.inf)
    serves, row = products.new_zeros(images, rows, 1), products.new_zeros(images, labels, dtype=torch.long)
    image = torch.arange(images)
    for _ in range(int(positive.sum(1).max())):
        best, at = (open_ - bonus * serves).flatten(1).max(1)
        one, its, label = image[best.isfinite()], *(part[best.isfinite()] for part in (at // labels, at % labels))
        row[one, label] = its
        serves[one, its] += 1
        open_[one, :, label] = -torch.inf
    return row


def spread_over_rows(products: Tensor, positive: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Scores (B, S) in which a positive has the mean of its products by Sinkhorn's plan over the batch."""
    image, label = positive.nonzero(as_tuple=True)
    own = products[image, :, label]  # (T, M)
    plan = (own.detach() / temperature).softmax(1)
    for _ in range(ROUNDS):
        plan = plan / plan.sum(0, keepdim=True).clamp_min(1e-12)
        plan = plan / plan.sum(1, keepdim=True).clamp_min(1e-12)
    return scores.index_put((image, label), (plan * own).sum(1))


def winning(products: Tensor, positive: Tensor) -> Tensor:
    """Which rows (B, M) win for a positive."""
    found = torch.zeros(products.shape[:2])
    return found.scatter_add_(1, products.argmax(1), positive.to(found.dtype)) > 0


def variance_of(matrices: Tensor, some: Tensor) -> Tensor:
    """Summed unbiased variance (B,) of the rows marked in (B, M)."""
    count = some.sum(1)
    mean = (matrices * some[..., None]).sum(1) / count.clamp_min(1)[:, None]
    squares = (matrices - mean[:, None]).square().sum(2)
    return (squares * some).sum(1) / (count - 1).clamp_min(1)


def alike(matrices: Tensor, products: Tensor, positive: Tensor) -> Tensor:
    """Expected cosine of the rows that win for two positives of an image, mean over the images with several."""
    units = functional.normalize(matrices, dim=-1)
    cosines = units @ units.mT  # (B, M, M)
    shares = products.softmax(1) * positive[:, None]  # (B, M, S)
    both = shares.sum(2)
    pairs = torch.einsum("bm,bmk,bk->b", both, cosines, both) - ((cosines @ shares) * shares).sum((1, 2))
    count = positive.sum(1)
    return (pairs / (count * (count - 1)).clamp_min(1)).sum() / (count > 1).sum().clamp_min(1)
