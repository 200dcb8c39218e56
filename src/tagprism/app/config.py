"""Defaults of the using commands from a file of the user's. Training, measuring and comparing never read it."""

from __future__ import annotations

import os
import tomllib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagprism.app.commands.index import Storage
from tagprism.app.commands.search import Format as SearchFormat
from tagprism.app.commands.tag import Format as TagFormat
from tagprism.device import Device
from tagprism.errors import InputError
from tagprism.exchange import read_at_most
from tagprism.files import config_file

_LARGEST = 1 << 20  # bytes
_REMEDY = "Mend it, or delete it; docs/tag.md lists what may be in it."
_Positive = Annotated[int, Field(ge=1)]
_Chance = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Looking(_Section):
    """What commands share that look at pictures."""

    exclude: list[str] | None = None
    max_pixels: _Positive | None = None
    device: Device | None = None
    quiet: bool | None = None


class _Tagging(_Looking):
    model: str | None = None
    views: _Positive | None = None
    labels: str | None = None
    top_k: _Positive | None = None
    min_probability: _Chance | None = None


class _Tag(_Tagging):
    format: TagFormat | None = None


class _Keywords(_Tagging):
    sidecar: Literal["photo.jpg.xmp", "photo.xmp"] | None = None
    min_score: float | None = None


class _Index(_Looking):
    storage: Storage | None = None


class _Search(_Section):
    limit: _Positive | None = None
    format: SearchFormat | None = None
    neighbours: Annotated[int, Field(ge=0)] | None = None
    device: Device | None = None
    quiet: bool | None = None


class _Serve(_Section):
    host: str | None = None
    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    sidecar: Literal["photo.jpg.xmp", "photo.xmp"] | None = None
    device: Device | None = None
    quiet: bool | None = None


class Config(_Section):
    """What the file may say: a section for each using command, with its options in their long names."""

    tag: _Tag = _Tag()
    index: _Index = _Index()
    search: _Search = _Search()
    serve: _Serve = _Serve()
    keywords: _Keywords = _Keywords()


def read_config() -> dict[str, dict[str, Any]]:
    """What the file says: command -> option -> value; empty where there is none.

    Raises:
        InputError: it cannot be read, or says something that no command knows.
    """
    path = config_file()
    try:
        said = Config.model_validate(tomllib.loads(read_at_most(path, _LARGEST).decode()))
    except (FileNotFoundError, NotADirectoryError):  # the home of a service may be `/dev/null`
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"cannot be read ({error}).", where=str(path), remedy=_REMEDY) from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(f"`{name}`: {first['msg']}.", where=str(path), remedy=_REMEDY) from error
    found = said.model_dump(exclude_unset=True)
    for options in found.values():
        for name in ("labels", "model"):
            if isinstance(options.get(name), str):
                options[name] = os.path.expanduser(options[name])  # noqa: PTH111 (a model may be no path)
    return {command: options for command, options in found.items() if options}


def defaults_of(command: str | None) -> dict[str, Any]:
    """The defaults that click gives the options of a command, where the command line does not say otherwise."""
    if command not in Config.model_fields:
        return {}
    options = read_config().get(command, {})
    if command != "keywords":
        return {command: options}
    return {command: {"write": options, "show": {name: options[name] for name in ("sidecar",) if name in options}}}
