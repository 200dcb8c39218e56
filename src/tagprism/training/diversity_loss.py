"""The semantic diversity loss: rank positives above negatives within each image. Knows only tensors."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor, distributed, nn
from torch.nn import functional

from tagprism.errors import InputError
from tagprism.network.embedding_matrix import check_label_vectors, check_matrices, max_similarity


class SemanticDiversityLoss(nn.Module):
    """Pairwise ranking loss over the best row per label, weighted by label diversity, with a variance regulariser.

    Per image with positives P and negatives N::

        L_rank = 1/|P| * sum_{p in P} sum_{n in N} softplus(s_n - s_p)        (softplus(-s_p) where N is empty)
        weight = 1 + sum_d var_{p in P}(w_p[d])                               (1 where |P| = 1)
        L_reg  = sum_d var_m(A[m, d])                                         (0 where M = 1)
        loss   = 2 * ((1 - lam) * weight * L_rank + lam * L_reg)              (weight * L_rank where lam is None)

    and the mean over all B images. An image without positives adds 0 and stays in the denominator, so that the mean of
    equal shards is the mean of the whole batch.

    With `across_images` g, `(1 - g) * weight * L_rank + g * L_across` takes the place of `weight * L_rank`. It ranks
    the images of the batch within each label, as mAP and search do, by scores z that are standardised per image. C are
    the labels with positive images I and negative images J in the batch::

        L_across = L/|C| * sum_{c in C} 1/(|I||J|) * sum_{i in I, j in J} softplus(z_jc - z_ic)     (0 where C is empty)

    Args:
        label_vectors: (L, D) vectors of the labels trained on; constants of the loss.
        regulariser_weight: lam in [0, 1], or None for the ranking part alone.
        diversity_weighting: whether to weight images by the diversity of their labels.
        normaliser: `positives` divides by |P| (authors' code), `pairs` by |P| * max(|N|, 1).
        unlabelled: what target -1 means: `negative` (authors' code), or `ignore`, which leaves it out; an image whose
            targets are only positive and unknown is then skipped like one without positives, and counted.
        near_threshold: where -1 counts as negative, leave it out for labels whose vector has a greater cosine than this
            with one of the image's positives (`boats` beside `harbor`): those may well be there. None leaves none out.
        across_images: g in [0, 1). Where several processes of `torch.distributed` compute parts of one batch, its pairs
            are those of the whole batch, so all of them must call the loss, also one without an image.
        sentences: vectors (V, D) and groups (L, K) as `max_similarity` takes them, where labels have several vectors;
            a label's score is then the best of theirs, and `label_vectors` still weigh how diverse labels are.
        best_rows: k: a score is the mean of the k largest products, and its gradient flows through all of these rows.

    Attributes:
        skipped_images: images skipped so far for want of explicit negatives.
        gathers: whether `across_images` looks at the processes of `torch.distributed`, where there are several.

    Raises:
        InputError: an argument out of range; when it is called, shapes that do not fit, or targets other than 1, 0, -1.

    Source: arXiv 2105.05926, equations 2 to 6; constants as in the authors' released code.

    Example:
        >>> import torch
        >>> from tagprism import SemanticDiversityLoss
        >>> loss = SemanticDiversityLoss(torch.eye(3), regulariser_weight=0.3)
        >>> matrices = torch.zeros(2, 7, 3, requires_grad=True)  # two images, M = 7
        >>> loss(matrices, torch.tensor([[1, 0, 0], [0, 1, -1]])).backward()
        >>> matrices.grad.shape
        torch.Size([2, 7, 3])
    """

    label_vectors: Tensor
    near: Tensor | None
    sentence_vectors: Tensor | None
    groups: Tensor | None

    def __init__(
        self,
        label_vectors: Float[Tensor, "L D"],
        regulariser_weight: float | None = 0.3,
        diversity_weighting: bool = True,
        normaliser: Literal["positives", "pairs"] = "positives",
        unlabelled: Literal["negative", "ignore"] = "negative",
        near_threshold: float | None = None,
        across_images: float = 0.0,
        sentences: tuple[Float[Tensor, "V D"], Integer[Tensor, "L K"]] | None = None,
        best_rows: int = 1,
    ) -> None:
        super().__init__()
        if regulariser_weight is not None and not 0 <= regulariser_weight <= 1:
            raise InputError(f"is {regulariser_weight}, not between 0 and 1.", where="regulariser_weight")
        if not 0 <= across_images < 1:
            raise InputError(f"is {across_images}, not between 0 and 1.", where="across_images")
        if normaliser not in ("positives", "pairs"):
            raise InputError(f"is `{normaliser}`, not `positives` or `pairs`.", where="normaliser")
        if unlabelled not in ("negative", "ignore"):
            raise InputError(f"is `{unlabelled}`, not `negative` or `ignore`.", where="unlabelled")
        if near_threshold is not None and not -1 <= near_threshold <= 1:
            raise InputError(f"is {near_threshold}, not a cosine between -1 and 1.", where="near_threshold")
        check_label_vectors(label_vectors)
        self.register_buffer("label_vectors", label_vectors, persistent=False)
        units = functional.normalize(label_vectors, dim=1)
        near = None if near_threshold is None else (units @ units.T > near_threshold).to(label_vectors.dtype)
        self.register_buffer("near", near, persistent=False)
        for name, its in zip(("sentence_vectors", "groups"), sentences or (None, None), strict=True):
            self.register_buffer(name, its, persistent=False)
        self.regulariser_weight = regulariser_weight
        self.diversity_weighting = diversity_weighting
        self.normaliser = normaliser
        self.unlabelled: Literal["negative", "ignore"] = unlabelled
        self.across_images = across_images
        self.best_rows = best_rows
        self.skipped_images = 0
        self.gathers = True

    def forward(self, matrices: Float[Tensor, "B M D"], targets: Shaped[Tensor, "B L"]) -> Float[Tensor, ""]:
        """Mean loss of a batch.

        Args:
            matrices: (B, M, D) embedding matrices; half precision is computed in float32.
            targets: (B, L) 1 positive, 0 negative, -1 unknown.

        Returns:
            A scalar of at least 0, in float32 (float64 for float64 matrices), with a gradient path to `matrices`.
        """
        check_matrices(matrices, self.label_vectors.shape[1])
        check_targets(targets, len(matrices), len(self.label_vectors))
        with torch.autocast(matrices.device.type, enabled=False):
            matrices = matrices.to(torch.promote_types(matrices.dtype, torch.float32))
            return self._loss(matrices, targets)

    def _loss(self, matrices: Tensor, targets: Tensor) -> Tensor:
        vectors = self.label_vectors.to(matrices.dtype)
        positive = targets == 1  # (B, L)
        negative = targets == 0 if self.unlabelled == "ignore" else ~positive
        if self.near is not None:  # (L, L)
            negative &= (targets == 0) | (positive.to(self.near.dtype) @ self.near == 0)
        positives, negatives = positive.sum(1), negative.sum(1)  # (B,)
        counted = positives > 0
        if self.unlabelled == "ignore":
            without = counted & (negatives == 0) & (positives < targets.shape[1])
            self.skipped_images += int(without.sum())
            counted = counted & ~without
        image, label = (positive & counted[:, None]).nonzero(as_tuple=True)  # T positive pairs of the batch
        share = counted / positives.clamp_min(1).to(matrices.dtype)
        if self.normaliser == "pairs":
            share = share / negatives.clamp_min(1)
        if self.diversity_weighting:
            share = share * _diversity_weight(vectors[label], image, positives)

        scores: Tensor
        if self.sentence_vectors is None and self.best_rows == 1:
            scores = _WinnerScores.apply(matrices, vectors)  # (B, L)
        else:
            scored = vectors if self.sentence_vectors is None else self.sentence_vectors.to(matrices.dtype)
            scores, _ = max_similarity(matrices, scored, self.groups, best_rows=self.best_rows)
        own = scores[image, label]  # (T,)
        margins = (scores[image] - own[:, None]).masked_fill(~negative[image], -torch.inf)  # (T, L)
        terms = functional.softplus(margins).sum(1) + functional.softplus(-own) * (negatives[image] == 0)
        ranking = (terms * share[image]).sum() / max(len(matrices), 1)  # none, where all pictures were damaged
        if self.across_images:
            together = self.gathers and distributed.is_available() and distributed.is_initialized()
            across = _across_images(scores, positive, negative, together=together and distributed.get_world_size() > 1)
            ranking = (1 - self.across_images) * ranking + self.across_images * across
        if self.regulariser_weight is None:
            return ranking
        lam = self.regulariser_weight
        return 2 * ((1 - lam) * ranking + lam * _row_variance(matrices, counted))


def check_targets(targets: Tensor, images: int, labels: int) -> None:
    """Refuse what are no targets; one pass over them, which costs little beside a loss.

    Raises:
        InputError: not of the shape (images, labels), or other values than 1, 0 and -1, such as soft targets.
    """
    if targets.shape != (images, labels):
        raise InputError(f"have shape {tuple(targets.shape)}, not ({images} images, {labels} labels).", where="targets")
    if not targets.numel() or targets.dtype == torch.bool:
        return
    least, most = targets.aminmax()
    fits = bool((least >= -1) & (most <= 1))
    if not fits or (targets.is_floating_point() and not bool((targets == targets.round()).all())):
        odd = targets[(targets != 1) & (targets != 0) & (targets != -1)][0].item()
        raise InputError(
            f"hold {odd:g}; a target is 1 (positive), 0 (negative) or -1 (unknown).",
            where="targets",
            remedy="Soft targets have no meaning for a ranking loss: choose a threshold.",
        )


def _diversity_weight(vectors: Tensor, image: Tensor, positives: Tensor) -> Tensor:
    """1 + summed unbiased variance of each image's positive label vectors (T, D), for B images -> (B,)."""
    count = positives.to(vectors.dtype)
    mean = vectors.new_zeros(len(positives), vectors.shape[1]).index_add_(0, image, vectors)
    mean /= count.clamp_min(1)[:, None]
    squares = (vectors - mean[image]).square().sum(1)  # two passes: no cancellation
    total = torch.zeros_like(count).index_add_(0, image, squares)
    return 1 + total / (count - 1).clamp_min(1)


def _across_images(scores: Tensor, positive: Tensor, negative: Tensor, *, together: bool) -> Tensor:
    """L_across of scores (B, L), and (together) of those that other processes have of the same batch.

    Its value is that of the whole batch in every process. The mean over the parts of a batch counts a part of n of N
    images n/N times; so its gradient, which flows through its own n rows, is N/n times its share of the whole one.
    """
    standard = scores
    if len(scores):
        variance, mean = torch.var_mean(scores, dim=1, correction=0, keepdim=True)
        standard = (scores - mean) / variance.clamp_min(1e-12).sqrt()  # a root of 0 has no gradient
    if not together:
        return _ranking_of_images(standard, positive, negative)
    marks = positive.to(standard.dtype), negative.to(standard.dtype)
    parts = _of_all_processes(torch.stack([standard.detach(), *marks], dim=1))  # each (n, 3, L)
    before = sum(map(len, parts[: distributed.get_rank()]))
    whole, positives, negatives = torch.cat(parts).unbind(1)
    rows = torch.cat([whole[:before], standard, whole[before + len(standard) :]])
    value = _ranking_of_images(rows, positives > 0, negatives > 0)
    return value.detach() + (value - value.detach()) * (len(rows) / max(len(standard), 1))


def _of_all_processes(own: Tensor) -> list[Tensor]:
    """Tensors (n, ...) of all processes in the order of their ranks, without gradients; n may differ."""
    size = torch.tensor([len(own)], device=own.device)
    sizes = [torch.zeros_like(size) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, size)
    most = max(int(one) for one in sizes)
    padded = torch.cat([own, own.new_zeros(most - len(own), *own.shape[1:])])
    found = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(found, padded)
    return [one[: int(size)] for one, size in zip(found, sizes, strict=True)]


def _ranking_of_images(standard: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """L_across of standardised scores (B, L): every positive image of a label against all its negative ones."""
    images = positive.sum(0) * negative.sum(0)  # (L,) pairs of each label
    image, label = (positive & (images > 0)).nonzero(as_tuple=True)
    margins = standard.T[label] - standard[image, label][:, None]  # (T, B)
    terms = functional.softplus(margins.masked_fill(~negative.T[label], -torch.inf)).sum(1)
    return (terms / images[label]).sum() * standard.shape[1] / (images > 0).sum().clamp_min(1)


def _row_variance(matrices: Tensor, counted: Tensor) -> Tensor:
    """Summed unbiased variance of the M rows, mean over the batch with uncounted images as 0."""
    if matrices.shape[1] == 1 or not len(matrices):
        return matrices.sum() * 0
    apart = matrices - matrices.mean(1, keepdim=True)  # by hand: Tensor.var over M takes ten times as long on a CPU
    return (apart.square().sum((1, 2)) * counted).sum() / (matrices.shape[1] - 1) / len(matrices)


class _WinnerScores(torch.autograd.Function):
    """`max_similarity` that remembers the winners alone: the gradient of a label flows through one row."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, vectors: Tensor) -> Tensor:
        scores, winners = max_similarity(matrices, vectors)
        ctx.save_for_backward(winners, vectors)
        ctx.rows = matrices.shape[1]
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        winners, vectors = ctx.saved_tensors
        (gradient,) = gradients
        routed = gradient.new_zeros(gradient.shape[0], ctx.rows, gradient.shape[1])  # (B, M, L)
        routed.scatter_(1, winners[:, None], gradient[:, None])
        return routed @ vectors, None
