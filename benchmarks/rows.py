"""Rows that differ and pay: forms of the embedding matrix on frozen features, paired over splits.

Every form trains a small head (label vectors reduced to 192 directions, features to their 512 strongest; with `--full`
neither) with the recipe's loss, prior, class columns and schedule, of `--epochs`. Splits are a file's, with `--draw 8`
drawn with the seeds 100 to 107, or with `--pseudo-unseen` the five of each split to choose by. Prints a table: ZSL and
GZSL mAP, the other forms as paired differences to the first one; the mean cosine between two rows of a test picture;
and of how many rows some seen label is won.

Run: python benchmarks/rows.py recipes/corel5k.toml tagged:DIR --split fresh.json --out results.jsonl
     python benchmarks/rows.py recipes/openclipart.toml openclipart --draw 8 --form "M=7" --form "M=14 lam=none top=2"

A form has M, D (0: all directions), lam, top (k of the soft maximum); at (k in use) and unseen (k in use for unseen
labels alone); epochs; ema (decay of averaged weights); with (the mean with the rows of a run of so many
epochs); repel (weight of the mean cosine of the rows in the loss); rank (the stack of rows kept in so many directions);
features (0: all); start (times as far apart the rows begin); the losses of `row_forms.py`; and with `--full`
`from`, what the rows are made of: `queries`, places weighed by a query per row (`network/patch_rows.py`), or `regions`,
of which M = 6 have a row each: the picture, four overlapping quarters and the centre, each with the prior of its own
region, by one map for all regions.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from row_forms import WORDS, FormLoss
from tagprism.bundle.record import scoring_vectors
from tagprism.comparing.compare import choosing_splits
from tagprism.datasets.draw_split import draw_split
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import Split, load_split
from tagprism.datasets.table import ImageTable
from tagprism.evaluation.metrics import mean_average_precision
from tagprism.network.embedding_matrix import max_similarity
from tagprism.network.patch_rows import PatchFeatures
from tagprism.training.features import compute_features
from tagprism.training.networks import make_class_columns, make_prior
from tagprism.training.prepare import prepare
from tagprism.training.recipe import Recipe, load_recipe

DIMENSION, FEATURES, BATCH = 192, 512, 128
KEY = ("split", "form", "epochs", "full")
AFTER_TRAINING = ("at", "unseen", "with", "rank", "epochs", "ema")
OF_TRAINING = ("M", "D", "lam", "top", "repel", "features", "start", "from", *WORDS)
FORMS = ("M=7", "M=7 lam=none top=2", "M=14 lam=none top=2")


@dataclass(frozen=True)
class Data:
    """A split: features, what is added to each row (the prior), and what is added to each score (class columns)."""

    train: Tensor  # (n, C); (n, 1 + T, C) for queries, (n, M, C) for regions
    test: Tensor
    prior_train: Tensor  # (n, D); (n, M, D) for regions
    prior_test: Tensor
    columns: Tensor  # (N, L)
    vectors: Tensor  # (L, D), the seen ones first
    seen: int
    targets: Tensor  # (n, S)
    wanted: np.ndarray  # (N, L)


def prepared_data(recipe: Recipe, table: ImageTable, split: Split, kinds: set[str]) -> dict[str, Data]:
    """Everything that does not depend on the form, in all directions and features, by what rows are made of."""
    ready = prepare(recipe, table, split)
    found = compute_features(
        [table.files[int(row)] for row in table.rows_of(split.test)], ready.backbone, ready.preprocess
    )
    names, seen = (*split.seen, *split.unseen), len(split.seen)
    vectors = torch.tensor(ready.vocabulary.select(names).vectors)
    assert ready.train.features is not None, "frozen features"
    train, test = torch.from_numpy(np.array(ready.train.features)), torch.from_numpy(found.vectors)
    with torch.inference_mode():
        prior = make_prior(recipe, ready.backbone.pooling, ready.space)
        prior_train, prior_test = (
            prior(one) if prior else torch.zeros(len(one), vectors.shape[1]) for one in (train, test)
        )
        classes = make_class_columns(
            recipe.model, ready.backbone, ready.space, ready.seen_vectors, ready.train.features
        )
        columns = torch.zeros(len(test), len(names))
        if classes is not None:
            queries = scoring_vectors(vectors.numpy(), classes.affinity, np.arange(len(names)) < seen)
            columns = classes(test) @ torch.from_numpy(queries[:, vectors.shape[1] + 1 :]).mT
    channels = ready.backbone.pooling.channels
    train, test = (one[:, :channels].float() for one in (train, test))
    wanted = table.targets(table.rows_of(split.test)[found.rows], names) == 1
    targets = torch.from_numpy(ready.train.targets[:].astype(np.int8))
    made = {
        "pooled": Data(train, test, prior_train, prior_test, columns, vectors, seen, targets, wanted.astype(np.int8))
    }
    if kinds - {"pooled"}:
        network = PatchFeatures(
            getattr(ready.backbone, "inner", ready.backbone), (ready.preprocess.height, ready.preprocess.width)
        )
        files = ready.train.files, [table.files[int(row)] for row in table.rows_of(split.test)[found.rows]]
        halves = (torch.from_numpy(compute_features(its, network, ready.preprocess).vectors).half() for its in files)
        tokens = [one.unflatten(1, (-1, channels)) for one in halves]
        made["queries"] = replace(made["pooled"], train=tokens[0], test=tokens[1])
        parts = [regions(one) for one in tokens]
        with torch.inference_mode():
            own = [torch.stack([prior(one) for one in part.unbind(1)], 1) if prior else None for part in parts]
        assert own[0] is not None and own[1] is not None, "regions have the prior's rows"
        made["regions"] = replace(made["pooled"], train=parts[0], test=parts[1], prior_train=own[0], prior_test=own[1])
    return made


def regions(tokens: Tensor) -> Tensor:
    """Mean features (n, 6, C) of the picture, its overlapping quarters and its centre; tokens are (n, 1 + T, C)."""
    side = round((tokens.shape[1] - 1) ** 0.5)
    half, third = (side + 1) // 2, side // 3
    places = tokens[:, 1:].unflatten(1, (side, side))
    ends = slice(None, half), slice(side - half, None)
    boxes = [(rows, columns) for rows in ends for columns in ends] + [(slice(third, side - third),) * 2]
    means = [places[:, rows, columns].float().mean((1, 2)) for rows, columns in boxes]
    return torch.stack([tokens[:, 0].float(), *means], dim=1)


def reduced(data: Data, directions: int, features: int) -> Data:
    """The same in the strongest directions of the seen labels' vectors, and the strongest features; 0 keeps all."""
    vectors, basis, train, test = data.vectors, torch.eye(data.vectors.shape[1]), data.train, data.test
    if directions:
        basis = torch.linalg.svd(vectors[: data.seen], full_matrices=False)[2][:directions].mT
        rotation = torch.randn(basis.shape[1], basis.shape[1], generator=torch.Generator().manual_seed(0))
        basis = basis @ torch.linalg.qr(rotation)[0]  # Adam is not rotation-invariant
        vectors = functional.normalize(vectors @ basis, dim=1)
    if features:
        strongest = torch.linalg.eigh(train.mT @ train / len(train))[1][:, -features:]
        train, test = train @ strongest, test @ strongest
    return replace(
        data,
        train=train,
        test=test,
        prior_train=data.prior_train @ basis,
        prior_test=data.prior_test @ basis,
        vectors=vectors,
    )


def trained(
    data: Data, form: dict[str, str], recipe: Recipe, epochs: int, decays: tuple[str, ...] = (), seed: int = 0
) -> dict[str, Tensor]:
    """Weights (M * D, C) of a form's head, the last ones (`ema` of 0) and averaged ones of these decays."""
    M, D = int(form["M"]), data.vectors.shape[1]
    torch.manual_seed(seed)
    many = {"queries": M * (D + 1), "regions": D}.get(form.get("from", "pooled"), M * D)
    head = nn.Linear(data.train.shape[-1], many, bias=False)
    with torch.no_grad():
        head.weight[M * D :] = 0  # queries, which at first weigh all places alike
        head.weight *= float(form.get("start", 1))
    loss = FormLoss(data.vectors[: data.seen], form, recipe.loss)
    count, rate = len(data.train), recipe.training.learning_rate
    optimiser = torch.optim.Adam(head.parameters(), lr=rate, weight_decay=recipe.training.weight_decay, fused=True)
    steps = -(-count // BATCH) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=recipe.training.warm_up
    )
    averaged = {decay: head.weight.detach().clone() for decay in decays}
    for epoch in range(epochs):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1000 + epoch))
        for some in order.split(BATCH):
            matrices = rows_of(head.weight, data.train[some], data.prior_train[some])
            value = loss(matrices, data.targets[some], data.prior_train[some])
            if repulsion := float(form.get("repel", 0)):
                value = value + repulsion * cosine(matrices)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            for decay, mean in averaged.items():
                mean.lerp_(head.weight.detach(), 1 - float(decay))
    return averaged | {"0": head.weight.detach()}


def rows_of(weight: Tensor, features: Tensor, prior: Tensor) -> Tensor:
    """(n, M, D) rows of pictures; see `Data` for what they are made of."""
    if prior.ndim == 3:  # regions
        return features @ weight.mT + prior
    if features.ndim == 3:
        tokens, M = features.float(), len(weight) // (prior.shape[1] + 1)
        maps, queries = weight[:-M].view(M, -1, weight.shape[1]), weight[-M:]
        looked = (tokens @ queries.mT / queries.shape[1] ** 0.5).softmax(1).mT @ tokens
        return torch.einsum("nmc,mdc->nmd", looked, maps) + prior[:, None]
    return (features @ weight.mT).view(len(features), -1, prior.shape[1]) + prior[:, None]


def measure(
    data: Data,
    form: dict[str, str],
    recipe: Recipe,
    epochs: int,
    heads: dict[str, dict[str, Tensor]],
    decays: tuple[str, ...] = (),
) -> dict[str, float]:
    """Train a form on a split, or take it from `heads`, and measure it."""
    begun, epochs = time.perf_counter(), int(form.get("epochs", epochs))

    def head(epochs: int) -> Tensor:
        said = {name: value for name, value in form.items() if name not in AFTER_TRAINING}
        key = json.dumps([said, epochs])
        if key not in heads:
            heads[key] = trained(data, said, recipe, epochs, decays)
        return heads[key][form.get("ema", "0")]

    weight = head(epochs)
    if "with" in form:
        weight = (weight + head(int(form["with"]))) / 2
    with torch.inference_mode():
        if rank := int(form.get("rank", 0)):
            weight = low_rank(weight, data.train, rank)
        pieces = zip(data.test.split(BATCH), data.prior_test.split(BATCH), strict=True)
        matrices = torch.cat([rows_of(weight, *one) for one in pieces])
        at = int(form.get("at", form.get("top", 1)))
        scores, winners = scored(matrices, data.vectors, at)
        if "unseen" in form:
            scores[:, data.seen :] = scored(matrices, data.vectors[data.seen :], int(form["unseen"]))[0]
        of_seen = scores[:, : data.seen]
        scores = (scores - of_seen.mean(1, keepdim=True)) / of_seen.std(1, correction=0, keepdim=True) + data.columns
        used = np.mean([len(set(row.tolist())) for row in winners[:300, : data.seen]])
        found = {
            "zsl": labelled(scores[:, data.seen :], data.wanted[:, data.seen :]),
            "gzsl": labelled(scores, data.wanted),
        }
        return found | {"cosine": float(cosine(matrices)), "used": float(used), "seconds": time.perf_counter() - begun}


def scored(matrices: Tensor, vectors: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Scores and winners (N, L), some pictures at a time."""
    parts = [max_similarity(one, vectors, best_rows=top) for one in matrices.split(BATCH)]
    scores, winners = (torch.cat(both) for both in zip(*parts, strict=True))
    return scores, winners


def low_rank(weight: Tensor, features: Tensor, rank: int) -> Tensor:
    """The stack of rows kept in its strongest directions: a record is then `rank` numbers and the prior."""
    strengths, axes = torch.linalg.eigh(features.mT @ features / len(features))
    root = axes * strengths.clamp_min(0).sqrt()
    directions = torch.linalg.svd(weight @ root, full_matrices=False)[0][:, :rank]
    return directions @ (directions.mT @ weight)


def cosine(matrices: Tensor) -> Tensor:
    """Mean cosine between two different rows of an image."""
    units, M = functional.normalize(matrices, dim=-1), matrices.shape[1]
    return ((units.sum(1).square().sum(1) - M) / max(M * (M - 1), 1)).mean()


def labelled(scores: Tensor, wanted: np.ndarray) -> float:
    """mAP in percent over the pictures with a positive."""
    shown = wanted.any(axis=1)
    return mean_average_precision(scores.numpy()[shown], wanted[shown])


def main() -> None:
    """Measure the forms on every split, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("data")
    parser.add_argument("--split", action="append", default=[], help="FILE, all of its eight splits, or FILE#3")
    parser.add_argument("--draw", type=int, default=0, help="draw so many splits")
    parser.add_argument("--form", action="append", help="such as `M=7 lam=0.1 top=2`, see above")
    parser.add_argument("--full", action="store_true", help="all directions and features, as the recipe has them")
    parser.add_argument("--pseudo-unseen", type=float, help="share of the seen labels that play the unseen ones")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument(
        "--out", type=Path, required=True, help="results, one JSON line each; what is there is not redone"
    )
    given = parser.parse_args()
    if not given.split and not given.draw:
        parser.error("give --split FILE, or --draw 8.")
    torch.set_num_threads(1)
    recipe, table = load_recipe(given.recipe, ("training.validation=0", *given.set)), open_dataset(given.data)
    if given.draw:
        shares = {"unseen": 0.2, "test": 0.3, "least_positives": 8, "near_duplicates_together": False}
        splits = [draw_split(table, seed=100 + number, **shares) for number in range(given.draw)]  # type: ignore[arg-type]
    else:
        chosen = [[one] if "#" in one else [f"{one}#{at}" for at in range(8)] for one in given.split]
        splits = [load_split(one, table) for some in chosen for one in some]
    if given.pseudo_unseen:
        splits = [drawn for one in splits for drawn in choosing_splits(one, given.pseudo_unseen)]
    lines = given.out.read_text().splitlines() if given.out.is_file() else []
    known = {tuple(its.get(name, False) for name in KEY): its for its in map(json.loads, lines)}
    forms, results = given.form or list(FORMS), []
    saids = {form: dict(part.split("=") for part in form.split()) for form in forms}
    if odd := {word for said in saids.values() for word in said} - {*OF_TRAINING, *AFTER_TRAINING}:
        parser.error(f"--form: no form has {', '.join(sorted(odd))}; the words are {OF_TRAINING + AFTER_TRAINING}.")
    kinds = {said.get("from", "pooled") for said in saids.values()}
    if kinds - {"pooled", "queries", "regions"} or (kinds != {"pooled"} and not given.full):
        parser.error("--form: `from` is queries or regions, and needs --full.")
    decays = tuple({said["ema"] for said in saids.values() if "ema" in said})
    for split in splits:
        data: dict[tuple[int, int, str], Data] = {}
        heads: dict[str, Any] = {}
        for form in forms:
            key = split.digest, form, given.epochs, given.full
            if key not in known:
                said, usual = saids[form], (0, 0) if given.full else (DIMENSION, FEATURES)
                kind = said.get("from", "pooled")
                size = int(said.get("D", usual[0])), int(said.get("features", usual[1])), kind
                if not data:
                    data = {(0, 0, made): its for made, its in prepared_data(recipe, table, split, kinds).items()}
                if size not in data:
                    data[size] = reduced(data[0, 0, kind], *size[:2])
                its = measure(data[size], said, recipe, given.epochs, heads, decays)
                known[key] = dict(zip(KEY, key, strict=True)) | its
                with given.out.open("a") as file:
                    file.write(json.dumps(known[key]) + "\n")
            results.append(known[key])
    print("| form | ZSL mAP | GZSL mAP | mean cosine | rows that win | s |\n|---|---|---|---|---|---|")
    values = np.array([[[its[name] for name in ("zsl", "gzsl", "cosine", "used", "seconds")] for its in results]])
    values = values.reshape(len(splits), len(forms), 5)
    for at, form in enumerate(forms):
        own = values[:, at]
        means = own.mean(0)
        cells = [f"{mean:.1f}" for mean in means[:2]]
        if at:
            apart = own[:, :2] - values[:, 0, :2]
            errors = apart.std(0, ddof=1) / len(splits) ** 0.5 if len(splits) > 1 else [np.nan, np.nan]
            cells = [f"{mean:+.1f} ± {error:.1f}" for mean, error in zip(apart.mean(0), errors, strict=True)]
        print(f"| {form} | {' | '.join(cells)} | {means[2]:.2f} | {means[3]:.1f} | {means[4]:.0f} |")


if __name__ == "__main__":
    main()
