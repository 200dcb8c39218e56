"""Rivals that need no training loop: ConSE, ridge regression to the label space, and plain CLIP.

ConSE and ridge give one vector per image, so they are ranked and measured exactly as an embedding matrix with M = 1.
CLIP learns from pictures with texts, so no label is certainly unseen by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int8

from tagprism.errors import InputError
from tagprism.evaluation.metrics import mean_average_precision
from tagprism.labels.label_space import LabelSpace
from tagprism.labels.phrases import spoken_phrase
from tagprism.network.backbones import Backbone
from tagprism.network.open_clip_models import load_clip
from tagprism.training.networks import class_names, embed_known, has_imagenet_classifier, imagenet_classifier

Features = Float32[np.ndarray, "N C"]

CLIP_PROMPT = "a photo of a {}."
_PROMPTS = 256  # embedded at once


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
    if not has_imagenet_classifier(backbone):
        raise InputError(
            "has no ImageNet-1k classifier, which ConSE needs.",
            where=backbone.name,
            remedy="Choose pretrained ImageNet-1k weights, or leave ConSE out.",
        )
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


def clip_label_vectors(spec: str, names: Sequence[str]) -> Float32[np.ndarray, "L E"]:
    """Unit vectors of labels by a CLIP model's own text tower, each in the prompt `a photo of a LABEL.`.

    Args:
        spec: `open_clip:...`, see `open_clip_models`; needs the extra `[clip]`.
        names: L labels; they are spelt as label encoders spell them.

    Raises:
        InputError, MachineError: as `load_clip`.
    """
    clip, tokenise = load_clip(spec)
    prompts = [CLIP_PROMPT.format(spoken_phrase(name)) for name in names]
    with torch.inference_mode():
        parts = [
            clip.encode_text(tokenise(prompts[start : start + _PROMPTS]), normalize=True)
            for start in range(0, len(prompts), _PROMPTS)
        ]
    vectors: Float32[np.ndarray, "L E"] = torch.cat(parts).float().numpy()
    return vectors
