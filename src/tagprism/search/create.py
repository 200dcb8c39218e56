"""Make a collection, open it to be brought up to date, or remove it: one process at a time. Reads no pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagprism.bundle.bundle import DEFAULT
from tagprism.bundle.names import lasting_name, with_views
from tagprism.errors import InputError, MachineError
from tagprism.files import machine_errors, take_lock, write_json
from tagprism.progress import Progress, silent
from tagprism.search.collection import Collection, fitting_tagger, open_index, qdrant, usually_asked
from tagprism.search.contract import MEASURED
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.edge_reader import PICTURES
from tagprism.search.index_server import SOCKET
from tagprism.search.older_index import STORAGES, copy_older, remove_older
from tagprism.search.record_file import StorageName
from tagprism.search.roots import without_nested
from tagprism.search.shared_index import LOCK, SERVER, SharedIndex
from tagprism.search.stored import (
    CATALOG,
    IMPORTING,
    LEARNED,
    MARKS,
    SETTINGS,
    Settings,
    catalog_file,
    escaped,
    is_address,
    read_values,
    unescaped,
)
from tagprism.tagging.tagger import load

_UPDATE_LOCK = "upkeep"
_STOP = "Stop the server or the other command."
_OURS = {PICTURES, LOCK, SERVER, SOCKET, _UPDATE_LOCK, IMPORTING, LEARNED}
_OURS |= {f"{name}{part}" for name in (CATALOG, MARKS) for part in ("", "-wal", "-shm")}


@contextmanager
def open_for_update(
    where: str,
    roots: Sequence[str] = (),
    *,
    model: str | None = None,
    views: int | None = None,
    storage: StorageName | None = None,
    rebuild: bool = False,
    progress: Progress = silent,
) -> Iterator[Collection]:
    """Open an index, or make it where there is none, while no other process does; closed at the end of the block.

    Args:
        where: as for `open_index`.
        roots: absolute paths of the files and folders it is to be made of.
        model: as `tagging.tagger.load` takes it; None for the one that made the index, or the packaged one.
        views: of each picture; None for what the model's name says, or those of the index.
        storage: how records are kept; None for what the index has, or half.
        rebuild: make it anew, with another model or storage if these are given; its folders and marks stay.
        progress: told of the pictures of an older index while it is brought to the form of today, and of what a foreign
            model needs before it can be used.

    Raises:
        InputError: something else is there already, or nothing to make an index of; the model cannot be used, or the
            index keeps its records in another way.
        IndexMismatchError: the index was made with another model, or on a server by an older version.
        MachineError: another process updates it, or has it open while it is to be made anew; it cannot be written.
    """
    if not exists(where):
        if not roots:
            remedy = "Name files or folders."
            raise InputError("there is no index, and no pictures are named.", where=where, remedy=remedy)
        for root in roots:
            if not os.path.lexists(root):
                raise InputError("is not there.", where=root, remedy="Name files or folders that are there.")
    with update_lock(where):
        if views is not None:
            its = model or (str(_values(where).get("model", DEFAULT)) if exists(where) else DEFAULT)
            model = with_views(its, views)
        if rebuild or not exists(where) or _is_begun(where):
            collection = _anew(where, roots, model, storage, progress)
        else:
            _renew(where, model, progress)
            collection = open_index(where, model, progress=progress)
        with collection:
            _ = collection.tagger
            if storage not in (None, collection.settings.storage):
                raise InputError(
                    f"keeps records as {collection.settings.storage}, not {storage}.",
                    where=where,
                    remedy="Leave --storage away, or index anew with --rebuild.",
                )
            if model is not None:
                collection.keep_model()
            if isinstance(collection.index, SharedIndex):
                collection.index.renew()
            yield collection


def _anew(
    where: str, roots: Sequence[str], model: str | None, storage: StorageName | None, progress: Progress
) -> Collection:
    """An empty collection, in place of the old one where there is one."""
    if not exists(where):
        return create_collection(where, model or DEFAULT, storage or "half", without_nested(roots), progress=progress)
    try:
        old = _values(where)
    except InputError:
        if is_address(where) or not roots:
            raise
        old = {}  # its settings are damaged: it is as if there were none
    folders = [unescaped(one) for one in old.get("folders", ()) if isinstance(one, str)]
    exclude = tuple(one for one in old.get("exclude", ()) if isinstance(one, str))
    model = model or str(old.get("model", DEFAULT))
    kept = STORAGES.get(str(old.get("storage")), "half")
    all_roots = without_nested([*folders, *roots])
    return create_collection(where, model, storage or kept, all_roots, exclude, anew=True, progress=progress)


def _is_begun(where: str) -> bool:
    """Whether a process was killed just when it made an index anew: its settings say all that is needed for that."""
    return _values(where).get("renewing") == "begun"


def _values(where: str) -> dict[str, Any]:
    """The settings of an index, of whatever version."""
    if not is_address(where):
        return read_values(Path(where))
    engine = qdrant()
    found: dict[str, Any] = engine.kept_settings(*engine.connect(where))
    return found


def _renew(where: str, model: str | None, progress: Progress) -> None:
    """Bring a folder of an older version to the form of today; a kill at any moment leaves one or the other whole."""
    if is_address(where):
        return
    folder, values = Path(where), _values(where)
    if values.get("format") == 1:
        with _locked(folder / LOCK, where, "is open in another process.", _STOP):
            made_by = values["model"], values["digest"]
            dimension = fitting_tagger(where, model or values["model"], made_by).bundle.config.dimension
            shape = copy_older(folder, values, dimension, progress)
            kept = {name: values[name] for name in ("model", "digest", "folders", "exclude") if name in values}
            settings = Settings(**kept, **shape._asdict(), storage=STORAGES[values["storage"]])
            write_json(folder / SETTINGS, settings.values())
    remove_older(folder)


def exists(where: str) -> bool:
    """Whether there is an index.

    Raises:
        InputError: the address is none, or of something else.
        MachineError: the server does not answer.
    """
    if not is_address(where):
        return (Path(where) / SETTINGS).is_file()
    try:
        _values(where)
    except InputError as error:
        if "no such collection" in error.what:
            return False
        raise
    return True


@contextmanager
def update_lock(where: str) -> Iterator[None]:
    """Be the only process that makes or updates this index.

    Args:
        where: as for `open_index`; a folder is made when absent.

    Raises:
        MachineError: another process does.
    """
    if is_address(where):
        file = catalog_file(where).with_suffix(".lock")
    else:
        with machine_errors(Path(where)):
            Path(where).mkdir(parents=True, exist_ok=True)
        file = Path(where) / _UPDATE_LOCK
    with _locked(file, where, "another `tagprism index` is at work on it.", "Wait for it, or stop it."):
        yield


@contextmanager
def _locked(file: Path, where: str, busy: str, remedy: str) -> Iterator[None]:
    lock = take_lock(file)
    if lock is None:
        raise MachineError(busy, where=where, remedy=remedy)
    try:
        yield
    finally:
        lock.release()


def create_collection(
    where: str,
    model: str,
    storage: StorageName = "half",
    folders: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    *,
    anew: bool = False,
    progress: Progress = silent,
) -> Collection:
    """Make an empty index for the records of a model, while nobody else does (`update_lock`).

    Args:
        where: a folder that is absent or empty, or the address of a collection that is not there.
        model: as `tagging.tagger.load` takes it.
        storage: how records are kept.
        folders: the roots that will be indexed.
        exclude: patterns of what is left out of them.
        anew: in place of the one that is there, of which only the pictures go and not what people added.
        progress: told of what a foreign model needs before it can be used.

    Raises:
        InputError: something else is there already, or the model cannot be used.
        MachineError: it cannot be written, or another process has it open and it is to be made anew.
    """
    tagger = load(model, progress=progress)
    shape = tagger.bundle.shape
    settings = Settings(
        model=lasting_name(model, tagger.bundle.path),
        digest=tagger.bundle.digest,
        **shape._asdict(),
        storage=storage,
        folders=tuple(map(escaped, folders)),
        exclude=exclude,
        renewing="filling" if anew else "",
        numbers="weighted" if is_address(where) else None,
    )
    if is_address(where):
        engine = qdrant()
        values, asked = settings.values(), usually_asked(tagger)[MEASURED:]
        engine.QdrantIndex.create(*engine.connect(where), values, asked, anew=anew).close()
    else:
        folder = Path(where)
        if anew:
            _empty(folder, settings)
        else:
            refuse_filled(folder)
        index = EdgeIndex.create(folder, shape, storage)
        try:
            index.settle(usually_asked(tagger))  # pictures then come to what is near for these
        finally:
            index.close()
        write_json(folder / SETTINGS, settings.values())  # last: without it there is no index
    return open_index(where)


def refuse_filled(folder: Path) -> None:
    """Refuse a folder that holds more than an index that was not finished.

    Raises:
        InputError: it holds something else.
    """
    with machine_errors(folder):
        if any(entry.name not in _OURS for entry in folder.iterdir()):
            raise InputError("is no index and not empty.", where=str(folder), remedy="Name a new folder.")


def _empty(folder: Path, settings: Settings) -> None:
    """Remove the pictures of an index, but not what people added beside them, so that it can be made anew.

    Its settings go first, and say so: a kill at any moment leaves the old index whole, or a new one that can go on.
    """
    with _locked(folder / LOCK, str(folder), "is open in another process.", _STOP), machine_errors(folder):
        write_json(folder / SETTINGS, settings.model_copy(update={"renewing": "begun"}).values())
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        remove_older(folder)
