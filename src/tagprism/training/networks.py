"""The parts of a network that a recipe asks for: backbone, head, prior and class columns. Trains nothing.

Of an ImageNet classifier only names and definitions of its 1000 classes enter, whichever labels a run keeps unseen: a
label that is itself such a name is known to the backbone before any training, and results are given without those too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from timm.data.imagenet_info import ImageNetInfo

from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import unit_rows
from tagprism.labels.label_space import LabelSpace, UnknownPhrasesError
from tagprism.labels.phrases import variants
from tagprism.network.backbones import Backbone, make_backbone
from tagprism.network.class_columns import ClassColumns, ClassEvidence, ClassifierPrior
from tagprism.network.embedding_matrix import EmbeddingMatrix
from tagprism.network.export import find_places
from tagprism.network.onnx_backbone import OnnxBackbone
from tagprism.network.onnx_models import ONNX
from tagprism.network.open_clip_backbone import ClipBackbone, OpenClipPrior
from tagprism.network.open_clip_models import PREFIX
from tagprism.network.patch_rows import PatchFeatures, PatchRows
from tagprism.training.recipe import ModelTable, Recipe

CLASSES = 1000
_KINDS = Path(__file__).with_name("imagenet_kinds.tsv")
_PER_LEVEL = 0.5  # how much less a kind counts than the kind below it
_LEAST_NOISE = 3e-6  # of the usual first weights and the prior's length: some ten times what float32 rounds away
_NOISE = 0.01  # of the usual first weights: enough to tell the rows apart, too little to change what CLIP ranks


def open_backbone(model: ModelTable, *, weights: str | None = None, backbone: Backbone | None = None) -> Backbone:
    """The backbone of a recipe.

    Args:
        model: `[model]`.
        weights: instead of the recipe's.
        backbone: instead of the recipe's.

    Raises:
        InputError: no such network, or a size of pictures, patches or ImageNet-1k classifier that it has not.
        MachineError: its weights cannot be had.
    """
    backbone = backbone or make_backbone(
        model.backbone, weights or model.weights, size=model.image_size, own_pooling=model.rows_from == "token"
    )
    own = backbone.image_size
    size = (model.image_size, model.image_size) if model.image_size else own
    if isinstance(backbone, ClipBackbone | OnnxBackbone) and size != own:
        raise InputError(
            f"{backbone.name} takes pictures of {own[0]} pixels a side only.",
            where="model.image_size",
            remedy="Leave it out.",
        )
    if isinstance(backbone, OnnxBackbone) and model.weights != "pretrained":
        what = f"{backbone.name} has the weights that are in its files."
        raise InputError(what, where="model.weights", remedy="Leave it out.")
    if model.class_columns:
        if weights is None:
            imagenet_classifier(backbone)
        return ClassEvidence(backbone, find_places(backbone, size), CLASSES)
    return PatchFeatures(backbone, size) if model.rows_from == "patches" else backbone


def make_head(model: ModelTable, backbone: Backbone, dimension: int, prior: torch.nn.Module | None) -> EmbeddingMatrix:
    """The untrained head of a recipe; with CLIP's own vector as prior it begins as plain CLIP.

    On a network in ONNX the first weights change no score by more than rounding does: they only choose which row each
    label's gradient goes to.

    Args:
        model: `[model]`.
        backbone: of the recipe.
        dimension: D, length of a label vector.
        prior: of the recipe.
    """
    kind = PatchRows if isinstance(backbone, PatchFeatures) else EmbeddingMatrix
    head = kind(backbone.pooling.channels, model.vectors, dimension, prior)
    if isinstance(prior, OpenClipPrior):
        head.linear.weight.data.mul_(_LEAST_NOISE * prior.weight if isinstance(backbone, OnnxBackbone) else _NOISE)
    return head


def class_names() -> list[str]:
    """First name of each ImageNet-1k class, in the classifier's order."""
    return [names.partition(",")[0] for names in _descriptions(detailed=False)]


def class_definitions() -> list[str]:
    """`name, other name: definition` of each ImageNet-1k class, from WordNet."""
    return _descriptions(detailed=True)


def class_kinds() -> list[list[str]]:
    """All names of each ImageNet-1k class, and those of what it is a kind of, from WordNet."""
    names = (one.split(", ") for one in _descriptions(detailed=False))
    return [[*own, *(kinds[0] if kinds else ())] for own, kinds in zip(names, _kinds(), strict=True)]


def _kinds() -> list[list[list[str]]]:
    """Of each ImageNet-1k class the names of what it is a kind of, level by level, the nearest first."""
    lines = [line for line in _KINDS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [[level.split(", ") for level in line.split("\t") if level] for line in lines]


def class_vectors(space: LabelSpace) -> Float32[ndarray, "K D"]:
    """Unit vectors of the ImageNet-1k classes: name, definition, and what they are a kind of, the nearest kind most.

    Zeros where the space knows none of these words.
    """
    names, definitions, kinds = class_names(), class_definitions(), _kinds()
    phrases = list(dict.fromkeys([*names, *definitions, *(word for one in kinds for level in one for word in level)]))
    kept, found = embed_known(space, phrases)
    known = dict(zip((phrases[number] for number in kept), found, strict=True))

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
            "has no ImageNet-1k classifier, which the prior, the class columns and ConSE need.",
            where=backbone.name,
            remedy="Choose pretrained ImageNet-1k weights (of a transformer with a class token also model.rows_from = "
            '"token"), or set model.prior = 0 and model.class_columns = 0.',
        )
    return backbone.classifier


def check_classifier(model: ModelTable, backbone: Backbone) -> None:
    """Refuse, before anything long begins, a recipe that wants more of a backbone than it knows.

    Raises:
        InputError: class columns or a prior made of class vectors are wanted, and there is no ImageNet-1k classifier.
    """
    if model.class_columns:
        imagenet_classifier(backbone)
    if model.prior and not isinstance(backbone.pooling, ClipBackbone | OnnxBackbone):
        imagenet_classifier(backbone.pooling)


def embed_known(space: LabelSpace, phrases: Sequence[str]) -> tuple[list[int], Float32[ndarray, "K D"]]:
    """Which of the phrases the space knows, by number, and their vectors."""
    try:
        unknown: frozenset[str] = frozenset()
        space.embed(phrases)
    except UnknownPhrasesError as error:
        unknown = frozenset(error.nearest)
    kept = [number for number, phrase in enumerate(phrases) if phrase not in unknown]
    return kept, space.embed([phrases[number] for number in kept]).vectors


def make_prior(recipe: Recipe, backbone: Backbone, space: LabelSpace) -> ClassifierPrior | OpenClipPrior | None:
    """The prior of a recipe; None where it wants none.

    Raises:
        InputError: the backbone has no ImageNet-1k classifier; the label space is without a CLIP backbone's text tower.
    """
    model = recipe.model
    if not model.prior:
        return None
    if isinstance(backbone, ClipBackbone | OnnxBackbone):
        prior = empty_prior(model, backbone, 0, space.dimension)
        assert isinstance(prior, OpenClipPrior)
        return prior.fill(backbone.projection, torch.from_numpy(space.lift(_own_parts(recipe, backbone))))
    classifier = imagenet_classifier(backbone)
    kept, vectors = embed_known(space, class_definitions())
    prior = empty_prior(model, backbone, *vectors.shape)
    assert isinstance(prior, ClassifierPrior)
    return prior.fill(classifier, kept, torch.tensor(vectors))


def empty_prior(
    model: ModelTable, backbone: Backbone, classes: int, dimension: int
) -> ClassifierPrior | OpenClipPrior | None:
    """The prior of a recipe without its numbers, to load them into; None where it wants none."""
    if not model.prior:
        return None
    if isinstance(backbone, ClipBackbone | OnnxBackbone):
        return OpenClipPrior(backbone.features, backbone.embedding, dimension, weight=model.prior)
    return ClassifierPrior(backbone.channels, classes, dimension, weight=model.prior)


def _own_parts(recipe: Recipe, backbone: ClipBackbone | OnnxBackbone) -> list[int]:
    """Numbers of the label space's parts that are the text tower of the recipe's CLIP backbone."""
    parts = [at for at, part in enumerate(recipe.labels.parts) if part.encoder == backbone.name]
    if not parts:
        raise InputError(
            "starts rows from CLIP's own vector, which needs its text tower in the label space.",
            where="model.prior",
            remedy=f"Name the same `{PREFIX}...` or `{ONNX}...` in model.backbone and as an encoder of labels.parts, "
            "or set it to 0.",
        )
    return parts


def make_class_columns(
    model: ModelTable,
    backbone: Backbone,
    space: LabelSpace,
    seen_vectors: Float32[ndarray, "S D"],
    pictures: Float32[ndarray, "n F"] | None,
) -> ClassColumns | None:
    """The class columns of a recipe; None where it wants none.

    Args:
        model, backbone, space, seen_vectors: of the run.
        pictures: features of the training pictures, where they are at hand.

    Raises:
        InputError: the backbone has no ImageNet-1k classifier.
    """
    if not model.class_columns:
        return None
    imagenet_classifier(backbone)
    columns = empty_class_columns(model, space.dimension, len(seen_vectors))
    assert columns is not None
    return columns.fill(class_vectors(space), seen_vectors, pictures if model.class_columns_by_share else None)


def empty_class_columns(model: ModelTable, dimension: int, seen: int) -> ClassColumns | None:
    """The class columns of a recipe without their numbers, to load them into; None where it wants none."""
    if not model.class_columns:
        return None
    return ClassColumns(
        CLASSES,
        dimension,
        min(model.class_columns_rank, CLASSES),
        seen,
        weight=model.class_columns,
        trained=model.class_columns_trained,
        sharpness=model.class_columns_sharpness,
        power=model.class_columns_power,
    )


def _descriptions(*, detailed: bool) -> list[str]:
    info = ImageNetInfo()
    return [info.index_to_description(index, detailed=detailed) for index in range(CLASSES)]
