"""`tagprism index`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL
from tagprism.errors import InputError, NothingToDoError, PictureError
from tagprism.images.decode import MAX_PIXELS
from tagprism.images.walk import expand_pattern
from tagprism.search.collection import (
    SETTINGS,
    Collection,
    create_collection,
    is_address,
    open_collection,
    remove_collection,
)
from tagprism.search.upkeep import Report, Upkeep, only_one
from tagprism.search.watch import changes
from tagprism.tagging.tagger import load

Storage = Literal["float32", "float16", "int8"]


def index(
    paths: list[str],
    into: str,
    model: str | None,
    storage: Storage | None,
    prune: bool,
    rebuild: bool,
    watch: bool,
    max_pixels: int | None,
    quiet: bool,
) -> int:
    """Make an index or bring it up to date; the exit code is 4 when pictures were skipped."""
    roots = [os.path.abspath(one) for path in paths for one in expand_pattern(path)]  # noqa: PTH100 (texts)
    if not _is_there(into):
        if not roots:
            remedy = "Name files or folders."
            raise InputError("there is no index, and no pictures are named.", where=into, remedy=remedy)
        _refuse_absent(roots, ())
    with only_one(into):
        collection = _collection(roots, into, model, storage, rebuild)
        try:
            upkeep = Upkeep(
                collection,
                max_pixels=max_pixels or MAX_PIXELS,
                progress=console.progress(quiet),
                skipped=_tell_once(),
            )
            try:
                return _update(collection, upkeep, roots, prune, watch, quiet)
            except KeyboardInterrupt as stop:
                kept = f"{collection.index.info().pictures:,} pictures are in {into}"
                raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
            finally:
                upkeep.close()
        finally:
            collection.close()


def _collection(roots: list[str], into: str, model: str | None, storage: Storage | None, rebuild: bool) -> Collection:
    """The index, made where there is none."""
    old: Collection | None = None
    if _is_there(into):
        old = open_collection(into)
        if not rebuild:
            return _checked(old, model, storage)
        old.close()
    model = model or (old.settings.model if old else DEFAULT_MODEL)
    load(model)  # a model that cannot be used is an error before anything is removed
    if old:
        remove_collection(into)
    return create_collection(
        into, model, storage or (old.settings.storage if old else "float16"), _joined(old.folders if old else (), roots)
    )


def _is_there(into: str) -> bool:
    if not is_address(into):
        return (Path(into) / SETTINGS).is_file()
    try:
        open_collection(into).close()
    except InputError as error:
        if "no such collection" in error.what:
            return False
        raise
    return True


def _checked(collection: Collection, model: str | None, storage: Storage | None) -> Collection:
    """Refuse to go on with another model or another storage."""
    try:
        if model is not None:
            collection = collection.with_model(model)
        _ = collection.tagger
        if storage not in (None, collection.settings.storage):
            raise InputError(
                f"keeps matrices as {collection.settings.storage}, not {storage}.",
                where=collection.where,
                remedy="Leave --storage away, or index anew with --rebuild.",
            )
    except BaseException:
        collection.close()
        raise
    return collection


def _update(collection: Collection, upkeep: Upkeep, roots: list[str], prune: bool, watch: bool, quiet: bool) -> int:
    wanted = roots or list(collection.folders)
    if not prune:
        _refuse_absent(wanted, tuple(root for root in wanted if upkeep.known(root)))
    folders = _joined(collection.folders, roots)
    if prune:
        folders = tuple(folder for folder in folders if folder not in wanted or os.path.lexists(folder))
    if folders != collection.folders:
        collection.keep_folders(folders)
    report = upkeep.update(wanted, prune=prune)
    _say(collection, report, quiet)
    while watch:
        console.say("watching; Ctrl-C ends it", quiet=quiet)
        for _ in changes(folders):
            present = [folder for folder in folders if os.path.lexists(folder)]  # a disk may be away for a while
            report = upkeep.update(present)
            if report.any_change:
                _say(collection, report, quiet)
    if report.doubtful:
        root, gone = next(iter(report.doubtful.items()))
        raise InputError(
            f"{gone:,} pictures that are indexed are gone, too many to be sure: they were kept.",
            where=root,
            remedy="If its disk is not in use, mount it; if they are gone for good, add --prune.",
        )
    if not report.unchanged + report.added + report.changed + report.moved + report.removed + report.skipped:
        raise NothingToDoError("there are no pictures.", where=", ".join(map(console.printable, wanted)))
    return console.SKIPPED if report.skipped else console.OK


def _tell_once() -> Callable[[str, PictureError], None]:
    """What names skipped pictures: while a folder is watched they are met again with every change."""
    told = set()

    def tell(path: str, error: PictureError) -> None:
        if (path, error.message) not in told:
            told.add((path, error.message))
            console.say_skipped(path, error.message)

    return tell


def _refuse_absent(roots: list[str], known: tuple[str, ...]) -> None:
    for root in roots:
        if not os.path.lexists(root):
            remedy = "Name files or folders that are there."
            if root in known:
                remedy = "If its disk is not in use, mount it; if it is gone for good, add --prune."
            raise InputError("is not there.", where=console.printable(root), remedy=remedy)


def _joined(folders: tuple[str, ...], roots: list[str]) -> tuple[str, ...]:
    """The roots, without those that lie in others."""
    kept: list[str] = []
    for root in sorted({*folders, *roots}):
        if not any(root.startswith(os.path.join(other, "")) for other in kept):  # noqa: PTH118 (texts)
            kept.append(root)
    return tuple(kept)


def _say(collection: Collection, report: Report, quiet: bool) -> None:
    words = {"added": report.added, "changed": report.changed, "moved": report.moved, "removed": report.removed}
    words |= {"unchanged": report.unchanged, "skipped": report.skipped}
    done = ", ".join(f"{count:,} {word}" for word, count in words.items() if count) or "nothing to do"
    info = collection.index.info()
    recall = "exact" if info.exact else f"recall {info.recall:.4f}"
    console.say(f"{done}; {info.pictures:,} pictures in {collection.where} ({info.storage}, {recall})", quiet=quiet)
