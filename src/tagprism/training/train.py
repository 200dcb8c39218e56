"""From recipe, pictures and split to a finished RUN: recipe, checkpoints, weights and bundle in one folder."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from safetensors.torch import save_file

from tagprism.bundle.bundle import (
    CALIBRATION,
    CARD,
    MODEL,
    TEXT,
    VOCABULARY,
    write_class_affinity,
    write_config,
    write_trained_on,
)
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError, NothingToDoError
from tagprism.files import link_or_copy, replaced_whole, write_json, write_text
from tagprism.labels.encoders.card import read_card
from tagprism.labels.phrases import normalise_phrase, variants
from tagprism.labels.vocabulary import Role, Vocabulary
from tagprism.network.export import export_onnx
from tagprism.network.places import PlacedNetwork, find_places
from tagprism.progress import Progress, silent
from tagprism.provenance import made_with
from tagprism.tagging.calibration import Calibration
from tagprism.training.calibrate import calibrate, reason_not_to
from tagprism.training.fit import Fitted, fit
from tagprism.training.model_card import model_card
from tagprism.training.prepare import Prepared, prepare
from tagprism.training.processes import ALONE, Processes
from tagprism.training.recipe import Recipe, load_recipe
from tagprism.training.speed import Speed

RECIPE, WEIGHTS, CHECKPOINTS, SKIPPED = "recipe.toml", "weights.safetensors", "checkpoints", "skipped.json"
_CALIBRATION_FOLDS = "calibration"
PICTURES, _REMEMBERED = "pictures.json", 256
"""Where some of the training pictures are on this machine: `export` checks with them. Not part of the bundle."""


@dataclass(frozen=True)
class Trained:
    """What a training run has to say.

    Args:
        skipped: pictures that could not be used: key -> (code, message).
        speed: of this call.
    """

    skipped: dict[str, tuple[str, str]]
    speed: Speed


def train(
    recipe: Recipe,
    table: ImageTable,
    split: Split,
    out: Path,
    *,
    vocabulary: Mapping[str, Sequence[str]] | None = None,
    limit: int | None = None,
    progress: Progress = silent,
    processes: Processes = ALONE,
) -> Trained:
    """Train a model and write it as a RUN; an interrupted run of the same recipe and data is continued.

    Args:
        recipe: all settings.
        table: the pictures.
        split: which labels are seen, which pictures train.
        out: folder of the RUN.
        vocabulary: further words that the bundle knows, each with its other spellings; they are not trained on.
        limit: train on the first so many pictures only (a dry run).
        progress: told how far it is.
        processes: that train together, each calling this; the main one alone writes, the others return nothing.

    Returns:
        The pictures that could not be used (they are in `skipped.json` too), and the speed.

    Raises:
        InputError: something given cannot be used, or `out` holds another run.
        NothingToDoError: the run is finished already.
    """
    if limit is not None:
        split = replace(split, name=f"{split.name}, first {limit}", train=split.train[:limit], val=split.val[:limit])
    with processes.main_first("prepared"):
        if processes.is_main:
            _claim(out, recipe, table, split)
        prepared = prepare(recipe, table, split, progress)
    processes.agree("pictures", prepared.digest, remedy="All machines must see the same files.")
    fitted = fit(prepared, out / CHECKPOINTS, progress, processes)
    if not processes.is_main:
        return Trained({}, fitted.speed)
    skipped = {key: (error.code, error.message) for key, error in prepared.skipped} | fitted.failed
    skipped |= {one.key: (one.code, one.message) for one in table.skipped}
    write_json(out / SKIPPED, skipped)
    step = math.ceil(len(prepared.train.files) / _REMEMBERED)
    write_json(out / PICTURES, [os.fspath(file.absolute()) for file in prepared.train.files[::step]])
    with replaced_whole(out / WEIGHTS) as beside:
        save_file(fitted.network.state_dict(), beside)
    prepared = replace(prepared, vocabulary=with_words(prepared, vocabulary or {}))
    reason = reason_not_to(prepared)
    calibration = None if reason else calibrate(prepared, fitted.network, out / _CALIBRATION_FOLDS, progress)
    with progress("writing the bundle", 1) as advance, replaced_whole(out / "bundle") as folder:
        folder.mkdir()
        origin = provenance(recipe, table, prepared) | {"no_calibration": reason}
        write_bundle(folder, prepared, fitted, calibration, origin)
        advance(1)
    return Trained(skipped, fitted.speed)


def recipe_toml(recipe: Recipe) -> str:
    """The recipe with every setting, as TOML that `load_recipe` reads back equal."""
    values = recipe.model_dump(mode="json", exclude_none=True)
    if recipe.loss.regulariser_weight is None:
        values["loss"]["regulariser_weight"] = "none"
    return tomli_w.dumps(values)


def provenance(recipe: Recipe, table: ImageTable, prepared: Prepared) -> dict[str, Any]:
    """What a result must say about its origin."""
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
    }


def with_words(prepared: Prepared, words: Mapping[str, Sequence[str]]) -> Vocabulary:
    """The vocabulary of a run and further words.

    A word that is another spelling of a label of the run (or an alias that is) becomes an alias of that label, so that
    no picture gets both.
    """
    labels = prepared.vocabulary
    spelling_of = {spelling: name for name in labels.names for spelling in variants(name)}
    aliases: dict[str, list[str]] = {}
    new: dict[str, list[str]] = {}
    taken = {normalise_phrase(name) for name in labels.names}
    for word, others in words.items():
        spellings = [one for one in (word, *others) if normalise_phrase(one) not in taken]
        known = [spelling_of[key] for one in (word, *others) if (key := normalise_phrase(one)) in spelling_of]
        taken |= {normalise_phrase(one) for one in spellings}
        if known:
            aliases.setdefault(known[0], []).extend(spellings)
        elif spellings:
            new[spellings[0]] = spellings[1:]
    if not words:
        return labels
    other: Role = "other"
    return Vocabulary(
        (*labels.names, *new),
        np.concatenate([labels.vectors, prepared.space.embed(list(new)).vectors]),
        (*labels.roles, *(other for _ in new)),
        {name: tuple(others) for name, others in (*aliases.items(), *new.items()) if others},
    )


def write_bundle(
    folder: Path, prepared: Prepared, fitted: Fitted, calibration: Calibration | None, origin: dict[str, Any]
) -> None:
    """Write everything needed to use the model into an empty folder."""
    size = (prepared.preprocess.height, prepared.preprocess.width)
    places = find_places(prepared.backbone, size)
    export_onnx(PlacedNetwork(fitted.network, places) if places else fitted.network, size, folder / MODEL)
    prepared.vocabulary.save(folder / VOCABULARY)
    queries = fitted.network.class_affinity
    if queries is not None:
        write_class_affinity(folder, queries)
    write_trained_on(folder, frozenset(prepared.train.digests) | frozenset(prepared.validation.digests))
    if calibration is not None:
        calibration.save(folder / CALIBRATION)
    text = folder / TEXT
    text.mkdir()
    prepared.space.save(text)
    names = {}
    for encoder, source in prepared.encoders.items():
        names[encoder] = source.name
        (text / source.name).mkdir(exist_ok=True)
        for file in source.iterdir():
            if not (text / source.name / file.name).exists():
                link_or_copy(file, text / source.name / file.name)
    recipe = prepared.recipe
    write_config(
        folder,
        {
            "name": recipe.name,
            "vectors": recipe.model.vectors,
            "dimension": prepared.space.dimension,
            "class_columns": 0 if queries is None else queries.columns,
            "standardised": recipe.model.standardise,
            "preprocess": prepared.preprocess.model_dump(mode="json"),
            "encoders": names,
            "encoder_digests": {encoder: read_card(source).digest for encoder, source in prepared.encoders.items()},
            "label_space": prepared.space.digest,
            "seen": prepared.split.seen,
            "places": places,
            "calibration": None if calibration is None else recipe.calibration.model_dump(),
            "provenance": origin | {"validation_mAP": fitted.validation_mAP},
        },
    )
    write_text(folder / CARD, model_card(prepared, fitted, origin))


def _claim(out: Path, recipe: Recipe, table: ImageTable, split: Split) -> None:
    """Make the RUN folder, or check that it is an unfinished run of the same recipe, data and split."""
    identity = {"data": table.digest, "split": split.digest}
    stored = out / RECIPE
    if stored.exists():
        data = out / "data.json"
        same = load_recipe(stored) == recipe and data.is_file() and data.read_text(encoding="utf-8") == _text(identity)
        if not same:
            raise InputError(
                "holds a run of another recipe, data set or split.", where=str(out), remedy="Choose another --out."
            )
        if (out / "bundle").is_dir():
            raise NothingToDoError(
                "this run is finished.", where=str(out), remedy="Delete the folder to train again, or evaluate it."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("exists and is not a run.", where=str(out), remedy="Choose another --out.")
    shutil.rmtree(out / "bundle", ignore_errors=True)
    write_text(out / "data.json", _text(identity))
    write_text(stored, recipe_toml(recipe))


def _text(value: dict[str, str]) -> str:
    return "".join(f"{key} {digest}\n" for key, digest in value.items())
