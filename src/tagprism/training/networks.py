"""The parts of a network that a recipe asks for: backbone and head. Trains nothing."""

from __future__ import annotations

import copy
from typing import TypeAlias

import torch

from tagprism.clip_models import PREFIX
from tagprism.errors import InputError
from tagprism.labels.label_space import LabelSpace
from tagprism.model.anchor import Anchor
from tagprism.model.backbones import Backbone
from tagprism.model.clip_backbone import ClipBackbone
from tagprism.model.embedding_matrix import EmbeddingMatrix
from tagprism.model.patches import PatchFeatures, PatchRows
from tagprism.training.recipe import ModelTable, Recipe

AnyBackbone: TypeAlias = Backbone | ClipBackbone | PatchFeatures


def make_backbone(model: ModelTable, *, weights: str | None = None) -> AnyBackbone:
    """The backbone of a recipe.

    Args:
        model: `[model]`.
        weights: in place of the recipe's.

    Raises:
        InputError: no such network, or a size of pictures or patches that it has not.
        MachineError: its weights cannot be had.
    """
    made = ClipBackbone if model.backbone.startswith(PREFIX) else Backbone
    backbone = made(model.backbone, weights or model.weights)
    size = image_size(model, backbone)
    return PatchFeatures(backbone, size) if model.rows_from == "patches" else backbone


def pooling(backbone: AnyBackbone) -> Backbone | ClipBackbone:
    """The backbone itself, where its patches are given too."""
    return backbone.pooled if isinstance(backbone, PatchFeatures) else backbone


def image_size(model: ModelTable, backbone: Backbone | ClipBackbone) -> tuple[int, int]:
    """(H, W) of the pictures for a backbone.

    Raises:
        InputError: a CLIP model in another size than its own, in which its positions have no meaning.
    """
    wanted = (model.image_size, model.image_size) if model.image_size else backbone.image_size
    if isinstance(backbone, ClipBackbone) and wanted != backbone.image_size:
        raise InputError(
            f"{backbone.name} takes pictures of {backbone.image_size[0]} pixels a side.",
            where="model.image_size",
            remedy="Leave it out.",
        )
    return wanted


def make_head(recipe: Recipe, backbone: AnyBackbone, dimension: int, space: LabelSpace | None) -> EmbeddingMatrix:
    """The head of a recipe, untrained.

    Args:
        recipe: all settings.
        backbone: of the recipe.
        dimension: D, length of a label vector.
        space: the fitted label space; None where trained weights will be loaded over everything.

    Raises:
        InputError: an anchor of a backbone or a label space that allows none.
    """
    its, model = pooling(backbone), recipe.model
    anchor = None
    if model.anchor:
        parts = anchor_parts(recipe)
        if not isinstance(its, ClipBackbone) or not parts:
            raise InputError(
                "anchors rows in CLIP's own vector, so it needs a CLIP backbone, and its text tower in the label space.",
                where="model.anchor",
                remedy=f"Name the same `{PREFIX}...` in model.backbone and in labels.parts, or set model.anchor = 0.",
            )
        lift = torch.zeros(its.embedding, dimension) if space is None else torch.from_numpy(space.lift(parts))
        anchor = Anchor(copy.deepcopy(its.projection), lift, model.anchor)
    head = PatchRows if isinstance(backbone, PatchFeatures) else EmbeddingMatrix
    return head(its.features, model.vectors, dimension, anchor)


def anchor_parts(recipe: Recipe) -> list[int]:
    """Numbers of the label space's parts that are the backbone's own text tower."""
    return [at for at, part in enumerate(recipe.labels.parts) if part.encoder == recipe.model.backbone]
