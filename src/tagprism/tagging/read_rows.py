"""Reads rows of tags that `tagprism tag --format jsonl`, or another program, has written. Knows no pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from tagprism.errors import InputError, PictureError
from tagprism.tagging.tags import ImageTags, Tag


class _TagRow(BaseModel):
    """A tag as a row has it; a number may be written as a text."""

    label: Annotated[str, Field(min_length=1)]
    score: Annotated[float, Field(allow_inf_nan=False)]
    probability: Annotated[float, Field(ge=0, le=1)] | None = None
    vector: int = 0


class _ErrorRow(BaseModel):
    code: str
    message: str


class _Row(BaseModel):
    path: Path
    tags: tuple[_TagRow, ...] = ()
    error: _ErrorRow | None = None

    @field_validator("path")
    @classmethod
    def _names_a_file(cls, path: Path) -> Path:
        if not path.name or "\0" in str(path):
            raise ValueError("names no file")
        return path

    @model_validator(mode="after")
    def _has_something(self) -> _Row:
        if self.error is None and "tags" not in self.model_fields_set:
            raise ValueError("has neither tags nor an error")
        return self


def read_jsonl(data: bytes, where: str) -> Iterator[ImageTags]:
    """Read rows of JSONL.

    Args:
        data: a file's bytes.
        where: its name for messages.

    Raises:
        InputError: a line is not a row.
    """
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            row = _Row.model_validate(json.loads(line))  # json's reader keeps bytes of names that are no text
        except (ValueError, RecursionError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else error
            raise InputError(
                f"is not a row of tags ({reason}).",
                where=f"{where}, line {number}",
                remedy="Give the JSONL of `tagprism tag --format jsonl`.",
            ) from error
        if row.error is not None:
            yield ImageTags(row.path, (), PictureError(row.error.code, row.error.message))
        else:
            each = (Tag(tag.label, tag.score, tag.probability, tag.vector) for tag in row.tags)
            yield ImageTags(row.path, tuple(each))
