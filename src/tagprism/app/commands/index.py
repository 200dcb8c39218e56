"""`tagprism index`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL, Quiet, Ray
from tagprism.errors import InputError, NothingToDoError, PictureError

if TYPE_CHECKING:
    from tagprism.search.collection import Collection
    from tagprism.search.upkeep import Upkeep
    from tagprism.search.upkeep_report import Report

Storage = Literal["float32", "half"]  # as `search.record_file.StorageName`, which loads numpy


def index(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Pictures, folders, patterns; without any, those indexed before.")
    ] = None,
    into: Annotated[
        str | None, typer.Option(help="Folder of the index, or qdrant+http://HOST:6333/COLLECTION; made when absent.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help=f"As for tag. \\[default: {DEFAULT_MODEL}, later that of the index]"),
    ] = None,
    storage: Annotated[
        Storage | None,
        typer.Option(help="How records are kept, see docs/scale.md. \\[default: half]"),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Take out what is gone, also whole folders at once.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Look at everything anew, with another model or storage if given.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and follow every change in the folders.")] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help='What to leave out from now on, as in a .gitignore; may be repeated; "" for nothing.'),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="As for tag. \\[default: 178956970]"),
    ] = None,
    ray: Ray = None,
    shards: Annotated[
        Path | None, typer.Option(help="With --ray: folder of Parquet files for what comes of the pictures.")
    ] = None,
    from_shards: Annotated[
        Path | None, typer.Option("--from-shards", help="Load such a folder into the index, instead of pictures.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Make an index of pictures to search in, or bring it up to date: only new and changed files are read."""
    from tagprism.images.decode import MAX_PIXELS
    from tagprism.images.picture_list import expand_pattern
    from tagprism.search.create import open_for_update
    from tagprism.search.upkeep import Upkeep

    if into == "" or "" in (paths or ()):
        raise typer.BadParameter("a path is empty; write . for the current folder.")
    if ray is not None or shards is not None:
        _refuse("--ray", into=into, from_shards=from_shards, prune=prune, rebuild=rebuild, watch=watch)
        if ray is None or shards is None or not paths:
            raise typer.BadParameter("--ray CLUSTER, --shards OUT and the pictures to look at go together.")
        return _into_shards(paths, ray, shards, model or DEFAULT_MODEL, exclude or (), max_pixels or MAX_PIXELS, quiet)
    if into is None:
        raise typer.BadParameter("--into is missing: name the folder of the index, or its server's address.")
    if from_shards is not None:
        _refuse("--from-shards", paths=paths, prune=prune, rebuild=rebuild, watch=watch)
        return _from_shards(from_shards, into, model, storage, quiet)
    roots = [os.path.abspath(one) for path in paths or () for one in expand_pattern(path)]  # noqa: PTH100 (texts)
    progress = console.progress(quiet)
    with open_for_update(into, roots, model=model, storage=storage, rebuild=rebuild, progress=progress) as collection:
        upkeep = Upkeep(
            collection,
            max_pixels=max_pixels or MAX_PIXELS,
            progress=progress,
            skipped=lambda path, error: console.say_skipped(path, error.message),
            remarked=lambda path, remark: console.say_remark(path, remark, quiet=quiet),
        )
        try:
            report = upkeep.update(roots, prune=prune, exclude=exclude, tell_all=rebuild)
            _say(collection, report, quiet)
            if watch:
                console.say("watching; Ctrl-C ends it", quiet=quiet)
                _follow(collection, upkeep, report, quiet)
        except KeyboardInterrupt as stop:
            kept = f"{collection.index.info().pictures:,} pictures are in {into}"
            raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
        finally:
            upkeep.close()
        return _exit_code(report, roots or list(collection.folders))


def _refuse(option: str, **others: object) -> None:
    """Say which options, or paths, do not go with one."""
    for name, value in others.items():
        if value:
            other = "paths" if name == "paths" else f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"{other} cannot be given with {option}.")


def _into_shards(
    paths: list[str], ray: str, shards: Path, model: str, exclude: Sequence[str], max_pixels: int, quiet: bool
) -> int:
    """Look at pictures on a Ray cluster."""
    from tagprism.bulk.cluster import cluster
    from tagprism.bulk.listing import Listing
    from tagprism.images.elsewhere import is_url

    skipped = 0

    def skip(path: str, error: PictureError) -> None:
        nonlocal skipped
        skipped += 1
        console.say_skipped(path, error.message)

    named = [path if is_url(path) else os.path.abspath(path) for path in paths]  # noqa: PTH100 (texts)
    pictures = Listing(named, exclude=[one for one in exclude if one])
    if left_out := str(pictures.report):
        console.say(f"left out: {left_out}", quiet=quiet)
    try:
        with cluster(ray) as processors:
            from tagprism.bulk.look import index_into_shards  # which needs what the cluster has just been asked for

            done = index_into_shards(
                pictures,
                shards,
                model,
                processors,
                max_pixels=max_pixels,
                progress=console.progress(quiet),
                skipped=skip,
            )
    except KeyboardInterrupt as stop:
        kept = f"what was done is in {shards}. Run the same command again to continue."
        raise console.Interrupted(f"interrupted; {kept}") from stop
    load = f"load them with: tagprism index --from-shards {shards} --into INDEX"
    console.say(f"{done.pictures:,} rows are in {shards}; {load}", quiet=quiet)
    console.say_not_read(pictures.report.not_read, quiet=quiet)
    return console.SKIPPED if skipped else console.OK


def _from_shards(folder: Path, into: str, model: str | None, storage: Storage | None, quiet: bool) -> int:
    """Load what a Ray cluster has looked at."""
    if find_spec("pyarrow") is None:
        what, remedy = (
            "needs pyarrow, which is not installed.",
            'Install it: pip install "tagprism[ray]", or pyarrow alone.',
        )
        raise InputError(what, where="--from-shards", remedy=remedy)
    from tagprism.bulk.load import load_shards

    try:
        done = load_shards(
            folder,
            into,
            model=model,
            storage=storage,
            progress=console.progress(quiet),
            skipped=lambda path, error: console.say_skipped(path, error.message),
        )
    except KeyboardInterrupt as stop:
        raise console.Interrupted("interrupted; run the same command again to continue.") from stop
    words = {"added": done.added, "changed": done.changed, "unchanged": done.unchanged, "skipped": done.skipped}
    said = ", ".join(f"{count:,} {word}" for word, count in words.items() if count) or "nothing to do"
    console.say(f"{said}; {done.pictures:,} pictures in {into}", quiet=quiet)
    return console.SKIPPED if done.skipped else console.OK


def _follow(collection: Collection, upkeep: Upkeep, report: Report, quiet: bool) -> None:
    from tagprism.search.watch import changes

    doubtful = report.doubtful
    for places in changes(collection.folders, os.path.abspath(collection.where), console.say):  # noqa: PTH100 (texts)
        report = upkeep.update() if places is None else upkeep.follow(places)
        if report.any_change or (report.doubtful and report.doubtful != doubtful):
            _say(collection, report, quiet)
        doubtful = report.doubtful


def _exit_code(report: Report, roots: list[str]) -> int:
    """0, or 4 when pictures were skipped that were not known to be bad; nothing at all is an error."""
    from tagprism.images.formats import say_not_read

    done = report.any_change or report.unchanged + report.skipped + report.known_bad
    if not done and not report.doubtful:
        where = ", ".join(map(console.printable, roots))
        raise NothingToDoError("there are no pictures.", where=where, remedy=say_not_read(report.walk.not_read))
    return console.SKIPPED if report.skipped else console.OK


def _say(collection: Collection, report: Report, quiet: bool) -> None:
    for root, gone in report.doubtful.items():
        what = "is not there" if not os.path.lexists(root) else "has lost many"
        kept = f"{gone:,} indexed picture(s) were kept"
        remedy = "If its disk is not in use, mount it; if they are gone for good, add --prune."
        console.say(f"{root} {what}: {kept}. {remedy}")
    if left_out := str(report.walk):
        console.say(f"left out: {left_out}", quiet=quiet)
    if report.known_bad:
        kept = "could not be used before and still cannot; `tagprism tag` says why"
        console.say(f"{report.known_bad:,} picture(s) {kept}", quiet=quiet)
    words = {"added": report.added, "changed": report.changed, "moved": report.moved, "removed": report.removed}
    words |= {"renewed": report.renewed, "unchanged": report.unchanged, "skipped": report.skipped}
    done = ", ".join(f"{count:,} {word}" for word, count in words.items() if count) or "nothing to do"
    info = collection.index.info()
    recall = "exact" if info.exact else f"recall {info.recall:.4f}"
    console.say(f"{done}; {info.pictures:,} pictures in {collection.where} ({info.storage}, {recall})", quiet=quiet)
    console.say_not_read(report.walk.not_read, quiet=quiet)
