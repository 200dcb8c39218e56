"""The rows of a comparison: recipes, variants of one, rivals on its pictures, and methods of a user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tagprism.bundle.open_model import open_model
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tagprism.labels.label_space import SpacePart
from tagprism.network.open_clip_models import PREFIX, clip_label
from tagprism.training.networks import has_imagenet_classifier, open_backbone
from tagprism.training.recipe import LabelTable, LossTable, ModelTable, Recipe, load_recipe

BASELINES = {
    "authors": "SDL, the authors' recipe",
    "single": "single vector, M=1",
    "conse": "ConSE",
    "ridge": "ridge",
    "decoder": "word-query decoder",
}
"""Rivals by their names on the command line, and in tables. CLIP models are named `open_clip:MODEL/WEIGHTS`."""

WITH_PRIOR = {f"{kind}+prior": f"{BASELINES[kind]}, with prior and class columns" for kind in ("conse", "ridge")}
"""The same rivals with what the recipe takes from the backbone's own training: its prior and its class columns."""

NEIGHBOURS = "neighbours:"


@dataclass(frozen=True)
class Method:
    """One row: a recipe, or something that is measured on the pictures, backbone and label vectors of a recipe.

    Args:
        name: of the row.
        recipe: with a frozen backbone.
        kind: `recipe`; `supervised`, trained on the unseen labels too; `neighbours:K`, scores averaged over K like
            pictures; or a rival: a name of `BASELINES` or `WITH_PRIOR`, or `open_clip:MODEL/WEIGHTS`.

    Raises:
        InputError: an end-to-end recipe, a rival that there is not, or one that the recipe does not allow.
    """

    name: str
    recipe: Recipe
    kind: str = "recipe"

    def __post_init__(self) -> None:
        """Refuse what cannot be run before a picture is read."""
        if self.recipe.training.end_to_end:
            raise InputError(
                "comparisons train on frozen features.",
                where=self.recipe.name,
                remedy="Use `tagprism train`, and give the finished RUN as a row: --model RUN.",
            )
        if self.kind in ("recipe", "supervised") or self.kind.startswith((NEIGHBOURS, PREFIX)):
            return
        if self.kind not in BASELINES and self.kind not in WITH_PRIOR:
            known = ", ".join((*BASELINES, *WITH_PRIOR, f"{PREFIX}MODEL/WEIGHTS"))
            raise InputError(
                f"there is no baseline `{self.kind}`.", where="--baseline", remedy=f"Choose from: {known}."
            )
        model = self.recipe.model
        if self.kind in WITH_PRIOR and not (model.prior or model.class_columns):
            raise InputError(
                f"the recipe has neither a prior nor class columns that `{self.kind}` could have too.",
                where=self.recipe.name,
                remedy="Set model.prior or model.class_columns, or leave `+prior` away.",
            )

    def with_seed(self, number: int) -> Method:
        """The same row with the recipe's seed raised by `number`."""
        seed = (self.recipe.seed + number) % 2**32
        return replace(self, recipe=self.recipe.model_copy(update={"seed": seed}))


@dataclass(frozen=True)
class OwnMethod:
    """A row that a function of your own computes, such as a model with another loss.

    Args:
        name: of the row.
        run: called with the table, a split and a seed (0, 1, ...) for every split and seed. Gives what `evaluate`
            measures: a model, a finished Run or its path, or scores (N, L) of the test pictures. Nothing is kept.
        seeded: whether another seed gives another result; else it is measured once a split, as a finished model is.
    """

    name: str
    run: Callable[[ImageTable, Split, int], Any]
    seeded: bool = True


def finished(models: Sequence[str]) -> list[OwnMethod]:
    """Rows of finished models, however they were trained: end to end, imported, by others.

    Args:
        models: paths of RUNs or BUNDLEs, or names as `load` takes them; one is measured on splits that it was not
            trained on, or refused.

    Raises:
        InputError: one is not there, or is no finished model.
    """
    for model in models:
        open_model(model)  # before another row is trained
    short = [Path(model).name or model for model in models]
    names = short if len(set(short)) == len(short) else list(models)
    return [OwnMethod(name, lambda *_, its=its: its, seeded=False) for name, its in zip(names, models, strict=True)]


def baseline(kind: str, recipe: Recipe) -> Method:
    """The row of a rival.

    Args:
        kind: a name of `BASELINES` or `WITH_PRIOR`, or `open_clip:MODEL/WEIGHTS`.
        recipe: whose data, backbone and label vectors it takes.

    Raises:
        InputError: as `Method`.
    """
    name = f"CLIP {clip_label(kind)}" if kind.startswith(PREFIX) else (BASELINES | WITH_PRIOR).get(kind, kind)
    return Method(name, recipe, kind)


def available_baselines(recipe: Recipe) -> list[str]:
    """Names of the rivals that need nothing but the recipe; ConSE needs a backbone with an ImageNet-1k classifier."""
    classifier = has_imagenet_classifier(open_backbone(recipe.model))
    return [kind for kind in BASELINES if classifier or kind != "conse"]


def read_variants(path: Path, recipe: Path, sets: tuple[str, ...] = ()) -> list[Method]:
    """Rows from a file of variants: the recipe with changes, or another recipe beside the file.

    Args:
        path: TOML with `[[variant]]` tables of a `name` and either `set`, a list of `key=value`, or `recipe`, a file.
        recipe: what `set` changes.
        sets: changes to the recipe in every row; a row with a recipe of its own is left alone.

    Raises:
        InputError: not such a file, or a recipe that cannot be read.
    """
    form = 'Write [[variant]] tables with `name = "M=1"` and `set = ["model.vectors=1"]` or `recipe = "other.toml"`.'
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["variant"]
        named = [
            (str(row["name"]), path.parent / row["recipe"], ())
            if "recipe" in row
            else (str(row["name"]), recipe, (*sets, *map(str, row["set"])))
            for row in rows
        ]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError(f"is not a file of variants ({error}).", where=str(path), remedy=form) from error
    return [Method(name, load_recipe(file, overrides)) for name, file, overrides in named]


def authors_recipe(recipe: Recipe) -> Recipe:
    """A recipe in the authors' way: one encoder's vectors as they come, their loss, raw scores.

    Backbone, pixels, M, schedule and seed stay: on frozen features the authors' own schedule has no counterpart.
    The encoder is the first one without a template (a table of word vectors, as theirs), else the first.
    """
    plain = next((part for part in recipe.labels.parts if part.templates == ("{}",)), recipe.labels.parts[0])
    ours = ("prior", "class_columns", "class_columns_rank", "rows_from", "best_rows")
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
