"""An album: a search that was saved, and the pictures it gave. Knows no index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagprism.errors import InputError
from tagprism.files import read_json

_REMEDY = "Give a file that `tagprism search --format album` or the page has written."


class Album(BaseModel):
    """A saved search.

    Args:
        query: as text; empty where there was only an example.
        like: path of the example, or None.
        pictures: paths of what was found when it was saved, or of what was chosen, best first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tagprism_album: Literal[1] = 1
    query: Annotated[str, Field(max_length=10_000)] = ""
    like: str | None = None
    pictures: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: str, like: str | None, pictures: Sequence[str]) -> Album:
        """Made of paths as `os.fsdecode` gives them; bytes that are no text become escapes."""
        return cls(query=query, like=None if like is None else _text(like), pictures=tuple(map(_text, pictures)))

    @classmethod
    def read(cls, file: Path) -> Album:
        """Read one.

        Raises:
            InputError: it is not there, or no album.
        """
        try:
            return cls.model_validate(read_json(file, remedy=_REMEDY))
        except ValidationError as error:
            what = f"is no album ({error.errors()[0]['msg']})."
            raise InputError(what, where=str(file), remedy=_REMEDY) from error


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
