"""Methods to compare with. The rivals' names and recipes; ConSE and ridge regression to the label space.

ConSE and ridge give one vector per image, so they are ranked and measured exactly as an embedding matrix with M = 1.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, Int8

from tagprism.evaluation.metrics import mean_average_precision
from tagprism.labels.label_space import LabelSpace, SpacePart
from tagprism.network.backbones import Backbone
from tagprism.training.networks import class_names, embed_known, imagenet_classifier
from tagprism.training.recipe import LabelTable, LossTable, ModelTable, Recipe

Features = Float32[np.ndarray, "N C"]

BASELINES = {
    "authors": "SDL, the authors' recipe",
    "single": "single vector, M=1",
    "conse": "ConSE",
    "ridge": "ridge",
    "decoder": "word-query decoder",
}
"""Names on the command line, and in tables. CLIP models are named `open_clip:MODEL/WEIGHTS`."""


def authors_recipe(recipe: Recipe) -> Recipe:
    """A recipe in the authors' way: one encoder's vectors as they come, their loss, raw scores.

    Backbone, pixels, M, schedule and seed stay: on frozen features the authors' own schedule has no counterpart.
    The encoder is the first one without a template (a table of word vectors, as theirs), else the first.
    """
    plain = next((part for part in recipe.labels.parts if part.template == "{}"), recipe.labels.parts[0])
    ours = ("prior", "class_columns", "class_columns_rank", "rows_from")
    plain_model = {name: ModelTable.model_fields[name].default for name in ours} | {"standardise": False}
    return recipe.model_copy(
        update={
            "labels": LabelTable(parts=(SpacePart(encoder=plain.encoder),)),
            "model": recipe.model.model_copy(update=plain_model),
            "loss": LossTable(),
        }
    )


def pooled_recipe(recipe: Recipe) -> Recipe:
    """The same recipe on pooled features, for rivals that know nothing else."""
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"rows_from": "pooled"})})


def single_vector_recipe(recipe: Recipe) -> Recipe:
    """The same recipe with M = 1."""
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"vectors": 1})})


def conse(
    features: Features, backbone: Backbone, space: LabelSpace, *, classes: int = 10
) -> Float32[np.ndarray, "N 1 D"]:
    """Convex combination of the vectors of the ImageNet classes that the backbone's own classifier is surest of.

    Args:
        features: (N, C) of the backbone.
        backbone: with its ImageNet classifier.
        space: embeds the class names; classes it cannot embed are left out.
        classes: T, how many of the best classes are combined.

    Returns:
        (N, 1, D) unit vectors.

    Raises:
        InputError: the backbone has no ImageNet-1k classifier.

    Source: Norouzi et al., arXiv 1312.5650, equation 4.
    """
    classifier = imagenet_classifier(backbone)
    kept, vectors = embed_known(space, class_names())
    with torch.inference_mode():
        posterior = classifier(torch.from_numpy(features[:, : classifier.in_features])).softmax(1)[:, kept]
        best = posterior.topk(classes, dim=1)
        mixed = (best.values[..., None] * torch.from_numpy(vectors)[best.indices]).sum(1, keepdim=True)
        result: Float32[np.ndarray, "N 1 D"] = torch.nn.functional.normalize(mixed, dim=-1).numpy()
    return result


def ridge(
    features: Features,
    targets: Int8[np.ndarray, "N L"],
    seen_vectors: Float32[np.ndarray, "L D"],
    test_features: Float32[np.ndarray, "T C"],
) -> Float32[np.ndarray, "T 1 D"]:
    """Closed-form ridge regression from features to the mean vector of an image's positive labels.

    The penalty is chosen among powers of ten by the mAP of the seen labels on every tenth training image, then the
    regression is solved again on all.

    Args:
        features: (N, C) of the training images.
        targets: (N, L) over the seen labels.
        seen_vectors: (L, D).
        test_features: (T, C).

    Returns:
        (T, 1, D) predicted vectors.
    """
    positive = (targets == 1).astype(np.float64)
    used = positive.any(axis=1)
    wanted = positive[used] @ seen_vectors / positive[used].sum(axis=1, keepdims=True)  # (n, D)
    inputs, marks = features[used].astype(np.float64), targets[used]
    held = np.arange(len(inputs)) % 10 == 9
    grid = [10.0**power for power in range(-4, 4)]
    quality = [
        mean_average_precision(
            _solve(inputs[~held], wanted[~held], inputs[held], penalty) @ seen_vectors.T, marks[held]
        )
        for penalty in grid
    ]
    best = grid[int(np.argmax(quality))]
    return _solve(inputs, wanted, test_features.astype(np.float64), best).astype(np.float32)[:, None]


def _solve(inputs: np.ndarray, wanted: np.ndarray, asked: np.ndarray, penalty: float) -> np.ndarray:
    """Predictions for `asked`; the penalty is relative to the mean variance of the features."""
    mean, target_mean = inputs.mean(axis=0), wanted.mean(axis=0)
    centred = inputs - mean
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += penalty * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram, centred.T @ (wanted - target_mean))
    predicted: np.ndarray = (asked - mean) @ weights + target_mean
    return predicted
