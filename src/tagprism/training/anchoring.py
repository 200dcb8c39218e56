"""What a backbone already knows, in a label space: its ImageNet classifier, or CLIP's own vector. Trains nothing.

Of a classifier only names and definitions of its 1000 classes enter, whichever labels a run keeps unseen: a label that
is itself such a name is known to the backbone before any training, and results are given without those labels too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from timm.data.imagenet_info import ImageNetInfo

from tagprism.clip_models import PREFIX
from tagprism.errors import InputError
from tagprism.labels.encoder_card import unit_rows
from tagprism.labels.label_space import LabelSpace, UnknownPhrasesError
from tagprism.labels.phrases import variants
from tagprism.model.anchor import Anchor, ClassifierAnchor, ProjectedAnchor
from tagprism.model.backbones import Backbone
from tagprism.model.classes import ClassColumns
from tagprism.model.clip_backbone import ClipBackbone
from tagprism.model.patches import pooling
from tagprism.model.sharp_classes import SharpColumns
from tagprism.training.recipe import ModelTable, Recipe

CLASSES = 1000
_KINDS = Path(__file__).with_name("imagenet_kinds.tsv")
_PER_LEVEL = 0.5  # how much less a kind counts than the kind below it


def class_names() -> list[str]:
    """First name of each ImageNet-1k class, in the classifier's order."""
    return [names.partition(",")[0] for names in _descriptions(detailed=False)]


def class_definitions() -> list[str]:
    """`name, other name: definition` of each ImageNet-1k class, from WordNet."""
    return _descriptions(detailed=True)


def class_vectors(space: LabelSpace) -> Float32[ndarray, "K D"]:
    """Unit vectors of the ImageNet-1k classes: name, definition, and what they are a kind of, the nearest kind most.

    Zeros where the space knows none of these words.
    """
    names, definitions = class_names(), class_definitions()
    lines = [line for line in _KINDS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    kinds = [[level.split(", ") for level in line.split("\t") if level] for line in lines]
    phrases = list(dict.fromkeys([*names, *definitions, *(word for one in kinds for level in one for word in level)]))
    kept, found = embed_known(space, phrases)
    known = dict(zip((phrases[place] for place in kept), found, strict=True))

    def mean(words: Sequence[str]) -> Float32[ndarray, " D"]:
        vectors: Float32[ndarray, " D"] = sum((known[word] for word in words if word in known), np.zeros_like(found[0]))
        return vectors / max(len(words), 1)

    own = np.stack([mean([name]) + mean([definition]) for name, definition in zip(names, definitions, strict=True)])
    above = np.stack([sum(_PER_LEVEL**at * mean(level) for at, level in enumerate(one)) for one in kinds])
    return unit_rows(own + unit_rows(above))


def imagenet_labels(labels: Iterable[str]) -> list[str]:
    """Those of some labels that are, in some spelling, one of the names of an ImageNet-1k class."""
    names = (name for names in _descriptions(detailed=False) for name in names.split(","))
    known = {spelling for name in names for spelling in variants(name.strip())}
    return [label for label in labels if variants(label) & known]


def has_imagenet_classifier(backbone: Backbone) -> bool:
    """Whether the backbone's classifier, if any, knows the ImageNet-1k classes."""
    return backbone.classifier is not None and backbone.classifier.out_features == CLASSES


def imagenet_classifier(backbone: Backbone) -> torch.nn.Linear:
    """The classifier of a backbone.

    Raises:
        InputError: it has none, or one of other classes.
    """
    if backbone.classifier is None or not has_imagenet_classifier(backbone):
        raise InputError(
            "has no ImageNet-1k classifier, which the anchor and ConSE need.",
            where=backbone.name,
            remedy="Choose pretrained ImageNet-1k weights, or set model.anchor = 0 and model.conse = 0.",
        )
    return backbone.classifier


def check_classifier(model: ModelTable, backbone: Backbone) -> None:
    """Refuse, before anything long begins, a recipe that wants more of a backbone than it knows.

    Raises:
        InputError: ConSE or an anchor in class vectors, and no ImageNet-1k classifier.
    """
    if model.conse:
        imagenet_classifier(backbone)
    if model.anchor and not isinstance(pooling(backbone), ClipBackbone):
        imagenet_classifier(pooling(backbone))


def embed_known(space: LabelSpace, phrases: Sequence[str]) -> tuple[list[int], Float32[ndarray, "K D"]]:
    """Vectors of those phrases that the space knows, and their places."""
    try:
        unknown: frozenset[str] = frozenset()
        space.embed(phrases)
    except UnknownPhrasesError as error:
        unknown = frozenset(error.nearest)
    kept = [place for place, phrase in enumerate(phrases) if phrase not in unknown]
    return kept, space.embed([phrases[place] for place in kept]).vectors


def make_anchor(recipe: Recipe, backbone: Backbone, space: LabelSpace) -> Anchor | None:
    """The anchor of a recipe; None where it wants none.

    Raises:
        InputError: the backbone has no ImageNet-1k classifier; the label space is without a CLIP backbone's text tower.
    """
    model = recipe.model
    if not model.anchor:
        return None
    if isinstance(backbone, ClipBackbone):
        anchor = empty_anchor(model, backbone, 0, space.dimension)
        assert isinstance(anchor, ProjectedAnchor)
        return anchor.fill(backbone.projection, torch.from_numpy(space.lift(_own_parts(recipe, backbone))))
    classifier = imagenet_classifier(backbone)
    kept, vectors = embed_known(space, class_definitions())
    anchor = empty_anchor(model, backbone, *vectors.shape)
    assert isinstance(anchor, ClassifierAnchor)
    return anchor.fill(classifier, kept, torch.tensor(vectors))


def empty_anchor(model: ModelTable, backbone: Backbone, classes: int, dimension: int) -> Anchor | None:
    """The anchor of a recipe without its numbers, to load them into; None where it wants none."""
    if not model.anchor:
        return None
    if isinstance(backbone, ClipBackbone):
        return ProjectedAnchor(backbone.features, backbone.embedding, dimension, weight=model.anchor)
    return ClassifierAnchor(
        backbone.channels, classes, dimension, weight=model.anchor, temperature=model.anchor_temperature
    )


def _own_parts(recipe: Recipe, backbone: ClipBackbone) -> list[int]:
    """Numbers of the label space's parts that are the text tower of the recipe's CLIP backbone."""
    parts = [at for at, part in enumerate(recipe.labels.parts) if part.encoder == backbone.name]
    if not parts:
        raise InputError(
            "anchors rows in CLIP's own vector, which needs its text tower in the label space.",
            where="model.anchor",
            remedy=f"Name the same `{PREFIX}...` in model.backbone and as an encoder of labels.parts, or set it to 0.",
        )
    return parts


def make_class_columns(
    model: ModelTable,
    backbone: Backbone,
    space: LabelSpace,
    seen_vectors: Float32[ndarray, "S D"],
    pictures: Float32[ndarray, "n F"] | None,
) -> ClassColumns | SharpColumns | None:
    """The class columns of a recipe; None where it wants none.

    Args:
        model, backbone, space, seen_vectors: of the run.
        pictures: features of the training pictures, where they are at hand.

    Raises:
        InputError: the backbone has no ImageNet-1k classifier.
    """
    if not model.conse:
        return None
    classifier = imagenet_classifier(backbone)
    kept, vectors = embed_known(space, class_names())
    columns = empty_class_columns(model, backbone.channels, len(kept), vectors.shape[1], len(seen_vectors))
    if isinstance(columns, SharpColumns):
        return columns.fill(class_vectors(space), seen_vectors, pictures)
    assert columns is not None
    return columns.fill(classifier, kept, torch.tensor(vectors), torch.tensor(seen_vectors))


def empty_class_columns(
    model: ModelTable, features: int, classes: int, dimension: int, seen: int
) -> ClassColumns | SharpColumns | None:
    """The class columns of a recipe without their numbers, to load them into; None where it wants none."""
    if not model.conse:
        return None
    if model.conse_sharp:
        return SharpColumns(CLASSES, dimension, min(model.conse_rank, CLASSES), seen, weight=model.conse)
    rank = min(model.conse_rank, classes, dimension)
    return ClassColumns(features, classes, dimension, rank, seen, weight=model.conse)


def _descriptions(*, detailed: bool) -> list[str]:
    info = ImageNetInfo()
    return [info.index_to_description(index, detailed=detailed) for index in range(CLASSES)]
