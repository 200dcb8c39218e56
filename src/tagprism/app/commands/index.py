"""`tagprism index`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL, Device, Quiet, Ray, Views, named_path, refuse_together
from tagprism.counted import counted
from tagprism.errors import NothingToDoError

if TYPE_CHECKING:
    from tagprism.search.collection import Collection
    from tagprism.search.contract import IndexInfo
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
    views: Views = None,
    device: Device = None,
    ray: Ray = None,
    shards: Annotated[
        Path | None, typer.Option(help="With --ray: folder of Parquet files for what comes of the pictures.")
    ] = None,
    from_shards: Annotated[
        Path | None, typer.Option("--from-shards", help="Load such a folder into the index, instead of pictures.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check that every record is whole; with --prune take damaged ones out.")
    ] = False,
    export: Annotated[
        Path | None, typer.Option("--export", parser=named_path, help="Only write the index into this one file.")
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", parser=named_path, help="Only make the index of a file of --export.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Make an index of pictures to search in, or bring it up to date: only new and changed files are read."""
    from tagprism.app.index_jobs import as_one_file, check_records, into_shards, load_from_shards
    from tagprism.bundle.names import with_views
    from tagprism.images.decode import MAX_PIXELS
    from tagprism.images.picture_list import expand_pattern
    from tagprism.search.create import exists, open_for_update
    from tagprism.search.upkeep import Upkeep

    if into == "" or "" in (paths or ()):
        raise typer.BadParameter("a path is empty; write . for the current folder.")
    making: dict[str, object] = {"--storage": storage, "--rebuild": rebuild, "--watch": watch}
    looking: dict[str, object] = {"--max-pixels": max_pixels, "--views": views, "--exclude": exclude}
    progress = console.progress(quiet)
    if ray is not None or shards is not None:
        others: dict[str, object] = {"--into": into, "--from-shards": from_shards, "--prune": prune, "--check": check}
        refuse_together({"--ray": True}, others | {"--export": export, "--import": import_} | making)
        if ray is None or shards is None or not paths:
            raise typer.BadParameter("--ray CLUSTER, --shards OUT and the pictures to look at go together.")
        name = with_views(model or DEFAULT_MODEL, views)
        return into_shards(paths, ray, shards, name, exclude or (), max_pixels or MAX_PIXELS, quiet)
    if into is None:
        raise typer.BadParameter("--into is missing: name the folder of the index, or its server's address.")
    if from_shards or check or export or import_:
        alone: dict[str, object] = {
            "--from-shards": from_shards,
            "--check": check,
            "--export": export,
            "--import": import_,
        }
        others = {"PATHS": paths, "--prune": prune and not check, "--model": model and (check or export)}
        others |= making | looking | {"--storage": storage and not from_shards}
        refuse_together(alone, others)
        if from_shards is not None:
            return load_from_shards(from_shards, into, model, storage, quiet)
        if check:
            return check_records(into, prune, progress, quiet)
        return as_one_file(into, export, import_, model, progress, quiet)
    roots = [os.path.abspath(one) for path in paths or () for one in expand_pattern(path)]  # noqa: PTH100 (texts)
    if not watch and not exists(into):
        _refuse_none(roots, exclude or [])
    if rebuild and exists(into):
        console.say(
            "The index is made anew: its old pictures answer no search from now on, and each answers again once it has "
            "been looked at. To search in the old ones meanwhile, stop, and make another index (--into).",
            quiet=quiet,
        )
    with open_for_update(
        into, roots, model=model, views=views, storage=storage, rebuild=rebuild, progress=progress
    ) as collection:
        upkeep = Upkeep(
            collection,
            max_pixels=max_pixels or MAX_PIXELS,
            progress=progress,
            skipped=lambda path, error: console.say_skipped(path, error.message),
            remarked=lambda path, remark: console.say_remark(path, remark, quiet=quiet),
        )
        renewing = collection.unfinished
        try:
            report = upkeep.update(roots, prune=prune, exclude=exclude, tell_all=rebuild)
            _say(collection, report, quiet)
            if renewing:
                console.say(collection.unfinished or "It is whole: searches find all of it again.", quiet=quiet)
            console.say_device(quiet)
            if watch:
                console.say("watching; Ctrl-C ends it", quiet=quiet)
                _follow(collection, upkeep, report, quiet)
        except KeyboardInterrupt as stop:
            kept = f"{into} holds {counted(collection.index.info().pictures, 'picture')}"
            raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
        finally:
            upkeep.close()
        return _exit_code(report, roots or list(collection.folders))


def _refuse_none(roots: list[str], exclude: list[str]) -> None:
    """Say that there are no pictures before an index is made that would stay behind, empty."""
    from tagprism.images.picture_list import why_none
    from tagprism.images.walk import WalkReport, each_picture

    report = WalkReport()
    if roots and next(each_picture(roots, exclude=exclude, report=report), None) is None:
        where = ", ".join(map(console.printable, roots))
        raise NothingToDoError("there are no pictures.", where=where, remedy=why_none(report))


def _follow(collection: Collection, upkeep: Upkeep, report: Report, quiet: bool) -> None:
    from tagprism.search.watch import changes

    doubtful = report.doubtful
    for paths in changes(collection.folders, os.path.abspath(collection.where), console.say):  # noqa: PTH100 (texts)
        report = upkeep.update() if paths is None else upkeep.follow(paths)
        if report.any_change or (report.doubtful and report.doubtful != doubtful):
            _say(collection, report, quiet)
        doubtful = report.doubtful


def _exit_code(report: Report, roots: list[str]) -> int:
    """0, or 4 when pictures were skipped that were not known to be bad; nothing at all is an error."""
    from tagprism.images.picture_list import why_none

    done = report.any_change or report.unchanged + report.skipped + report.known_bad
    if not done and not report.doubtful:
        where = ", ".join(map(console.printable, roots))
        raise NothingToDoError("there are no pictures.", where=where, remedy=why_none(report.walk))
    return console.SKIPPED if report.skipped else console.OK


def _say(collection: Collection, report: Report, quiet: bool) -> None:
    for root, gone in report.doubtful.items():
        what = "is not there" if not os.path.lexists(root) else "has lost many"
        kept = f"{counted(gone, 'indexed picture')} kept"
        remedy = "If its disk is not in use, mount it; add --prune where pictures are gone for good."
        console.say(f"{root} {what}: {kept}. {remedy}")
    if left_out := str(report.walk):
        console.say(f"left out: {left_out}", quiet=quiet)
    if report.known_bad:
        kept = "could not be used before and still cannot; `tagprism tag` says why"
        console.say(f"{counted(report.known_bad, 'picture')} {kept}", quiet=quiet)
    words = {"added": report.added, "changed": report.changed, "moved": report.moved, "removed": report.removed}
    words |= {"renewed": report.renewed, "unchanged": report.unchanged, "skipped": report.skipped}
    done = ", ".join(f"{count:,} {word}" for word, count in words.items() if count) or "nothing to do"
    info = collection.index.info()
    console.say(f"{done}; {counted(info.pictures, 'picture')} in {collection.where} ({form_of(info)})", quiet=quiet)
    console.say_not_read(report.walk.not_read, quiet=quiet)


def form_of(info: IndexInfo) -> str:
    """How an index keeps records, and how well it finds candidates where it looks for them."""
    form = info.storage + (", exact" if info.exact else "")
    if info.recall is None:
        form += ", recall not measured yet"
    elif info.recall < 1:
        form += f", recall of one word {info.recall:.4f}"
    form += f", worst word {info.worst:.2f}" if info.worst is not None and info.worst < 1 else ""
    return form + (", candidates by the mean of rows" if not info.fitted and info.recall != 1 else "")
