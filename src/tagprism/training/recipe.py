"""A recipe: every choice of a training run, read from TOML and validated. Knows nothing of how they are carried out."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tagprism.counted import counted
from tagprism.errors import InputError
from tagprism.images.colour import Colour
from tagprism.labels.space_part import SpacePart
from tagprism.training.older_runs import RENAMED, current_settings

LoggerName: TypeAlias = Literal["csv", "tensorboard", "wandb"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LabelTable(_Table):
    """`[labels]`: how words become label vectors."""

    parts: tuple[SpacePart, ...] = Field(default=(SpacePart(encoder="minilm"),), min_length=1)
    reduce: int | None = Field(default=None, ge=1, description="size after reduction; all dimensions when absent")
    descriptions: str | None = Field(default=None, description="JSON file of sentences for every label")
    sentences: Literal["mean", "max"] = Field(default="mean", description="how a label's sentences are joined")


class ImagesTable(_Table):
    """`[images]`: how pictures are opened."""

    colour: Colour = Field(default="srgb", description="colour profiles and transparency: used, or passed over")


class ModelTable(_Table):
    """`[model]`: backbone, head and how pictures are prepared."""

    backbone: str | tuple[str, ...] = Field(
        default="tf_efficientnet_lite0", min_length=1, description="a timm name, or several whose features are joined"
    )
    weights: str = Field(default="pretrained", description="pretrained, random, or a .safetensors file")
    vectors: int = Field(default=7, ge=1, description="M, principal vectors per image")
    best_rows: int = Field(default=1, ge=1, description="a score is the mean of this many best products; 1: maximum")
    prior: float = Field(
        default=0.0, ge=0, description="length of what the backbone's classifier, or CLIP, knows already, in each row"
    )
    rows_from: Literal["pooled", "token", "patches"] = Field(
        default="pooled", description="what the M rows are made of"
    )
    class_columns: float = Field(
        default=0.0, ge=0, description="weight of the backbone's own classes beside the trained score"
    )
    class_columns_rank: int = Field(default=192, ge=1, description="directions of the class-label affinities kept")
    class_columns_by_share: bool = Field(
        default=True, description="a class that training pictures show more decides more of the directions"
    )
    class_columns_trained: float = Field(
        default=0.25, ge=0, le=1, description="weight of the class columns for seen labels; for others it is 1"
    )
    class_columns_sharpness: float = Field(
        default=5.0, gt=0, le=50, description="how fast a class counts less for a label that means something else"
    )
    class_columns_power: float = Field(
        default=1.0, gt=0, le=4, description="of the evidence for a class; below 1 a faint one counts more"
    )
    standardise: bool = Field(default=True, description="scores standardised per image over the seen labels")
    image_size: int | None = Field(default=None, ge=16, description="pixels a side; the backbone's own when absent")
    resize: Literal["squash", "crop", "pad"] | None = Field(
        default=None, description="a CLIP model's own way, else squash, if absent"
    )
    trim: bool = Field(default=False, description="cut off a border of one colour first, for drawings on a page")
    normalise_pixels: bool = Field(default=True, description="the backbone's mean and deviation; authors: pixels/255")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.class_columns and not self.standardise:
            raise ValueError("class_columns add to standardised scores: set standardise = true, or class_columns = 0")
        if self.class_columns and self.rows_from == "patches":
            raise ValueError("rows from patches have no class_columns: set class_columns = 0, or rows_from = pooled")
        return self


class LossTable(_Table):
    """`[loss]`: options of SemanticDiversityLoss."""

    regulariser_weight: float | None = Field(default=0.3, ge=0, le=1, description='lam, or "none"')
    diversity_weighting: bool = True
    normaliser: Literal["positives", "pairs"] = "positives"
    across_images: float = Field(default=0.0, ge=0, lt=1, description="share of ranking images within each label")
    unlabelled: Literal["negative", "ignore"] = "negative"
    near_threshold: float | None = Field(
        default=None, ge=-1, le=1, description="unlisted labels this near a positive (cosine) are left out"
    )

    @field_validator("regulariser_weight", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return None if value == "none" else value  # TOML has no null


class AugmentTable(_Table):
    """`[augment]`: random changes of training pictures, for end-to-end training only."""

    crop_scale: float = Field(default=1.0, gt=0, le=1, description="smallest share of the area a random crop keeps")
    flip: float = Field(default=0.0, ge=0, le=1, description="probability of a left-right flip")
    rand_augment: bool = Field(default=False, description="RandAugment, 2 operations of magnitude 9")
    cutout: float = Field(default=0.0, ge=0, le=1, description="side of the blanked square, as a share of the picture")


class TrainingTable(_Table):
    """`[training]`: schedule, optimiser and what is chosen on validation."""

    end_to_end: bool = Field(default=False, description="train the whole network; else the head on frozen features")
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, description="peak of the OneCycle schedule")
    warm_up: float = Field(default=0.1, gt=0, lt=1, description="share of the steps before the peak (pct_start)")
    weight_decay: float = Field(default=3e-4, ge=0, description="not applied to 1-D parameters")
    precision: Literal["32", "bf16", "fp16"] = "32"
    ema: float | None = Field(default=None, gt=0, lt=1, description="decay of the averaged weights; none when absent")
    validation: float = Field(default=0.1, ge=0, lt=1, description="share of the training pictures kept to choose by")
    choose: Literal["best", "last"] = Field(default="last", description="weights kept: best validation mAP, or last")
    workers: int = Field(default=2, ge=0, description="processes that decode pictures in end-to-end training")
    channels_last: bool = Field(default=True, description="pixels stored channel by channel last, end to end")
    compile: bool = Field(default=False, description="torch.compile of the network in end-to-end training")
    logger: LoggerName = Field(default="csv", description="curves in a CSV file; also for TensorBoard, or W&B")

    @field_validator("precision", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if value == 32 else value  # --set training.precision=32


class CalibrationTable(_Table):
    """`[calibration]`: probabilities, fitted on validation pictures after the training on frozen features."""

    folds: int = Field(default=4, ge=0, description="heads trained to imitate unseen labels; 0: no calibration")
    background: int = Field(default=256, ge=2, description="records kept to see how a label usually scores")

    @field_validator("folds")
    @classmethod
    def _not_one(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0, or 2 or more")
        return value


class Recipe(_Table):
    """All settings of one run; `Recipe(name="x", model=ModelTable(vectors=3))` in Python, TOML tables in a file.

    Raises:
        InputError: an unknown setting, or a value of the wrong type or out of range.

    Example:
        >>> from tagprism import Recipe
        >>> recipe = Recipe(name="mine", model={"vectors": 3}, training={"epochs": 2})
        >>> recipe.model.vectors, recipe.training.batch_size
        (3, 32)
    """

    name: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    labels: LabelTable = LabelTable()
    images: ImagesTable = ImagesTable()
    model: ModelTable = ModelTable()
    loss: LossTable = LossTable()
    augment: AugmentTable = AugmentTable()
    training: TrainingTable = TrainingTable()
    calibration: CalibrationTable = CalibrationTable()

    def __init__(self, /, **values: Any) -> None:
        """Read settings, nested ones as tables or as dictionaries."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            lines = [f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}" for item in error.errors()]
            raise InputError(
                f"the recipe has {counted(len(lines), 'unusable setting')}: {'; '.join(lines)}.",
                remedy="`tagprism train RECIPE --print-config` shows every setting.",
            ) from error


def load_recipe(path: Path | str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `key=value` overrides.

    Args:
        path: a TOML file.
        overrides: `model.vectors=1` and so on; the value is TOML (`"text"`, `true`, `[...]`), or a bare word.

    Raises:
        InputError: no such file, not TOML, an unknown key, a value of the wrong type or out of range.

    Example:
        >>> from pathlib import Path
        >>> from tagprism import load_recipe
        >>> written = Path("mine.toml").write_text('name = "mine"')  # what it does not say has a default
        >>> recipe = load_recipe("mine.toml", ("model.vectors=3", "loss.regulariser_weight=none"))
        >>> recipe.model.vectors, recipe.training.epochs
        (3, 10)
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot be read ({reason}).", where=str(path), remedy="Name a recipe file.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not valid TOML: {error}.", where=str(path)) from error
    return make_recipe(override(values, overrides), where=str(path))


def make_recipe(values: dict[str, Any], *, where: str) -> Recipe:
    """Validate plain values into a recipe; `where` names their origin in errors."""
    try:
        return Recipe(**values)
    except InputError:  # perhaps of an older version
        values = current_settings(values, where=where)
    try:
        return Recipe(**values)
    except InputError as error:
        raise InputError(error.what, where=where, remedy=error.remedy) from error


def recipe_given(recipe: Any) -> Recipe:
    """A recipe that a caller from Python gave as a file or as a dictionary of its tables.

    Raises:
        InputError: as `load_recipe`, or it is neither.
    """
    if isinstance(recipe, Mapping):
        return Recipe(**recipe)
    if not isinstance(recipe, str | os.PathLike):
        what = f"must be a Recipe or the path of a TOML file, found a {type(recipe).__name__}."
        raise InputError(what, where="recipe", remedy='Recipe(name="mine") has every default; None does too.')
    return load_recipe(Path(recipe))


def recipe_toml(recipe: Recipe) -> str:
    """The recipe with every setting, as TOML that `load_recipe` reads back equal."""
    import tomli_w  # of the extra `train`: a recipe can be read without it

    values = recipe.model_dump(mode="json", exclude_none=True)
    if recipe.loss.regulariser_weight is None:
        values["loss"]["regulariser_weight"] = "none"
    return tomli_w.dumps(values)


def override(values: dict[str, Any], overrides: tuple[str, ...]) -> dict[str, Any]:
    """A copy of nested values with `a.b=value` applied."""
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for text in overrides:
        path, found, value = text.partition("=")
        keys = path.strip().split(".")
        if not found or not all(keys) or len(keys) > 2:
            raise InputError(f"`{text}` is not of the form key=value, such as model.vectors=1.", where="--set")
        table = result
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise InputError(f"`{path}`: `{key}` is not a table.", where="--set")
        for (_, old), new in RENAMED.items():  # the last word stands, by whichever name
            if keys[-1] in (old, new):
                table.pop(old, None), table.pop(new, None)
        table[keys[-1]] = _toml_value(value.strip())
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word
