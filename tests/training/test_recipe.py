"""Recipes: defaults, overrides and their round trip."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tagprism.errors import InputError
from tagprism.training.recipe import Recipe, load_recipe, make_recipe, override, recipe_toml

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


def test_overrides_take_toml_values_and_bare_words() -> None:
    values = {"name": "x", "model": {"vectors": 3}}
    changed = override(
        values,
        ("model.vectors=1", "seed = 5", "model.backbone=resnet18", 'model.weights="a=b"', "training.ema=0.5"),
    )
    assert changed == {
        "name": "x",
        "seed": 5,
        "model": {"vectors": 1, "backbone": "resnet18", "weights": "a=b"},
        "training": {"ema": 0.5},
    }
    assert values == {"name": "x", "model": {"vectors": 3}}  # a copy


def test_the_last_override_wins() -> None:
    assert override({}, ("seed=1", "seed=2")) == {"seed": 2}


@pytest.mark.parametrize("text", ["seed", "=1", ".x=1", "model.=1", "a.b.c=1", ""])
def test_overrides_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="key=value"):
        override({"name": "x"}, (text,))


def test_all_unusable_settings_are_listed_at_once() -> None:
    with pytest.raises(InputError, match=re.escape("2 unusable settings")) as caught:
        make_recipe({"name": "x", "model": {"vectors": 0, "size": 3}}, where="here")
    assert "model.vectors" in str(caught.value) and "model.size" in str(caught.value)


def test_rows_from_patches_have_no_class_columns() -> None:
    model = {"rows_from": "patches", "class_columns": 0.35}
    with pytest.raises(InputError, match="rows from patches have no class_columns"):
        make_recipe({"name": "x", "model": model}, where="here")
    assert make_recipe({"name": "x", "model": model | {"class_columns": 0}}, where="").model.rows_from == "patches"


def test_none_is_no_regulariser() -> None:
    assert make_recipe({"name": "x", "loss": {"regulariser_weight": "none"}}, where="").loss.regulariser_weight is None
    assert make_recipe({"name": "x"}, where="").loss.regulariser_weight == 0.3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"regulariser_weight": None}},
        {"labels": {"parts": [{"encoder": "minilm", "template": 'say "{}"'}, {"encoder": "file:C:\\x"}], "reduce": 9}},
        {"training": {"ema": 0.999, "learning_rate": 2.5e-5}},
        {"name": "é ☃ \\ \" '"},
    ],
)
def test_toml_reads_back_equal(changes: dict[str, object], tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"name": "x", **changes})
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_committed_recipes_can_be_read_and_name_nothing_outside(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "../" not in text and "/work" not in text
    if "variants" not in path.name:
        assert load_recipe(path).name
