"""From recipe, pictures and split to a finished RUN: recipe, checkpoints, weights and bundle in one folder."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from safetensors.torch import save_file
from torch import nn

from tagprism.bundle.config import CALIBRATION, MODEL, VOCABULARY
from tagprism.bundle.write import Content, class_affinities, made_with, text_files, trained_on, write_bundle
from tagprism.datasets.registry import check_given
from tagprism.datasets.splits import RUN_SPLIT, Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import DoneAlreadyError, InputError
from tagprism.files import replaced_whole, write_json, write_text
from tagprism.labels.encoders.encoder import read_card
from tagprism.network.embedding_matrix import EmbeddingMatrix, Network
from tagprism.network.export import PlacedNetwork, export_head, export_onnx, find_places
from tagprism.network.onnx_backbone import OnnxBackbone
from tagprism.progress import Progress, silent
from tagprism.tagging.calibration import Calibration
from tagprism.training.batches import ALONE, Processes
from tagprism.training.calibrate import calibrate
from tagprism.training.custom_parts import IDENTITY, CustomParts
from tagprism.training.further_words import with_words
from tagprism.training.prepare import Prepared, prepare
from tagprism.training.recipe import Recipe, load_recipe, recipe_given, recipe_toml

if TYPE_CHECKING:
    from tagprism.training.fit import Fitted
    from tagprism.training.module import Speed

RECIPE, WEIGHTS, CHECKPOINTS, SKIPPED = "recipe.toml", "weights.safetensors", "checkpoints", "skipped.json"
_CALIBRATION_FOLDS = "calibration"
PICTURES, _REMEMBERED = "pictures.json", 256
"""Where some of the training pictures are on this machine: `export` checks with them. Not part of the bundle."""


@dataclass(frozen=True)
class Run(os.PathLike[str]):
    """A finished RUN; a path, so that `load`, `evaluate` and `compare` take it as they take its folder.

    Args:
        path: its folder.
        skipped: pictures that could not be used: key -> (code, message).
        speed: of this call.
        validation_mAP: over the seen labels, of the weights that were kept, in percent; None without validation.
        no_calibration: why no probabilities were fitted, as a sentence; None where they were.
    """

    path: Path
    skipped: dict[str, tuple[str, str]]
    speed: Speed
    validation_mAP: float | None  # noqa: N815
    no_calibration: str | None = None

    def __fspath__(self) -> str:
        """The folder."""
        return str(self.path)

    @property
    def bundle(self) -> Path:
        """Folder of its bundle, for `tagprism.load`."""
        return self.path / "bundle"


def train(
    recipe: Recipe | str | Path | None,
    table: ImageTable,
    split: Split,
    out: str | Path,
    *,
    loss: Callable[..., Any] | None = None,
    head: Callable[..., Any] | None = None,
    backbone: nn.Module | None = None,
    vocabulary: Mapping[str, Sequence[str]] | None = None,
    limit: int | None = None,
    progress: Progress = silent,
    processes: Processes = ALONE,
) -> Run:
    """Train a model and write it as a RUN; an interrupted run of the same recipe, data and parts is continued.

    Args:
        recipe: all settings, or the path of a TOML file with them; None for the defaults.
        table: the pictures.
        split: which labels are seen, which pictures train.
        out: folder of the RUN.
        loss: instead of `SemanticDiversityLoss`: any callable from matrices (B, M, D) and targets (B, L), which are 1,
            0 or -1, to a scalar, the mean over the images. A class, or a `functools.partial` of one, is called with the
            (L, D) vectors of the seen labels to make it. The recipe's `[loss]` is then not used.
        head: instead of `EmbeddingMatrix`: a module from features (B, C) to matrices (B, M, D), or a class or function
            that makes one of C, M and D.
        backbone: instead of the recipe's: a module from pixels (B, 3, H, W) to feature vectors (B, C). Attributes
            `image_size`, `mean` and `std` say how pixels are prepared.
        vocabulary: further words that the bundle knows, each with its other spellings; they are not trained on.
        limit: train on the first so many pictures only (a dry run).
        progress: told how far it is.
        processes: that train together, each calling this; the main one alone writes.

    Modules are copied, and stay as they are. The run records the name of each part and the digest of its weights, and
    a run is only continued with the same. So make modules with random weights after `torch.manual_seed`.

    Returns:
        The finished run.

    Raises:
        InputError: something given cannot be used, a part has another form, or `out` holds another run.
        DoneAlreadyError: the run is finished already.

    Example:
        >>> labels = [["red", "blue"], ["dog", "cat", "car"]]
        >>> pictures = [(f"photos/{n}.jpg", [labels[0][n % 2], labels[1][n % 3]]) for n in range(24)]
        >>> table = ImageTable.from_labels(pictures)
        >>> split = Split(seen=["red", "blue", "dog", "cat"], unseen=["car"], train=table.keys[:16],
        ...               test=table.keys[16:])
        >>> recipe = Recipe(name="small", model={"image_size": 64}, training={"epochs": 1, "validation": 0})
        >>> run = train(recipe, table, split, "run")
        >>> run.bundle.name
        'bundle'
    """
    check_given(table, split)
    out, own = Path(out), (loss, head, backbone)
    custom = CustomParts(*own) if any(part is not None for part in own) else None
    if recipe is None:
        recipe = Recipe(name=out.name)
    elif not isinstance(recipe, Recipe):
        recipe = recipe_given(recipe)
    if limit is not None:
        split = replace(split, name=f"{split.name}, first {limit}", train=split.train[:limit], val=split.val[:limit])
    with processes.main_first("prepared"):
        if processes.is_main:
            _claim(out, recipe, table, split, custom)
            if split.protocol is None:  # others are known by the data set
                write_json(out / RUN_SPLIT, split.to_json())
        prepared = prepare(recipe, table, split, progress, custom)
        if recipe.training.end_to_end:
            from tagprism.training.end_to_end import check_batch_norm  # which loads torchvision

            check_batch_norm(prepared.backbone, processes)
        own_network = head is not None or backbone is not None
        if own_network and processes.is_main and not (out / CHECKPOINTS).is_dir():
            _check_export(prepared)
    processes.agree("pictures", prepared.digest, remedy="All machines must see the same files.")
    from tagprism.training.fit import fit  # which loads Lightning: what was refused until here needs none

    fitted = fit(prepared, out / CHECKPOINTS, progress, processes)
    if not processes.is_main:
        return Run(out, {}, fitted.speed, fitted.validation_mAP)
    skipped = {key: (error.code, error.message) for key, error in prepared.skipped} | fitted.failed
    skipped |= {one.key: (one.code, one.message) for one in table.skipped}
    write_json(out / SKIPPED, skipped)
    step = math.ceil(len(prepared.train.files) / _REMEMBERED)
    write_json(out / PICTURES, [os.fspath(file.absolute()) for file in prepared.train.files[::step]])
    with replaced_whole(out / WEIGHTS) as beside:
        save_file(fitted.network.state_dict(), beside)
    if vocabulary:
        prepared = replace(prepared, vocabulary=with_words(prepared.vocabulary, prepared.space, vocabulary))
    reason = prepared.reason_not_to_calibrate()
    calibration = None if reason else calibrate(prepared, fitted.network, out / _CALIBRATION_FOLDS, progress)
    with progress("writing the bundle", 1) as advance:
        origin = provenance(recipe, table, prepared) | {"no_calibration": reason}
        _write_bundle(out / "bundle", prepared, fitted, calibration, origin)
        advance(1)
    return Run(out, skipped, fitted.speed, fitted.validation_mAP, reason)


def provenance(recipe: Recipe, table: ImageTable, prepared: Prepared) -> dict[str, Any]:
    """What a result must say about its origin."""
    custom = {"custom": prepared.custom.identity} if prepared.custom else {}
    return {
        **made_with(),
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "data": table.digest,
        "data_kind": table.kind.partition(":")[0],
        "split": prepared.split.name,
        "split_digest": prepared.split.digest,
        "vocabulary": prepared.vocabulary.digest,
        "backbone_weights": prepared.backbone.weights_digest(),
        "training_images": len(prepared.train.keys),
        "validation_images": len(prepared.validation.keys),
        **custom,
    }


def _write_bundle(
    into: Path, prepared: Prepared, fitted: Fitted, calibration: Calibration | None, origin: dict[str, Any]
) -> None:
    """Write everything needed to use the model."""
    recipe, network = prepared.recipe, fitted.network
    size = (prepared.preprocess.height, prepared.preprocess.width)
    places = find_places(prepared.backbone, size) if isinstance(network.head, EmbeddingMatrix) else None
    affinity = network.class_affinity
    files: dict[str, Content] = {
        MODEL: _network_content(network, places, size),
        VOCABULARY: prepared.vocabulary.save,
        **class_affinities(affinity),
        **trained_on(frozenset(prepared.train.digests) | frozenset(prepared.validation.digests)),
        **({} if calibration is None else {CALIBRATION: calibration.save}),
        **text_files(prepared.space.save, prepared.encoders),
    }
    config = {
        "name": recipe.name,
        "vectors": recipe.model.vectors,
        "dimension": prepared.space.dimension,
        **({"best_rows": recipe.model.best_rows} if recipe.model.best_rows > 1 else {}),  # older versions read the rest
        "class_columns": 0 if affinity is None else affinity.columns,
        "standardised": recipe.model.standardise,
        "preprocess": prepared.preprocess.model_dump(mode="json"),
        "encoders": {encoder: source.name for encoder, source in prepared.encoders.items()},
        "encoder_digests": {encoder: read_card(source).digest for encoder, source in prepared.encoders.items()},
        "label_space": prepared.space.digest,
        "seen": prepared.split.seen,
        "places": places,
        "calibration": None if calibration is None else recipe.calibration.model_dump(),
        **_reference(prepared),
        "provenance": origin | {"validation_mAP": fitted.validation_mAP},
    }
    write_bundle(into, files, config, _model_card(prepared, fitted, origin))


def _model_card(prepared: Prepared, fitted: Fitted, origin: dict[str, Any]) -> str:
    """The README.md of a bundle: what the model is, what it was made from, what it can do and where it fails."""
    options: dict[str, Any] = {"undefined": StrictUndefined, "trim_blocks": True, "keep_trailing_newline": True}
    template = Environment(loader=PackageLoader("tagprism.training"), autoescape=False, **options)
    custom = {kind: one.rpartition(" ")[0] for kind, one in origin.get("custom", {}).items()}
    return template.get_template("model_card.md.j2").render(
        recipe=prepared.recipe,
        split=prepared.split,
        origin=origin,
        backbone=prepared.backbone.name,
        weights="custom" if "backbone" in custom else prepared.recipe.model.weights,
        dimension=prepared.space.dimension,
        custom=custom,
        validation=fitted.validation_mAP,
    )


def _network_content(network: Network, places: tuple[int, int] | None, size: tuple[int, int]) -> Content:
    """What writes `model.onnx`: of a foreign backbone only what is behind it."""
    backbone = network.backbone
    if isinstance(backbone, OnnxBackbone):
        return partial(export_head, network, backbone.features)
    return partial(export_onnx, PlacedNetwork(network, places) if places else network, size)


def _reference(prepared: Prepared) -> dict[str, Any]:
    """The foreign model that the bundle is on top of, where it is on one."""
    backbone = prepared.backbone
    return {"foreign": backbone.reference.model_dump()} if isinstance(backbone, OnnxBackbone) else {}


def _check_export(prepared: Prepared) -> None:
    """Refuse a custom head or backbone whose export would fail at the end."""
    from tagprism.training.fit import make_network, untrained_head

    torch.manual_seed(prepared.recipe.seed)
    network = make_network(prepared, untrained_head(prepared))
    with tempfile.TemporaryDirectory() as folder:
        size = (prepared.preprocess.height, prepared.preprocess.width)
        _network_content(network, None, size)(Path(folder) / MODEL)


def _claim(out: Path, recipe: Recipe, table: ImageTable, split: Split, custom: CustomParts | None) -> None:
    """Make the RUN folder, or check that it is an unfinished run of the same recipe, data, split and parts."""
    identity = {"data": table.digest, "split": split.digest}
    lines = "".join(f"{key} {digest}\n" for key, digest in (identity | (custom.identity if custom else {})).items())
    stored, data = out / RECIPE, out / IDENTITY
    if stored.exists():
        known = data.read_text(encoding="utf-8") if data.is_file() else ""
        if load_recipe(stored) != recipe or known != lines:
            same_data = known.splitlines()[:2] == lines.splitlines()[:2] and load_recipe(stored) == recipe
            what = "another custom loss, head or backbone" if same_data else "another recipe, data set or split"
            raise InputError(
                f"holds a run of {what}.",
                where=str(out),
                remedy="Give the same parts with the same first weights (torch.manual_seed), or choose another folder."
                if same_data
                else "Choose another --out.",
            )
        if (out / "bundle").is_dir():
            raise DoneAlreadyError(
                "this run is finished.", where=str(out), remedy="Delete the folder to train again, or evaluate it."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("exists and is not a run.", where=str(out), remedy="Choose another --out.")
    shutil.rmtree(out / "bundle", ignore_errors=True)
    write_text(data, lines)
    write_text(stored, recipe_toml(recipe))
