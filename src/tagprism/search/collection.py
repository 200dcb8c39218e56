"""An index with the model that made it, and the folders it is of. Reads no pictures."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagprism.errors import IndexMismatchError, InputError
from tagprism.files import machine_errors, write_json
from tagprism.model.locate import packaged_bundles
from tagprism.search.contract import Index
from tagprism.search.numpy_index import NumpyIndex
from tagprism.tagging.tagger import Tagger, load

SETTINGS = "index.json"


class Settings(BaseModel):
    """What `index.json` says, written last when an index is made.

    Args:
        model: name of the model as `tagging.tagger.load` takes it: packaged, on the hub, or an absolute path.
        digest: of its bundle.
        vectors: M.
        columns: Q, length of a row of a ranking matrix.
        storage: how matrices are kept.
        recall: measured share of the exact first 100 that this storage gives, 0..1.
        folders: the roots that were indexed, absolute; each as text, or as the hex of its bytes where it is no text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model: str
    digest: str
    vectors: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=2)]
    storage: str = "float32"
    recall: float = 1.0
    folders: tuple[str, ...] = ()


class Collection:
    """An opened index and what belongs to it.

    Args:
        where: the folder of the index, or the address of a server's.
        settings: what is known of it.
        index: its matrices.
    """

    def __init__(self, where: str, settings: Settings, index: Index) -> None:
        self.where, self.settings, self.index = where, settings, index

    @property
    def folders(self) -> tuple[str, ...]:
        """The indexed roots, absolute; nothing outside of them belongs to this collection."""
        return tuple(map(_unescaped, self.settings.folders))

    @cached_property
    def tagger(self) -> Tagger:
        """The model that made the index, loaded on first use.

        Raises:
            IndexMismatchError: what stands under its name is another model.
            InputError: there is no such model any more.
        """
        tagger = load(self.settings.model)
        check_model(self.where, self.settings, tagger)
        return tagger

    def close(self) -> None:
        """Let go of the index."""
        self.index.close()


def check_model(where: str, settings: Settings, tagger: Tagger) -> None:
    """Refuse a model that has not made this index.

    Raises:
        IndexMismatchError: its digest is another.
    """
    if tagger.bundle.digest != settings.digest:
        raise IndexMismatchError(
            f"was made with another model ({settings.model}, digest {settings.digest[:12]}) than {tagger.bundle.path} "
            f"(digest {tagger.bundle.digest[:12]}).",
            where=where,
            remedy="Name the model it was made with (--model), or index anew with `tagprism index --rebuild`.",
        )


def open_collection(where: str, *, model: str | None = None) -> Collection:
    """Open an index that `tagprism index` has made.

    Args:
        where: its folder.
        model: where its model is now, when it is no longer where it was.

    Raises:
        InputError: there is no index, or its settings are damaged.
        MachineError: it cannot be read.
    """
    settings = read_settings(Path(where))
    if model is not None:
        settings = settings.model_copy(update={"model": model})
    return Collection(where, settings, NumpyIndex(Path(where), (settings.vectors, settings.columns)))


def create_collection(where: str, model: str) -> Collection:
    """Make an empty index for the ranking matrices of a model.

    Args:
        where: a folder that is absent or empty.
        model: as `tagging.tagger.load` takes it.

    Raises:
        InputError: something else is there already, or the model cannot be used.
        MachineError: it cannot be written.
    """
    folder, tagger = Path(where), load(model)
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError("is no index and not empty.", where=where, remedy="Name a new folder.")
    _, M, Q = tagger.bundle.model.shapes[1]
    settings = Settings(model=_lasting_name(model), digest=tagger.bundle.digest, vectors=int(M), columns=int(Q))
    index = NumpyIndex(folder, (settings.vectors, settings.columns))
    write_json(folder / SETTINGS, settings.model_dump(mode="json"))
    return Collection(where, settings, index)


def read_settings(folder: Path) -> Settings:
    """Read `index.json`.

    Raises:
        InputError: it is not there, damaged, or of another version.
    """
    file = folder / SETTINGS
    try:
        return Settings.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError("is not an index.", where=str(folder), remedy="Make one with `tagprism index`.") from error
    except ValidationError as error:
        what = f"is damaged or newer ({error.errors()[0]['msg']})."
        remedy = "Update tagprism, or index anew with `tagprism index --rebuild`."
        raise InputError(what, where=str(file), remedy=remedy) from error


def _lasting_name(model: str) -> str:
    """A model's name that means the same from another working folder."""
    is_name = model in packaged_bundles() or model.startswith("hf-hub:")
    return model if is_name else os.path.abspath(model)  # noqa: PTH100 (a text)


def _unescaped(folder: str) -> str:
    return os.fsdecode(bytes.fromhex(folder[4:])) if folder.startswith("hex:") else folder
