"""What the second output `places` costs those who do not ask for it: speed, file size and loading, paired in one run.

    python benchmarks/places.py

Exports one network (tf_efficientnet_lite0, M=7, D=484, random weights) without and with the second output.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tagprism.bundle.onnx_model import RecordNetwork
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix, Network, Standardiser
from tagprism.network.export import PlacedNetwork, export_onnx, find_places

SIZE, VECTORS, DIMENSION, SEEN = (224, 224), 7, 484, 205
ROUNDS = {1: 10, 32: 1}  # batch size -> rounds for each of --rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--batches", type=int, nargs="+", choices=list(ROUNDS), default=list(ROUNDS))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    backbone = Backbone(arguments.backbone, "random")
    head = EmbeddingMatrix(backbone.features, VECTORS, DIMENSION)
    network = Network(backbone, head, Standardiser(torch.randn(SEEN, DIMENSION)))
    places = find_places(backbone, SIZE)
    assert places is not None
    with tempfile.TemporaryDirectory() as folder:
        plain, placed = Path(folder, "plain.onnx"), Path(folder, "placed.onnx")
        export_onnx(network, SIZE, plain)
        export_onnx(PlacedNetwork(network, places), SIZE, placed)
        print(
            f"file: {plain.stat().st_size / 1e6:.3f} MB without `places`, {placed.stat().st_size / 1e6:.3f} MB with it"
        )
        models = [RecordNetwork(path, DIMENSION, threads=1) for path in (plain, placed)]
    for batch in arguments.batches:
        rounds = ROUNDS[batch] * arguments.rounds
        pixels = np.random.default_rng(0).standard_normal((batch, 3, *SIZE), dtype=np.float32)
        ways: dict[str, Callable[[], object]] = {
            "without": partial(models[0].records, pixels),
            "with, not asked for": partial(models[1].records, pixels),
            "with, asked for": partial(models[1].placed, pixels),
        }
        spent = _interleaved(ways, rounds)
        print(f"batch {batch}, processor time of one thread, median of {rounds} interleaved rounds:")
        for name, taken in spent.items():
            ratio = statistics.median(one / base for one, base in zip(taken, spent["without"], strict=True))
            print(f"  {name:<20} {statistics.median(taken) * 1e3 / batch:6.2f} ms a picture, {ratio:.3f} of without")


def _interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    for way in ways.values():
        way()  # the first call allocates
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            start = time.process_time()
            ways[name]()
            times[name].append(time.process_time() - start)
    return times


if __name__ == "__main__":
    main()
