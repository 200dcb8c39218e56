"""The documents name every recipe setting with its default, and the published numbers."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tagprism.evaluation.published import Entry, published
from tagprism.labels.label_space import SpacePart
from tagprism.training.recipe import Recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and default of every setting, those of one part of the label space included."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field.default
    if model is Recipe:
        yield from settings(SpacePart, "labels.parts.")


def shown(default: Any) -> str:
    """A default as the table writes it."""
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, tuple):
        assert default == (SpacePart(encoder="minilm"),)
        return '`[{ encoder = "minilm" }]`'
    return f"`{'absent' if default is None else json.dumps(default)}`"


def test_recipes_page_has_exactly_the_settings_and_their_defaults() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| \S", (DOCS / "recipes.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted((name, shown(default)) for name, default in settings(Recipe))


def test_the_published_numbers_are_also_found_in_the_documents() -> None:
    entries = tomllib.loads((DOCS / "published.toml").read_text(encoding="utf-8"))["entry"]
    assert tuple(Entry.model_validate(entry) for entry in entries) == published()


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    root = DOCS.parent
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|toml|json|md))`", page.read_text(encoding="utf-8"))
    made_by_users = {"RUN/recipe.toml"}
    missing = [
        name
        for name in sorted({*named} - made_by_users)
        if not (root / name).is_file() and not (root / "src/tagprism" / name).is_file()
    ]
    assert not missing
