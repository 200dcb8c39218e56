"""Everything a run needs before its first step: label vectors, pictures' parts, targets, features. Trains nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from tagprism.bundle.hub import HUB
from tagprism.bundle.referring import foreign_encoder, open_foreign
from tagprism.counted import counted
from tagprism.datasets.compact import Picked
from tagprism.datasets.splits import Split, hold_out_validation
from tagprism.datasets.table import ImageTable, Targets
from tagprism.errors import InputError, PictureError
from tagprism.images.picture_file import PictureFile
from tagprism.images.preprocess import Preprocess
from tagprism.images.stream import digest_pictures
from tagprism.labels.descriptions import Descriptions, read_descriptions
from tagprism.labels.encoders.encoder import CachedEncoder, LabelEncoder, load_encoder
from tagprism.labels.label_space import LabelSpace
from tagprism.labels.space_part import SpacePart
from tagprism.labels.vocabulary import Role, Vocabulary
from tagprism.network.backbones import Backbone
from tagprism.network.encoder_sources import encoder_folder
from tagprism.network.onnx_backbone import OnnxBackbone
from tagprism.network.onnx_models import ONNX
from tagprism.progress import Progress, silent
from tagprism.training.custom_parts import CustomParts
from tagprism.training.features import compute_features
from tagprism.training.networks import check_classifier, open_backbone
from tagprism.training.recipe import LabelTable, Recipe

_WORDS_AT_ONCE = 32
_AT_ONCE = 4096  # pictures whose targets are made together
_LEAST_PAIRS = 20  # positive pairs of unseen labels below which a calibration would be a guess
_LARGEST_FEATURES = 16 << 30  # bytes of one part of the pictures: patches are many


@dataclass(frozen=True)
class Part:
    """Pictures of one part of a split, those that can be used.

    Args:
        keys: n names, made when asked for like paths and targets.
        files: n paths.
        digests: n SHA-256 of the bytes.
        targets: (n, L) over the seen labels.
        features: (n, C), or None in end-to-end training.
    """

    keys: Sequence[str]
    files: Sequence[PictureFile]
    digests: tuple[str, ...]
    targets: Targets
    features: Float32[np.ndarray, "n C"] | None

    def with_negatives(self) -> Int64[np.ndarray, " m"]:
        """Pictures with an explicit negative; of the others only positives are known, and all labels would count."""
        starts = range(0, len(self.keys), _AT_ONCE)
        return np.flatnonzero(np.concatenate([(self.targets[at : at + _AT_ONCE] == 0).any(axis=1) for at in starts]))


@dataclass(frozen=True)
class Prepared:
    """What training starts from."""

    recipe: Recipe
    split: Split
    encoders: Mapping[str, Path]
    space: LabelSpace
    vocabulary: Vocabulary
    backbone: Backbone
    preprocess: Preprocess
    train: Part
    validation: Part
    skipped: tuple[tuple[str, PictureError], ...]
    custom: CustomParts | None = None

    @property
    def seen_vectors(self) -> Float32[np.ndarray, "L D"]:
        """Vectors of the seen labels, in the order of the targets' columns."""
        return self.vocabulary.select(self.split.seen).vectors

    def seen_scored(self) -> tuple[Tensor, Tensor | None]:
        """What scores the seen labels: vectors (V, D), and (L, K) which of them each label owns, where several."""
        vectors, groups = self.vocabulary.scored(self.split.seen)
        return torch.tensor(vectors), None if groups is None else torch.from_numpy(groups)

    @property
    def digest(self) -> str:
        """SHA-256 over the usable pictures' bytes, their order and the label vectors: runs that agree do the same."""
        digest = hashlib.sha256(self.seen_vectors.tobytes())
        for one in (*self.train.digests, "validation", *self.validation.digests):
            digest.update(one.encode())
        return digest.hexdigest()

    def reason_not_to_calibrate(self) -> str | None:
        """Why a run gets no calibration, as a sentence; None when it gets one."""
        folds = self.recipe.calibration.folds
        if not folds:
            return "The recipe has calibration.folds = 0."
        if self.vocabulary.several:
            return "Labels have several vectors (labels.sentences is max), whose scores have other statistics."
        if self.custom and not self.custom.trains_on_fewer_labels:
            return "The loss or head was given ready-made: it cannot be made anew for a part of the labels."
        if self.train.features is None:
            return "End-to-end training: playing unseen labels would take a whole training per fold."
        if self.validation.features is None:
            return (
                "There are no validation pictures. `training.validation` or `tagprism data split --val` keeps some; "
                "`tagprism models calibrate` fits them afterwards."
            )
        seen = len(self.split.seen)
        if seen < 2 * folds or seen - seen // folds < 3:
            return f"{seen} seen labels are too few for {folds} folds."
        used = self.validation.with_negatives()
        if not len(used):
            return "No validation picture has an explicit negative: only positives are known."
        if (self.validation.targets[used] == 1).sum() < _LEAST_PAIRS:
            return f"The validation pictures have fewer than {_LEAST_PAIRS} positives."
        return None


def prepare(
    recipe: Recipe,
    table: ImageTable,
    split: Split,
    progress: Progress = silent,
    custom: CustomParts | None = None,
) -> Prepared:
    """Embed the labels, carve out validation, read targets, and compute features if the backbone is frozen.

    Args:
        recipe: all settings.
        table: the pictures.
        split: which labels are seen, which pictures train.
        progress: told how far it is.
        custom: a loss, head or backbone in place of the recipe's.

    Raises:
        InputError: labels without vectors, a split without training positives, unknown labels without a policy, a
            custom part that does not fit.
    """
    if len(split.seen) < 2:
        raise InputError(f"has {counted(len(split.seen), 'seen label')}; training ranks at least 2.", where=split.name)
    _fetch_foreign(recipe, progress)
    space, vocabulary, encoders = embed_labels(recipe.labels, recipe.seed, split, progress)
    if not split.val and recipe.training.validation:
        split = hold_out_validation(split, recipe.training.validation, recipe.seed)
    if recipe.training.choose == "best" and not split.val:
        raise InputError(
            "the best weights cannot be chosen without validation pictures.",
            where="training.choose",
            remedy='Set training.validation above 0, or training.choose = "last".',
        )
    torch.manual_seed(recipe.seed)  # a random backbone must be the same one after a resume
    if custom is not None and custom.head is not None and recipe.model.prior:
        raise InputError("a custom head has no prior.", where="model.prior", remedy="Set model.prior = 0.")
    if custom is not None:
        custom.check_loss(torch.tensor(vocabulary.select(split.seen).vectors), recipe.model.vectors)
    backbone = open_backbone(recipe.model, backbone=custom.open_backbone(recipe.model) if custom else None)
    if recipe.training.end_to_end and isinstance(backbone, OnnxBackbone):
        what = f"{backbone.name} is a network in ONNX, which is used as it is."
        raise InputError(what, where="training.end_to_end", remedy="Set it to false, or name an open_clip: backbone.")
    check_classifier(recipe.model, backbone)
    preprocess = make_preprocess(recipe, backbone)
    frozen = backbone if not recipe.training.end_to_end else None
    train, skipped = _part(table, split.train, split.seen, frozen, preprocess, progress)
    validation, more = _part(table, split.val, split.seen, frozen, preprocess, progress)
    _check_targets(train.targets, recipe)
    return Prepared(
        recipe, split, encoders, space, vocabulary, backbone, preprocess, train, validation, (*skipped, *more), custom
    )


def _fetch_foreign(recipe: Recipe, progress: Progress) -> None:
    """Fetch the public models that a recipe names, where they are not on this machine, before anything else is done."""
    backbones = [recipe.model.backbone] if isinstance(recipe.model.backbone, str) else recipe.model.backbone
    for name in dict.fromkeys((*backbones, *(part.encoder for part in recipe.labels.parts))):
        if name.startswith(f"{ONNX}{HUB}"):
            open_foreign(name.removeprefix(ONNX), progress=progress)


def embed_labels(
    labels: LabelTable, seed: int, split: Split, progress: Progress = silent
) -> tuple[LabelSpace, Vocabulary, dict[str, Path]]:
    """Fit the label space on the seen labels and embed seen and unseen ones.

    Returns:
        The space, the vocabulary, and the folder of each encoder by the encoder's id.

    Raises:
        UnknownPhrasesError: labels that no encoder knows, with the nearest known words.
    """
    names = (*split.seen, *split.unseen)
    described = read_descriptions(labels.descriptions, names) if labels.descriptions else None
    folders = {part.encoder: encoder_folder(part.encoder) for part in labels.parts}
    encoders: dict[str, LabelEncoder] = {name: _open_encoder(folder) for name, folder in folders.items()}
    for part in labels.parts:
        _read_words(part, encoders[part.encoder], names, progress)
    space = LabelSpace.fit(
        labels.parts,
        encoders,
        split.seen,
        unseen=split.unseen,
        descriptions=described,
        reduce=labels.reduce,
        seed=seed,
    )
    vectors = space.embed(names, described).vectors
    several = _apart(space, names, described) if described and labels.sentences == "max" else {}
    seen: Role = "seen"
    unseen: Role = "unseen"
    roles = (seen,) * len(split.seen) + (unseen,) * len(split.unseen)
    ids = {encoders[name].id: folder for name, folder in folders.items()}
    return space, Vocabulary(names, vectors, roles, several=several), ids


def _apart(space: LabelSpace, names: tuple[str, ...], described: Descriptions) -> dict[str, Float32[np.ndarray, "_ D"]]:
    """A vector for each sentence of the labels that have several."""
    found = space.embed(names, described, apart=True)
    own = {name: found.vectors[found.owners == row] for row, name in enumerate(names)}
    return {name: its for name, its in own.items() if len(its) > 1}


def _read_words(part: SpacePart, encoder: LabelEncoder, names: Sequence[str], progress: Progress) -> None:
    """Let a text network that keeps its vectors on disk read the labels, some seconds of work at a time."""
    if not isinstance(encoder, CachedEncoder):
        return
    own = part.model_copy(update={"encoder": encoder.id, "centre": False})
    space = LabelSpace([own], {encoder.id: encoder}, [np.zeros(encoder.dimension, np.float32)], None)
    with progress("reading words", len(names)) as advance:
        for start in range(0, len(names), _WORDS_AT_ONCE):
            advance(len(space.embed(names[start : start + _WORDS_AT_ONCE]).vectors))


_open_encoder = cache(partial(load_encoder, cached=True, foreign=foreign_encoder))  # once for all parts and folds


def make_preprocess(recipe: Recipe, backbone: Backbone) -> Preprocess:
    """How pictures are prepared for a backbone under a recipe."""
    size = recipe.model.image_size
    height, width = (size, size) if size else backbone.image_size
    plain = not recipe.model.normalise_pixels
    own = backbone.preprocess.model_dump() if isinstance(backbone, OnnxBackbone) else {}
    return Preprocess.model_validate(
        own
        | {
            "height": height,
            "width": width,
            "resize": recipe.model.resize or backbone.resize,
            "pad_color": backbone.pad_color,
            "trim": recipe.model.trim,
            "colour": recipe.images.colour,
            "interpolation": "bilinear" if backbone.interpolation == "bilinear" else "bicubic",
            "mean": (0.0, 0.0, 0.0) if plain else backbone.mean,
            "std": (1.0, 1.0, 1.0) if plain else backbone.std,
        }
    )


def _part(
    table: ImageTable,
    keys: Sequence[str],
    seen: Sequence[str],
    frozen: Backbone | None,
    preprocess: Preprocess,
    progress: Progress,
) -> tuple[Part, list[tuple[str, PictureError]]]:
    if not keys:
        return Part((), (), (), Targets(table, (), seen), None), []
    chosen = table.rows_of(keys)
    files = Picked(table.files, chosen)
    if frozen is not None:
        _check_size(len(files), frozen.features)
        found = compute_features(files, frozen, preprocess, progress)
        rows, digests, features, errors = found.rows, found.digests, found.vectors, list(found.errors)
    else:
        read, errors = digest_pictures(files, progress, keep=True)
        rows, digests, features = np.asarray(list(read), np.int64), tuple(read.values()), None
    if not len(rows):
        raise InputError(f"none of {counted(len(keys), 'picture')} can be read. The first: {errors[0][1]}")
    part = Part(
        Picked(keys, rows),
        Picked(table.files, chosen[rows]),
        digests,
        Targets(table, chosen[rows], seen),
        features,
    )
    return part, [(keys[int(row)], error) for row, error in errors]


def _check_size(pictures: int, numbers: int) -> None:
    if (size := 4 * pictures * numbers) > _LARGEST_FEATURES:
        raise InputError(
            f"the features of {pictures:,} pictures would take {size / 2**30:.0f} GB of memory.",
            where="model.rows_from",
            remedy='Set model.rows_from = "pooled", or training.end_to_end = true.',
        )


def _check_targets(targets: Targets, recipe: Recipe) -> None:
    if not targets.holds(1):
        raise InputError("no training picture has any of the seen labels.", remedy="Check the split and the labels.")
    if recipe.loss.unlabelled == "ignore" and not targets.holds(0):
        raise InputError(
            "the data have no explicit negatives, and `loss.unlabelled` is `ignore`: there is nothing to rank against.",
            remedy='Set loss.unlabelled = "negative", or give negatives in labels.json.',
        )
