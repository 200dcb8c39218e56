"""Train recipes on one data set and measure them on another: its test pictures, all its labels.

A label of the other data set counts as seen where it is, in some spelling, one that was trained on. Labels that some
recipe's label space does not know are left out for all.

Run: python benchmarks/across.py recipes/corel5k.toml recipes/corel5k_authors.toml \
         --data tagged:DIR --split FILE#0 --test openclipart
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tagprism.app import console
from tagprism.app.open_data import open_data
from tagprism.bundle.score import scoring_vectors
from tagprism.datasets.splits import Split, shared_labels
from tagprism.datasets.table import ImageTable
from tagprism.evaluation.evaluate import evaluate_matrices
from tagprism.evaluation.protocols import Evaluation
from tagprism.evaluation.table import compare, comparison_markdown
from tagprism.training.features import compute_features
from tagprism.training.fit import fit
from tagprism.training.networks import embed_known, imagenet_labels
from tagprism.training.prepare import embed_labels, prepare
from tagprism.training.recipe import Recipe, load_recipe


def main() -> None:
    """Print the table of all recipes, the last one in the denominator."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split")
    parser.add_argument("--test", required=True)
    parser.add_argument("--test-split")
    given = parser.parse_args()
    table, split = open_data(given.data, given.split)
    split = replace(split, unseen=())
    other, other_split = open_data(given.test, given.test_split)
    recipes = [load_recipe(path) for path in given.recipes]
    names = [*other_split.seen, *other_split.unseen]
    for recipe in recipes:
        space, _, _ = embed_labels(recipe.labels, recipe.seed, split)
        kept, _ = embed_known(space, names)
        names = [names[place] for place in kept]
    methods = {one.name: [measure(one, table, split, other, other_split, tuple(names))] for one in recipes}
    known = frozenset(imagenet_labels(names))
    print(comparison_markdown(compare(methods, known=known, ratio_to=recipes[-1].name)))


def measure(
    recipe: Recipe, table: ImageTable, split: Split, other: ImageTable, other_split: Split, names: tuple[str, ...]
) -> Evaluation:
    """Train on one data set, measure on the other."""
    progress = console.progress(False)
    prepared = prepare(recipe, table, split, progress)
    with tempfile.TemporaryDirectory() as folder:
        network = fit(prepared, Path(folder), progress).network
    places = other.rows_of(other_split.test)
    features = compute_features(
        [other.files[int(row)] for row in places], prepared.backbone, prepared.preprocess, progress
    )
    with torch.inference_mode():
        matrices = network.of_features(torch.from_numpy(features.vectors)).numpy()
    trained_on = {label for label, _ in shared_labels(split.seen, names)}
    trained = np.array([name in trained_on for name in names])
    queries = scoring_vectors(prepared.space.embed(names).vectors, network.class_affinity, trained)
    targets = other.targets(places[features.rows], names)
    return evaluate_matrices(matrices, names, queries, ~trained, targets, ks=(3,))


if __name__ == "__main__":
    main()
