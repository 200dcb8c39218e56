"""The parts of a network that a recipe asks for: backbone and head. Trains nothing."""

from __future__ import annotations

from tagprism.errors import InputError
from tagprism.network.backbones import Backbone, make_backbone
from tagprism.network.class_evidence import ClassEvidence
from tagprism.network.embedding_matrix import EmbeddingMatrix
from tagprism.network.open_clip_backbone import ClipBackbone
from tagprism.network.patch_rows import PatchFeatures, PatchRows, pooling
from tagprism.network.places import find_places
from tagprism.network.prior import OpenClipPrior, Prior
from tagprism.training.classifier_prior import CLASSES, imagenet_classifier
from tagprism.training.recipe import ModelTable

_NOISE = 0.01  # of the usual first weights: enough to tell the rows apart, too little to change what CLIP ranks


def open_backbone(model: ModelTable, *, weights: str | None = None) -> Backbone:
    """The backbone of a recipe.

    Args:
        model: `[model]`.
        weights: in place of the recipe's.

    Raises:
        InputError: no such network, or a size of pictures, patches or ImageNet-1k classifier that it has not.
        MachineError: its weights cannot be had.
    """
    backbone = make_backbone(model.backbone, weights or model.weights)
    own = backbone.image_size
    size = (model.image_size, model.image_size) if model.image_size else own
    if isinstance(backbone, ClipBackbone) and size != own:
        raise InputError(
            f"{model.backbone} takes pictures of {own[0]} pixels a side: its places have no meaning in another size.",
            where="model.image_size",
            remedy="Leave it out.",
        )
    if model.class_columns:
        if weights is None:
            imagenet_classifier(backbone)
        return ClassEvidence(backbone, find_places(backbone, size), CLASSES)
    return PatchFeatures(backbone, size) if model.rows_from == "patches" else backbone


def make_head(model: ModelTable, backbone: Backbone, dimension: int, prior: Prior | None) -> EmbeddingMatrix:
    """The untrained head of a recipe; with CLIP's own vector as prior it begins as plain CLIP.

    Args:
        model: `[model]`.
        backbone: of the recipe.
        dimension: D, length of a label vector.
        prior: of the recipe.
    """
    kind = PatchRows if isinstance(backbone, PatchFeatures) else EmbeddingMatrix
    head = kind(pooling(backbone).channels, model.vectors, dimension, prior)
    if isinstance(prior, OpenClipPrior):
        head.linear.weight.data.mul_(_NOISE)
    return head
