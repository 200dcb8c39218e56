"""The rows of a comparison that are trained: recipes, variants of one, and rivals on its pictures."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from tagprism.errors import InputError
from tagprism.labels.space_part import SpacePart
from tagprism.network.onnx_backbone import OnnxBackbone
from tagprism.network.onnx_models import ONNX, onnx_label
from tagprism.network.open_clip_models import PREFIX, clip_label
from tagprism.training.networks import has_imagenet_classifier, open_backbone
from tagprism.training.recipe import ImagesTable, LabelTable, LossTable, ModelTable, Recipe, load_recipe

BASELINES = {
    "authors": "SDL, the authors' recipe",
    "single": "single vector, M=1",
    "conse": "ConSE",
    "ridge": "ridge",
    "decoder": "word-query decoder",
}
"""Rivals by their names on the command line, and in tables. CLIP models are `open_clip:...` or `onnx:...`."""

PLAIN = "plain"
"""The CLIP or SigLIP that the recipe has as its backbone, without training."""
_CLIPS = (PREFIX, ONNX)

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
            pictures; or a rival: a name of `BASELINES` or `WITH_PRIOR`, or a plain CLIP, `open_clip:...` or `onnx:...`.

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
                where=self.name,
                remedy="Use `tagprism train`, and give the finished RUN as a row: --model RUN.",
            )
        if self.kind in ("recipe", "supervised") or self.kind.startswith((NEIGHBOURS, *_CLIPS)):
            return
        if self.kind not in BASELINES and self.kind not in WITH_PRIOR:
            known = ", ".join((*BASELINES, *WITH_PRIOR, PLAIN, f"{PREFIX}MODEL/WEIGHTS", f"{ONNX}NAME"))
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

    @property
    def is_plain_clip(self) -> bool:
        """Whether it is a CLIP or SigLIP without training, which each recipe must beat, or the table says so."""
        return self.kind.startswith(_CLIPS)

    def with_seed(self, number: int) -> Method:
        """The same row with the recipe's seed raised by `number`."""
        seed = (self.recipe.seed + number) % 2**32
        return replace(self, recipe=self.recipe.model_copy(update={"seed": seed}))


def baseline(kind: str, recipe: Recipe) -> Method:
    """The row of a rival.

    Args:
        kind: a name of `BASELINES` or `WITH_PRIOR`, `open_clip:MODEL/WEIGHTS`, `onnx:NAME`, or `plain` for the recipe's
            own backbone.
        recipe: whose data, backbone and label vectors it takes.

    Raises:
        InputError: as `Method`, or the backbone is no CLIP or SigLIP.
    """
    if kind == PLAIN:
        if not _has_text(recipe):
            what = "its backbone has no text network, so there is no plain model to compare with."
            raise InputError(what, where=recipe.name, remedy=f"Name one: --baseline {ONNX}hf-hub:OWNER/NAME.")
        kind = str(recipe.model.backbone)
    if kind.startswith(ONNX):
        return Method(f"plain {onnx_label(kind)}", recipe, kind)
    name = f"CLIP {clip_label(kind)}" if kind.startswith(PREFIX) else (BASELINES | WITH_PRIOR).get(kind, kind)
    return Method(name, recipe, kind)


def available_baselines(recipe: Recipe) -> list[str]:
    """Names of the rivals that need nothing but the recipe.

    ConSE needs a backbone with an ImageNet-1k classifier, the decoder one with a feature map, the plain model one
    with a text network.
    """
    its = open_backbone(recipe.model)
    lacks = set() if has_imagenet_classifier(its) else {"conse"}
    lacks |= {"decoder"} if isinstance(its, OnnxBackbone) else set()
    return [*(kind for kind in BASELINES if kind not in lacks), *([PLAIN] if _has_text(recipe) else [])]


def _has_text(recipe: Recipe) -> bool:
    backbone = recipe.model.backbone
    return isinstance(backbone, str) and backbone.startswith(_CLIPS)


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
    """A recipe in the authors' way: one encoder's vectors as they come, their loss, raw scores, colours as stored.

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
            "images": ImagesTable(colour="as-stored"),
        }
    )


def pooled_recipe(recipe: Recipe) -> Recipe:
    """The same recipe on pooled features, for rivals that know nothing else."""
    if recipe.model.rows_from != "patches":
        return recipe
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"rows_from": "pooled"})})


def single_vector_recipe(recipe: Recipe) -> Recipe:
    """The same recipe with M = 1."""
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"vectors": 1})})
