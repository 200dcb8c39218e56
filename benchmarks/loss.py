"""Time and memory of the loss, forward and backward, against the authors' way, a fairer loop, and the bare product.

Run: python benchmarks/loss.py   (all rivals in one process, rounds interleaved; medians are printed)
Rivals, each on the same random data:
  (a) the authors' way: scores by broadcast multiply and sum, then a loop over the images;
  (b) the same loop, with a matrix product for the scores;
  (c) the bare matrix product, forward and backward, nothing else: the floor;
  (d) our loss with the labels in chunks of 1,024, each computed again for its gradient: memory that is flat in L.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tagprism.training.diversity_loss import SemanticDiversityLoss, _diversity_weight, _WinnerScores

LAM = 0.3
CHUNK = 1024  # labels
Method = Callable[[Tensor, Tensor, Tensor], Tensor]


def loop_over_images(scores: Tensor, matrices: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
    """The loss as the authors wrote it: one image at a time, every positive against every negative."""
    losses = []
    for score, matrix, target in zip(scores, matrices, targets, strict=True):
        positive, negative = score[target == 1], score[target != 1]
        rank = torch.log1p(torch.exp(negative[None] - positive[:, None])).sum() / len(positive)
        weight = 1 + vectors[target == 1].var(dim=0).sum() if len(positive) > 1 else 1
        losses.append(2 * ((1 - LAM) * weight * rank + LAM * matrix.var(dim=0).sum()))
    return torch.stack(losses).mean()


def authors_way(matrices: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
    """(a): (B, M, L, D) products, summed, then the loop."""
    scores = (matrices[:, :, None] * vectors).sum(-1).amax(1)
    return loop_over_images(scores, matrices, targets, vectors)


def product_and_loop(matrices: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
    """(b): a matrix product for the scores, then the loop."""
    return loop_over_images((matrices @ vectors.T).amax(1), matrices, targets, vectors)


def in_chunks(matrices: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
    """(d): the loss a chunk of the labels at a time; only sums over the labels are kept for the gradient."""
    image, label = (targets == 1).nonzero(as_tuple=True)
    own = (matrices[image] * vectors[label, None]).sum(2).amax(1)  # (T,)
    counts = (targets == 1).sum(1)

    def part(matrices: Tensor, own: Tensor, vectors: Tensor, negative: Tensor) -> Tensor:
        scores = _WinnerScores.apply(matrices, vectors)[image]
        return functional.softplus((scores - own[:, None]).masked_fill(~negative[image], -torch.inf)).sum(1)

    terms = torch.zeros_like(own)
    for start in range(0, len(vectors), CHUNK):
        piece = slice(start, start + CHUNK)
        terms = terms + checkpoint(
            part, matrices, own, vectors[piece], targets[:, piece] != 1, use_reentrant=False, preserve_rng_state=False
        )
    weight = _diversity_weight(vectors[label], image, counts)
    ranking = (terms * (weight / counts.clamp_min(1))[image]).sum() / len(matrices)
    return 2 * ((1 - LAM) * ranking + LAM * matrices.var(dim=1).sum(1).mean())


def bare_product(matrices: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
    """(c): what any loss must at least do."""
    return (matrices @ vectors.T).sum()


def once(method: Method, data: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """Seconds of one forward and backward, and the loss."""
    data[0].grad = None
    start = time.perf_counter()
    loss = method(*data)
    loss.backward()
    return time.perf_counter() - start, loss.item()


def peak_bytes(name: str, labels: int, images: int, positives: int) -> int:
    """Growth of the peak resident set over one forward and backward, in a process of its own."""
    command = [sys.executable, __file__, "--peak-of", name, "--labels", str(labels)]
    command += ["--images", str(images), "--positives", str(positives)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def status_bytes(field: str) -> int:
    """A size from /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def make_data(labels: int, images: int = 32, positives: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Random matrices (B, 7, 300), targets with about so many positives an image, and unit label vectors."""
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(labels, 300))
    matrices = (torch.randn(images, 7, 300) * 0.3).requires_grad_()
    targets = (torch.rand(images, labels) < (positives - 1) / labels).long()
    targets[torch.arange(images), torch.randint(labels, (images,))] = 1
    return matrices, targets, vectors


def make_methods(vectors: Tensor) -> dict[str, Method]:
    """Ours and the rivals."""
    loss = SemanticDiversityLoss(vectors, LAM)
    return {
        "tagprism": lambda matrices, targets, vectors: loss(matrices, targets),
        "(a) authors' way": authors_way,
        "(b) product + loop": product_and_loop,
        "(c) bare product": bare_product,
        "(d) ours in chunks": in_chunks,
    }


def compare(labels: int, rounds: int, images: int, positives: int, without: list[str]) -> None:
    """Print one table."""
    data = make_data(labels, images, positives)
    methods = {name: method for name, method in make_methods(data[2]).items() if name[:3] not in without}
    values = {name: once(method, data)[1] for name, method in methods.items()}  # warm-up
    for name in methods.keys() - {"tagprism", "(c) bare product"}:
        assert abs(values[name] - values["tagprism"]) < 1e-4 * values["tagprism"], values
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for step in range(rounds):
        for name, method in methods.items():
            if name != "(a) authors' way" or step < 5:  # seconds each: five are enough
                seconds[name].append(once(method, data)[0])
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"\nL={labels}: {'':<16}{'ms':>10}{'times ours':>12}{'peak MB':>10}")
    for name, median in medians.items():
        ratio, peak = median / medians["tagprism"], peak_bytes(name, labels, images, positives) / 1e6
        print(f"  {name:<22}{median * 1e3:>10.2f}{ratio:>12.2f}{peak:>10.1f}")
    print(f"  ours / bare product: {medians['tagprism'] / medians['(c) bare product']:.2f}")


def main() -> None:
    """Print one table per number of labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--labels", type=int, nargs="+", default=[925, 7186])
    parser.add_argument("--images", type=int, default=32, help="B")
    parser.add_argument("--positives", type=int, default=4, help="of an image, about")
    parser.add_argument(
        "--without", nargs="*", default=[], help="rivals to leave out, such as (a): it needs 15 GB at B=256"
    )
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        small = make_data(3)
        for method in make_methods(small[2]).values():  # what torch itself needs
            once(method, small)
        data = make_data(arguments.labels[0], arguments.images, arguments.positives)
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
        before = status_bytes("VmRSS")
        once(make_methods(data[2])[arguments.peak_of], data)
        print(status_bytes("VmHWM") - before)
        return
    images, threads = arguments.images, torch.get_num_threads()
    print(f"torch {torch.__version__}, {threads} threads, {platform.machine()}, B={images} M=7 D=300, seed 0")
    for labels in arguments.labels:
        compare(labels, arguments.rounds, images, arguments.positives, arguments.without)


if __name__ == "__main__":
    main()
