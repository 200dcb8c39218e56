"""End-to-end fine-tuning at 160 pixels from a head on frozen features; one split, as long as `--seconds` allows.

    python benchmarks/untried_end_to_end.py --data tagged:DIR --split FILE [--draw 0] [--epochs 3] [--seconds 1000]

Lite0, M=7, D=128, no anchor, batches of 32, Adam 1e-4 (backbone) and 1e-3 (head), OneCycle, batch norm in evaluation
mode, random crops of at least half the area and flips. Measured as `untried.py` does.
"""

from __future__ import annotations

import argparse
import math
import time
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tagprism.images.preprocess import Preprocess
from tagprism.model.backbones import Backbone
from tagprism.training.augment import Augmentation
from tagprism.training.diversity_loss import SemanticDiversityLoss
from tagprism.training.recipe import AugmentTable
from untried import BASE, FULL, World, _measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    world, row = World(given.data, given.split, None), SimpleNamespace(**BASE, **FULL)
    split = world.splits[given.draw]
    seen, unseen = ([world.place[label] for label in side] for side in (split.seen, split.unseen))
    train, test = (np.asarray(world.table.rows_of(keys)) for keys in (split.train, split.test))
    vectors = world.label_space(row, seen, given.draw)[0]
    targets = torch.from_numpy(world.targets[train][:, seen] == 1).long()
    loss = SemanticDiversityLoss(vectors[seen])
    backbone = Backbone("tf_efficientnet_lite0").eval().to(memory_format=torch.channels_last)
    preprocess = Preprocess(
        height=160,
        width=160,
        resize="squash",
        trim=False,
        interpolation="bicubic",
        mean=backbone.mean,
        std=backbone.std,
    )
    pictures = [Image.open(file).convert("RGB") for file in world.table.files]

    def batch(images: list[Image.Image]) -> Tensor:
        pixels = np.stack([np.asarray(one, np.float32) for one in images]).transpose(0, 3, 1, 2)
        return torch.from_numpy((pixels / 255 - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)

    def features(rows: np.ndarray) -> Tensor:
        with torch.inference_mode():
            parts = np.array_split(rows, math.ceil(len(rows) / 32))
            return torch.cat([backbone(batch([preprocess.resized(pictures[at]) for at in part])) for part in parts])

    def say(what: str, inputs: Tensor) -> None:
        with torch.no_grad():
            scores = (head(inputs).view(len(inputs), row.M, row.D) @ vectors.T).amax(1)
        own = scores[:, seen]
        standard = (scores - own.mean(1, keepdim=True)) / own.std(1, keepdim=True, correction=0)
        print(what, _measured(standard.numpy(), world.targets[test], seen, unseen), flush=True)

    def train_head(inputs: Tensor) -> None:
        optimizer = torch.optim.Adam(head.parameters(), lr=3e-3, weight_decay=3e-4, fused=True)
        steps = row.epochs * math.ceil(len(train) / row.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
        draws = torch.Generator().manual_seed(given.draw)
        for _ in range(row.epochs):
            for chosen in torch.randperm(len(train), generator=draws).split(row.batch):
                value = loss(head(inputs[chosen]).view(len(chosen), row.M, row.D), targets[chosen])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                schedule.step()

    def fresh_head() -> torch.nn.Linear:
        torch.manual_seed(given.draw)
        return torch.nn.Linear(backbone.features, row.M * row.D, bias=False)

    head, small = fresh_head(), features(test)
    train_head(features(train).clone())
    say("frozen, 160 pixels", small)
    head = fresh_head()
    train_head(world.features[train])
    say("frozen, 224 pixels", world.features[test])
    say("frozen, the same head at 160 pixels", small)
    augment = Augmentation(AugmentTable(crop_scale=0.5, flip=0.5), preprocess)
    body = [one for one in backbone.network.parameters() if one.ndim > 1]
    for fixed in (one for one in backbone.parameters() if one.ndim <= 1):
        fixed.requires_grad_(False)
    groups = [{"params": body, "lr": 1e-4}, {"params": list(head.parameters()), "lr": 1e-3}]
    optimizer = torch.optim.Adam(groups, weight_decay=3e-4, fused=True)
    steps = given.epochs * math.ceil(len(train) / 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [1e-4, 1e-3], total_steps=steps, pct_start=0.1)
    draws, begin = torch.Generator().manual_seed(given.draw), time.time()
    for epoch in range(given.epochs):
        for chosen in torch.randperm(len(train), generator=draws).split(32):
            changed = [
                augment(pictures[train[at]], seed=given.draw, epoch=epoch, key=str(at)) for at in chosen.tolist()
            ]
            value = loss(head(backbone(batch(changed))).view(len(chosen), row.M, row.D), targets[chosen])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            if time.time() - begin > given.seconds:
                break
        say(f"after {epoch + 1} epochs, {time.time() - begin:.0f} s", features(test))
        if time.time() - begin > given.seconds:
            break


if __name__ == "__main__":
    main()
