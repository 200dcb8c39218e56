"""Ideas that were tried on the head and left out (docs/ablations_untried.md): each against the same head without it.

    python benchmarks/untried.py --data tagged:DIR --split FILE --out results.json [--wordnet FOLDER] [--only WORD]

A small head (M=4, D=96, 8 epochs; `--full`: M=7, D=128, 20 epochs) on frozen Lite0 features, its rows anchored on the
classifier. Measured on validation pictures with a quarter of the seen labels as unseen, a draw for each split of FILE;
differences are paired. FOLDER holds WordNet 3.0's noun files (Debian: `wordnet-base`), for the definitions.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor
from torch.nn import functional

from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import Split, hold_out_validation, load_split, pseudo_unseen, split_names
from tagprism.evaluation.metrics import mean_average_precision, precision_recall_f1_at_k
from tagprism.labels.encoder_sources import encoder_folder
from tagprism.labels.encoders import load_encoder
from tagprism.labels.label_space import _rotated_basis
from tagprism.model.backbones import Backbone
from tagprism.training.features import compute_features
from tagprism.training.prepare import make_preprocess
from tagprism.training.recipe import make_recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes/photos_lite"))
SMALL: dict[str, Any] = {"M": 4, "D": 96, "epochs": 8}
FULL: dict[str, Any] = {"M": 7, "D": 128, "epochs": 20}
BASE: dict[str, Any] = {
    "lam": 0.3, "batch": 128, "decay": 3e-4, "anchor": 5.0, "weight": "variance", "features": "as they are",
    "loss": "images", "share": 0.3, "temperature": 1.0, "distil": 0.0, "class_names": "definitions", "dropout": 0.0,
    "ema": 0.0, "heads": 1, "mean_of": "scores", "definitions": None, "definition_weight": 1.0, "instead": False,
}  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no anchor": {"anchor": 0.0},
    "standardised scores in the loss, temperature 1": {"loss": "standardised"},
    "standardised scores in the loss, temperature 0.5": {"loss": "standardised", "temperature": 0.5},
    "ranking within labels, share 0.3": {"loss": "images + labels"},
    "mean over pairs, share 0.3": {"loss": "images + label pairs"},
    "mean over pairs, share 0.5": {"loss": "images + label pairs", "share": 0.5},
    "the same on raw scores, share 0.5": {"loss": "images + raw labels", "share": 0.5},
    "both terms standardised, share 0.5": {"loss": "standardised + labels", "share": 0.5},
    "all pairs of the batch, share 0.5": {"loss": "images + all pairs", "share": 0.5},
    "definitions: first sense, a third part": {"definitions": "first"},
    "definitions: first visible sense, a third part": {"definitions": "visible"},
    "definitions: first visible sense, weight 0.5": {"definitions": "visible", "definition_weight": 0.5},
    "definitions: first visible sense instead of the name": {"definitions": "visible", "instead": True},
    "ImageNet names, soft targets, weight 0.3": {"distil": 0.3, "class_names": "names"},
    "ImageNet definitions, soft targets, weight 1": {"distil": 1.0},
    "no diversity weight": {"weight": "none"},
    "exp(z of the variance)": {"weight": "exp 1"},
    "exp(-z of the variance)": {"weight": "exp -1"},
    "effective rank of the labels": {"weight": "rank"},
    "number of labels": {"weight": "count"},
    "lam times exp(z of the variance)": {"weight": "lam 1"},
    "lam times exp(-z of the variance)": {"weight": "lam -1"},
    "features: square roots": {"features": "roots"},
    "features: unit vectors": {"features": "unit"},
    "features: standardised": {"features": "standardised"},
    "features: with a constant (bias)": {"features": "constant"},
    "dropout 0.2 on features": {"dropout": 0.2},
    "3 heads, mean of their weights": {"heads": 3, "mean_of": "weights"},
    "3 heads, mean of their scores": {"heads": 3},
    "EMA 0.98": {"ema": 0.98},
    "batches of 256": {"batch": 256},
    "batches of 64": {"batch": 64},
    "lam 0.5": {"lam": 0.5},
    "lam 0.15": {"lam": 0.15},
    "weight decay 1e-3": {"decay": 1e-3},
}


class World:
    """What all rows share: features, classifier posteriors, targets, raw vectors of labels and classes, the splits."""

    def __init__(self, data: str, split_file: str, wordnet: Path | None) -> None:
        self.table = open_dataset(data)
        backbone = Backbone("tf_efficientnet_lite0")
        recipe = make_recipe({"name": "untried"}, where="benchmarks/untried.py")
        found = compute_features(self.table.files, backbone, make_preprocess(recipe, backbone))
        assert not found.errors and backbone.classifier is not None
        self.features = torch.from_numpy(found.vectors)
        with torch.inference_mode():
            logits = backbone.classifier(self.features)
        self.posterior, self.softened = logits.softmax(1).clone(), (logits / 2).softmax(1).clone()
        self.splits = []
        for draw, name in enumerate(split_names(split_file)):
            held = hold_out_validation(load_split(name, self.table), 0.2, seed=0)
            self.splits.append(pseudo_unseen(held, 0.25, draw))
        labels = sorted({label for split in self.splits for label in (*split.seen, *split.unseen)})
        self.place = {label: at for at, label in enumerate(labels)}
        self.targets = self.table.targets(np.arange(len(self.table.files)), labels)
        info = ImageNetInfo()
        names = [info.index_to_description(at).split(",")[0].strip() for at in range(1000)]
        defined = [info.index_to_description(at, detailed=True).split(": ", 1)[1] for at in range(1000)]
        sentences, words = load_encoder(encoder_folder("minilm")), load_encoder(encoder_folder("glove100"))
        photo = sentences.encode([f"a photo of {label}" for label in labels])
        class_texts = sentences.encode([f"{name}: {text}" for name, text in zip(names, defined, strict=True)])
        class_names, class_words = sentences.encode([f"a photo of {name}" for name in names]), words.encode(names)
        # (labels, class definitions, class names) of each part of the label space
        self.parts = [(photo, class_texts, class_names), (words.encode(labels), class_words, class_words)]
        self.definitions: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        if wordnet is not None:
            first, visible = _definitions(labels, wordnet)
            self.definitions["first"] = (sentences.encode(first), class_texts, class_texts)
            self.definitions["visible"] = (sentences.encode(visible), class_texts, class_texts)

    def label_space(self, row: SimpleNamespace, seen: list[int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of all labels, of the classes' definitions and of their names; fitted on the seen labels."""
        parts, weights = list(self.parts), [1.0, 1.0]
        if row.definitions:
            parts.append(self.definitions[row.definitions])
            weights.append(row.definition_weight)
            if row.instead:
                del parts[0], weights[0]
        joined: list[list[np.ndarray]] = [[], [], []]
        for part, weight in zip(parts, weights, strict=True):
            known = part[0][seen][np.abs(part[0][seen]).max(axis=1) > 0]
            for raw, blocks in zip(part, joined, strict=True):
                centred = np.where(np.abs(raw).max(axis=1, keepdims=True) > 0, raw - known.mean(axis=0), 0)
                blocks.append(weight * _unit(centred))
        vectors = [_unit(np.concatenate(blocks, axis=1)) for blocks in joined]
        basis = _rotated_basis(vectors[0][seen].astype(np.float32), min(row.D, len(seen) - 2), seed)
        labels, definitions, names = (torch.from_numpy(_unit(one @ basis).astype(np.float32)) for one in vectors)
        return labels, definitions, names


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _definitions(labels: list[str], folder: Path) -> tuple[list[str], list[str]]:
    """`label: definition` with the first sense of the noun, and with the first one that can be seen."""
    from vocabulary import Rules, read_wordnet

    net = read_wordnet(folder)
    rules = Rules(net)
    texts = {}
    for line in (folder / "data.noun").read_text(encoding="ascii").splitlines():
        if not line.startswith(" "):
            head, _, text = line.partition(" | ")
            texts[int(head.split()[0])] = text.split('; "')[0].strip()
    first, visible = [], []
    for label in labels:
        word = label.lower().replace(" ", "_").replace("-", "_")
        ends = [("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", "")]
        tried = [word, *(word.removesuffix(end) + new for end, new in ends if word.endswith(end))]
        senses = next((net.senses[one] for one in tried if one in net.senses), [])
        seen = [sense for sense in senses if rules._is_visible_sense(sense)] or senses
        first.append(f"{label}: {texts[senses[0]]}" if senses else label)
        visible.append(f"{label}: {texts[seen[0]]}" if senses else label)
    return first, visible


def _weights(kind: str, vectors: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Weight of the ranking term and of the regulariser for every training image, (n,) each."""
    count = positive.sum(1).clamp_min(1).float()
    mean = positive.float() @ vectors / count[:, None]
    several = count > 1
    variance = torch.where(several, (count - count * mean.square().sum(1)) / (count - 1).clamp_min(1), 0.0)
    plain, ones = 1 + variance, torch.ones_like(variance)
    z = torch.where(several, (variance - variance[several].mean()) / variance[several].std(), 0.0)
    name, _, power = kind.partition(" ")
    if name == "exp":  # mean 1.87 on images with several labels, as the formula has it
        grown = (float(power) * z).exp()
        return grown / grown[several].mean() * torch.where(several, 1.87, 1.0), ones
    if name == "lam":
        grown = (float(power) * z).exp()
        return plain, grown / grown.mean()
    if name == "rank":
        ranks = ones.clone()
        for image in several.nonzero().flatten().tolist():
            own = vectors[positive[image]]
            energies = torch.linalg.eigvalsh(own @ own.T).clamp_min(1e-9)
            energies = energies / energies.sum()
            ranks[image] = (-(energies * energies.log()).sum()).exp()
        return ranks, ones
    return {"variance": plain, "none": ones, "count": count}[name], ones


class _Scores(torch.autograd.Function):
    """Best row of each label, remembering the winners alone."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, vectors: Tensor) -> Tensor:
        scores, winners = (matrices @ vectors.T).max(1)
        ctx.save_for_backward(winners, vectors)
        ctx.rows = matrices.shape[1]
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        winners, vectors = ctx.saved_tensors
        routed = gradient.new_zeros(gradient.shape[0], ctx.rows, gradient.shape[1])
        return routed.scatter_(1, winners[:, None], gradient[:, None]) @ vectors, None


def _ranking(row: SimpleNamespace, scores: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
    """The ranking term of a batch in one of the forms of `ROWS`."""
    B, count = len(scores), positive.sum(1).clamp_min(1)
    mean, deviation = scores.mean(1, keepdim=True), scores.std(1, keepdim=True, correction=0).clamp_min(1e-6)
    standard = row.temperature * (scores - mean) / deviation
    image, label = positive.nonzero(as_tuple=True)

    def images(values: Tensor) -> Tensor:
        margins = values[image] - values[image, label][:, None]
        terms = functional.softplus(margins.masked_fill(positive[image], -math.inf)).sum(1)
        return (terms * (weight / count)[image]).sum() / B

    def labels(values: Tensor, *, mean: bool = False) -> Tensor:
        margins = values.T[label] - values[image, label][:, None]
        terms = functional.softplus(margins.masked_fill(positive.T[label], -math.inf)).sum(1)
        has = positive.sum(0)
        if mean:  # the form of `loss.across_images`
            terms = terms / (B - has[label]).clamp_min(1) * values.shape[1]
        return (terms / has[label]).sum() / (has > 0).sum()

    def pairs(values: Tensor) -> Tensor:
        negatives = values[~positive]
        drawn = negatives[torch.randint(len(negatives), (len(image), 150))]
        terms = functional.softplus(drawn - values[image, label][:, None]).sum(1)
        return (terms * (weight / count)[image]).sum() / B

    first, _, second = row.loss.partition(" + ")
    loss = images(standard if first == "standardised" else scores)
    if second:
        other = {
            "labels": lambda: labels(standard),
            "label pairs": lambda: labels(standard, mean=True),
            "raw labels": lambda: labels(scores),
            "all pairs": lambda: pairs(standard),
        }
        loss = (1 - row.share) * loss + row.share * other[second]()
    return loss


def _prepared(kind: str, features: Tensor, train: np.ndarray) -> Tensor:
    own = features[train]
    one = torch.ones(len(features), 1)
    forms: dict[str, Callable[[], Tensor]] = {
        "as they are": lambda: features,
        "roots": lambda: features.clamp_min(0).sqrt(),
        "unit": lambda: functional.normalize(features) * own.norm(dim=1).mean(),
        "standardised": lambda: torch.cat([(features - own.mean(0)) / own.std(0) * own.std(), one], 1),
        "constant": lambda: torch.cat([features, one], 1),
    }
    return forms[kind]()


def measure(world: World, row: SimpleNamespace, draw: int) -> dict[str, float]:
    """Train the row's heads on one split and measure them on its validation pictures."""
    split: Split = world.splits[draw]
    seen, unseen = ([world.place[label] for label in side] for side in (split.seen, split.unseen))
    train, test = (np.asarray(world.table.rows_of(keys)) for keys in (split.train, split.test))
    vectors, definitions, names = world.label_space(row, seen, draw)
    classes = definitions if row.class_names == "definitions" else names
    features = _prepared(row.features, world.features, train)
    anchors = row.anchor * functional.normalize(world.softened @ definitions)
    positive = torch.from_numpy(world.targets[train][:, seen] == 1)
    weight, spread = _weights(row.weight, vectors[seen], positive)
    shown, held, known = features[train], anchors[train], world.posterior[train]
    total = torch.zeros(len(test), len(world.place))
    matrices = []
    for head in range(row.heads):
        draws = torch.Generator().manual_seed(1000 * draw + head)
        torch.manual_seed(1000 * draw + head)
        linear = torch.nn.Linear(features.shape[1], row.M * row.D, bias=False)
        optimizer = torch.optim.Adam(linear.parameters(), lr=3e-3, weight_decay=row.decay, fused=True)
        steps = row.epochs * math.ceil(len(train) / row.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
        averaged, step = linear.weight.detach().clone(), 0
        for _ in range(row.epochs):
            for batch in torch.randperm(len(train), generator=draws).split(row.batch):
                inputs = functional.dropout(shown[batch], row.dropout) if row.dropout else shown[batch]
                own = linear(inputs).view(len(batch), row.M, row.D) + held[batch][:, None]
                loss = _batch_loss(row, own, vectors[seen], positive[batch], weight[batch], spread[batch])
                if row.distil:
                    logs = _Scores.apply(own, classes).log_softmax(1)
                    loss = loss - row.distil * (known[batch] * logs).sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                step += 1
                averaged.lerp_(linear.weight.detach(), 1 - min(row.ema, (1 + step) / (10 + step)))
        with torch.no_grad():
            used = averaged if row.ema else linear.weight
            matrices.append((features[test] @ used.T).view(len(test), row.M, row.D))
    if row.mean_of == "weights":
        matrices = [torch.stack(matrices).mean(0)]
    for own in matrices:
        scores = ((own + anchors[test][:, None]) @ vectors.T).amax(1)
        moments = scores[:, seen]
        total += (scores - moments.mean(1, keepdim=True)) / moments.std(1, keepdim=True, correction=0)
    return _measured(total.numpy(), world.targets[test], seen, unseen)


def _batch_loss(
    row: SimpleNamespace, own: Tensor, vectors: Tensor, positive: Tensor, weight: Tensor, spread: Tensor
) -> Tensor:
    scores = _Scores.apply(own, vectors)
    variance = own.var(1).sum(1) * positive.any(1) * spread
    if row.loss.startswith("standardised"):
        variance = variance / scores.std(1, correction=0).clamp_min(1e-6) ** 2
    return 2 * ((1 - row.lam) * _ranking(row, scores, positive, weight) + row.lam * variance.sum() / len(own))


def _measured(scores: np.ndarray, targets: np.ndarray, seen: list[int], unseen: list[int]) -> dict[str, float]:
    result = {}
    for side, columns in (("ZSL", unseen), ("GZSL", seen + unseen)):
        own, marks = scores[:, columns], targets[:, columns]
        labelled = (marks == 1).any(1)
        result[f"{side} mAP"] = mean_average_precision(own[labelled], marks[labelled])
        result[f"{side} F1@3"] = precision_recall_f1_at_k(own, marks, 3, image_set="labelled")["F1@3"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--out", type=Path, required=True, help="results; the same call goes on from there")
    parser.add_argument("--wordnet", type=Path)
    parser.add_argument("--only", default="", help="rows with this in their name")
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    world = World(given.data, given.split, given.wordnet)
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    size = "full" if given.full else "small"
    for name, changes in ROWS.items():
        if name != "as it is" and (given.only not in name or (changes.get("definitions") and not given.wordnet)):
            continue
        row = SimpleNamespace(**BASE, **(FULL if given.full else SMALL))
        row.__dict__.update(changes)
        for draw in range(len(world.splits)):
            key = f"{size}: {name} #{draw}"
            if key not in results:
                results[key] = measure(world, row, draw)
                given.out.write_text(json.dumps(results))
        print(name, *(_cell(results, size, name, column, len(world.splits)) for column in results[key]), sep=" | ")


def _cell(results: dict[str, dict[str, float]], size: str, name: str, column: str, count: int) -> str:
    own, base = (
        np.array([results[f"{size}: {row} #{draw}"][column] for draw in range(count)]) for row in (name, "as it is")
    )
    gap = own - base
    return f"{own.mean():.1f}" if name == "as it is" else f"{gap.mean():+.1f} ± {gap.std(ddof=1) / count**0.5:.1f}"


if __name__ == "__main__":
    main()
