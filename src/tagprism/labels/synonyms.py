"""Other names of a thing, where they certainly mean the same in a photo. Knows no vectors."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files

from tagprism.labels.phrases import bare_phrase


def other_names(phrase: str) -> tuple[str, ...]:
    """Other names of what a word or phrase names (`motorbike`: motorcycle), in any case and number; mostly none."""
    bare = bare_phrase(phrase)
    return tuple(name for name in _groups().get(bare, ()) if bare_phrase(name) != bare)


@lru_cache(maxsize=1)
def _groups() -> dict[str, tuple[str, ...]]:
    """The names of a thing by each of them."""
    text = files("tagprism.labels").joinpath("synonyms.toml").read_text(encoding="utf-8")
    return {bare_phrase(name): tuple(group) for group in tomllib.loads(text)["groups"] for name in group}
