"""An index with the model that made it, and the folders it is of. Reads no pictures."""

from __future__ import annotations

import json
import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagprism.bundle.find import packaged_bundles
from tagprism.errors import IndexMismatchError, InputError, MachineError
from tagprism.files import digest_json, machine_errors, state_dir, write_json
from tagprism.search.contract import Index
from tagprism.search.edge_index import RECALL, SHARD, EdgeIndex
from tagprism.search.marks import MARKS
from tagprism.search.read_only import ReadOnlyIndex, is_read_only
from tagprism.search.shared_index import LOCK, SharedIndex, hold
from tagprism.tagging.tagger import Tagger, load

SETTINGS, CATALOG, UPKEEP = "index.json", "catalog.sqlite", "upkeep"
_OURS = {SHARD, RECALL, LOCK, UPKEEP} | {f"{name}{part}" for name in (CATALOG, MARKS) for part in ("", "-wal", "-shm")}
_ANEW = "Update tagprism, or index anew with `tagprism index --rebuild`."


class Settings(BaseModel):
    """What `index.json` says, written last when an index is made.

    Args:
        model: name of the model as `tagging.tagger.load` takes it: packaged, on the hub, or an absolute path.
        digest: of its bundle.
        vectors: M.
        columns: Q, length of a row of a ranking matrix.
        storage: how matrices are kept.
        recall: of a Qdrant server's int8 copies, as measured last.
        folders: the roots that were indexed, absolute; each as text, or as the hex of its bytes where it is no text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model: str
    digest: str
    vectors: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=2)]
    storage: Literal["float32", "float16", "int8"] = "float16"
    recall: float = 1.0
    folders: tuple[str, ...] = ()


class Collection:
    """An opened index and what belongs to it.

    Args:
        where: the folder of the index, or the address of a server's.
        settings: what is known of it.
        index: its matrices.
        model: where the model is now, when it is no longer where it was.
    """

    def __init__(self, where: str, settings: Settings, index: Index, model: str | None = None) -> None:
        self.where, self.settings, self.index, self._model = where, settings, index, model or settings.model

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
        tagger = load(self._model)
        check_model(self.where, self.settings, tagger)
        self.settings = self.settings.model_copy(update={"model": self._model})  # it is the same, under this name
        return tagger

    def with_model(self, model: str) -> Collection:
        """The same collection, with its model under another name."""
        return Collection(self.where, self.settings, self.index, lasting_name(model))

    def keep_folders(self, folders: tuple[str, ...]) -> None:
        """Replace the indexed roots.

        Raises:
            MachineError: it cannot be written.
        """
        self.settings = self.settings.model_copy(update={"folders": tuple(map(_escaped, folders))})
        values = self.settings.model_dump(mode="json")
        if is_address(self.where):
            self.index.keep_settings(values)  # type: ignore[attr-defined]
        else:
            write_json(Path(self.where) / SETTINGS, values)

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

    Any number of processes may have an embedded one open, see `shared_index`.

    Args:
        where: its folder, or `qdrant+http://HOST:6333/COLLECTION`.
        model: where its model is now, when it is no longer where it was.

    Raises:
        InputError: there is no index, or its settings are damaged.
        MachineError: it cannot be opened.
    """
    index: Index
    if is_address(where):
        qdrant = _qdrant()
        index = remote = qdrant.QdrantIndex(*qdrant.connect(where))
        settings = _checked(where, remote.settings)
    else:
        settings = read_settings(Path(where))
        index = _shared(Path(where), settings)
    collection = Collection(where, settings, index)
    return collection if model is None else collection.with_model(model)


def create_collection(
    where: str, model: str, storage: Literal["float32", "float16", "int8"] = "float16", folders: tuple[str, ...] = ()
) -> Collection:
    """Make an empty index for the ranking matrices of a model, while nobody else does (`upkeep.only_one`).

    Args:
        where: a folder that is absent or empty, or the address of a collection that is not there.
        model: as `tagging.tagger.load` takes it.
        storage: how matrices are kept.
        folders: the roots that will be indexed.

    Raises:
        InputError: something else is there already, or the model cannot be used.
        MachineError: it cannot be written.
    """
    tagger = load(model)
    _, M, Q = tagger.bundle.model.shapes[1]
    settings = Settings(
        model=lasting_name(model),
        digest=tagger.bundle.digest,
        vectors=int(M),
        columns=int(Q),
        storage=storage,
        folders=tuple(map(_escaped, folders)),
    )
    if is_address(where):
        qdrant = _qdrant()
        qdrant.QdrantIndex.create(*qdrant.connect(where), settings.model_dump(mode="json")).close()
    else:
        folder = Path(where)
        with machine_errors(folder):
            if any(entry.name not in _OURS for entry in folder.iterdir()):
                raise InputError("is no index and not empty.", where=where, remedy="Name a new folder.")
        EdgeIndex.create(folder, (settings.vectors, settings.columns), storage).close()
        write_json(folder / SETTINGS, settings.model_dump(mode="json"))  # last: without it there is no index
    return open_collection(where)


def remove_collection(where: str) -> None:
    """Remove the matrices of an index, but not what people added beside them, so that it can be made anew.

    Raises:
        MachineError: another process has it open, or it cannot be removed.
    """
    if is_address(where):
        qdrant = _qdrant()
        client, name = qdrant.connect(where)
        qdrant.remove_collection(client, name)
        return
    folder = Path(where)
    held = hold(folder / LOCK)
    if held is None:
        raise MachineError("is open in another process.", where=where, remedy="Stop the server or the other command.")
    with held, machine_errors(folder):
        (folder / SETTINGS).unlink(missing_ok=True)  # first: from here on there is no index
        shutil.rmtree(folder / SHARD, ignore_errors=True)


def is_address(where: str) -> bool:
    """Whether an index is a server's collection and not a folder."""
    return where.startswith("qdrant+")


def catalog_file(where: str) -> Path:
    """Where the catalog of an index is: beside it, or, of a server's, where this user keeps state."""
    return state_dir("catalogs") / f"{digest_json(where)}.sqlite" if is_address(where) else Path(where) / CATALOG


def _shared(folder: Path, settings: Settings) -> SharedIndex:
    shape = settings.vectors, settings.columns

    def open_index() -> EdgeIndex:
        return (ReadOnlyIndex if is_read_only(folder) else EdgeIndex)(folder, shape, settings.storage)

    return SharedIndex(folder, open_index)


def _qdrant() -> Any:
    try:
        from tagprism.search import qdrant_index
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "qdrant_client":
            raise
        raise InputError(
            "an index of a Qdrant server needs the extra `cluster`, which is not installed.",
            remedy='Install it with: pip install "tagprism[cluster]"',
        ) from error
    return qdrant_index


def read_settings(folder: Path) -> Settings:
    """Read `index.json`.

    Raises:
        InputError: it is not there, damaged, or of another version.
    """
    file = folder / SETTINGS
    try:
        with machine_errors(file):
            return _checked(str(file), json.loads(file.read_bytes()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError("is not an index.", where=str(folder), remedy="Make one with `tagprism index`.") from error
    except ValueError as error:
        raise InputError("is damaged.", where=str(file), remedy=_ANEW) from error


def _checked(where: str, values: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        what = f"is damaged, or of another version of tagprism ({error.errors()[0]['msg']})."
        raise InputError(what, where=where, remedy=_ANEW) from error


def lasting_name(model: str) -> str:
    """A model's name that means the same from another working folder."""
    is_name = model in packaged_bundles() or model.startswith("hf-hub:")
    return model if is_name else os.path.abspath(model)  # noqa: PTH100 (a text)


def _escaped(folder: str) -> str:
    try:
        folder.encode()
    except UnicodeEncodeError:
        return f"hex:{os.fsencode(folder).hex()}"
    return folder


def _unescaped(folder: str) -> str:
    return os.fsdecode(bytes.fromhex(folder[4:])) if folder.startswith("hex:") else folder
