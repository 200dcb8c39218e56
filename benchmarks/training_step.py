"""Time of one end-to-end training step with `training.channels_last` and `training.compile`, on and off.

    python benchmarks/training_step.py --backbones tf_efficientnet_lite0 vit_tiny_patch16_224 --batch 8

All four forms of a backbone in one process, rounds interleaved; the median of the processor time is printed, so that a
busy machine does less harm. Random weights and pixels: what is in them makes no difference to the time.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any

import torch
from torch import nn

from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix
from tagprism.training.diversity_loss import SemanticDiversityLoss

LABELS, D, M = 925, 300, 7
FORMS = tuple(itertools.product((False, True), repeat=2))  # (channels_last, compile)


def make(name: str, *, channels_last: bool, compiled: bool) -> nn.Module:
    """A network as `training.fit` makes it."""
    torch.manual_seed(0)
    backbone = Backbone(name, "random")
    network = nn.Sequential(backbone, EmbeddingMatrix(backbone.channels, M, D)).train()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    if compiled:
        network.compile()
    return network


def step(
    network: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[torch.Tensor, ...]
) -> float:
    """Processor seconds of one step."""
    begin = time.process_time()
    optimizer.zero_grad()
    loss(network(batch[0]), batch[1]).backward()
    optimizer.step()
    return time.process_time() - begin


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["tf_efficientnet_lite0"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-compile", action="store_true", help="leave out what takes minutes to compile")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    vectors = nn.functional.normalize(torch.randn(LABELS, D))
    loss = SemanticDiversityLoss(vectors)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, B={arguments.batch}, seed 0")
    print(f"{'':<28}{'channels_last':>14}{'compile':>9}{'s a step':>10}{'times':>7}{'first step, s':>15}")
    for name in arguments.backbones:
        forms: dict[tuple[bool, bool], tuple[Any, torch.optim.Adam, float, list[float]]] = {}
        pixels = torch.randn(arguments.batch, 3, *Backbone(name, "random").image_size)
        targets = torch.zeros(arguments.batch, LABELS).long()
        targets[:, :4] = 1
        batch = pixels, targets
        for channels_last, compiled in FORMS if not arguments.without_compile else FORMS[::2]:
            network = make(name, channels_last=channels_last, compiled=compiled)
            optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
            begin = time.perf_counter()
            step(network, loss, optimizer, batch)
            forms[channels_last, compiled] = (network, optimizer, time.perf_counter() - begin, [])
        for _ in range(arguments.rounds):
            for network, optimizer, _, seconds in forms.values():
                seconds.append(step(network, loss, optimizer, batch))
        plain = statistics.median(forms[False, False][3])
        for (channels_last, compiled), (_, _, first, seconds) in forms.items():
            median = statistics.median(seconds)
            row = f"{channels_last!s:>14}{compiled!s:>9}{median:>10.2f}{plain / median:>7.2f}{first:>15.1f}"
            print(f"{name:<28}{row}", flush=True)


if __name__ == "__main__":
    main()
