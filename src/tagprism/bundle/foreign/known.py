"""Public models that are known to be in a layout that is opened here, with what is published of them."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from pydantic import BaseModel, ConfigDict


class KnownModel(BaseModel):
    """A line of `known_models.toml`; None where it is not known.

    Args:
        name: as `--model` takes it.
        layout: of its files.
        size_mb: of the network of pictures and of phrases.
        licence: of the weights.
        licence_from: whose page on the hub was read for the licence, often that of the weights that were exported;
            empty where nobody read one, and the licence is what is generally said of this model.
        languages: of the words.
        picture_ms: time of a picture with one thread, measured on random weights of this shape.
        imagenet: published zero-shot accuracy, percent.
        note: what else to know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    layout: str
    size_mb: tuple[int, int] | None = None
    licence: str
    licence_from: str = ""
    languages: str
    picture_ms: int | None = None
    imagenet: float | None = None
    note: str = ""


def known_models() -> list[KnownModel]:
    """All of them."""
    text = files("tagprism.bundle.foreign").joinpath("known_models.toml").read_text(encoding="utf-8")
    return [KnownModel.model_validate(one) for one in tomllib.loads(text)["models"]]
