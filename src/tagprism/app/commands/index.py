"""`tagprism index`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL, Quiet, named_path, refuse_together
from tagprism.errors import InputError, NothingToDoError

if TYPE_CHECKING:
    from tagprism.progress import Progress
    from tagprism.search.collection import Collection
    from tagprism.search.upkeep import Upkeep
    from tagprism.search.upkeep_report import Report

Storage = Literal["float32", "half"]  # as `search.record_file.StorageName`, which loads numpy

_SHOWN = 10  # damaged pictures


def index(
    into: Annotated[
        str, typer.Option(help="Folder of the index, or qdrant+http://HOST:6333/COLLECTION; made when absent.")
    ],
    paths: Annotated[
        list[str] | None, typer.Argument(help="Pictures, folders, patterns; without any, those indexed before.")
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
    from tagprism.images.decode import MAX_PIXELS
    from tagprism.images.picture_list import expand_pattern
    from tagprism.search.create import open_for_update
    from tagprism.search.upkeep import Upkeep

    if not into or "" in (paths or ()):
        raise typer.BadParameter("a path is empty; write . for the current folder.")
    roots = [os.path.abspath(one) for path in paths or () for one in expand_pattern(path)]  # noqa: PTH100 (texts)
    progress = console.progress(quiet)
    if check or export or import_:
        others = {"PATHS": paths, "--storage": storage, "--rebuild": rebuild, "--watch": watch, "--exclude": exclude}
        others |= {"--prune": prune and not check, "--model": model and not import_, "--max-pixels": max_pixels}
        refuse_together({"--check": check, "--export": export, "--import": import_}, others)
        if check:
            return _check(into, prune, progress, quiet)
        return _as_file(into, export, import_, model, progress, quiet)
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


def _as_file(
    into: str, export: Path | None, imported: Path | None, model: str | None, progress: Progress, quiet: bool
) -> int:
    from tagprism.search.archive import export_index, import_index

    if export is not None:
        count = export_index(into, export, progress=progress)
        console.say(f"{count:,} pictures of {into} are in {export}", quiet=quiet)
    elif imported is not None:
        count = import_index(imported, into, model=model, progress=progress)
        console.say(f"{count:,} pictures of {imported} are in {into}", quiet=quiet)
    return console.OK


def _check(into: str, take_out: bool, progress: Progress, quiet: bool) -> int:
    from tagprism.search.check import check_index

    found = check_index(into, take_out=take_out, progress=progress)
    for picture in found.damaged[:_SHOWN]:
        console.say(f"damaged: the record of {console.printable(picture.path)}")
    if found.unknown:
        kept = "were indexed by an older version, which kept no sums; --rebuild makes them"
        console.say(f"{found.unknown:,} of {found.pictures:,} pictures {kept}", quiet=quiet)
    if found.files:
        remedy = "The catalog is made again when it is deleted; marks come from a copy."
        raise InputError("is damaged.", where=", ".join(map(str, found.files)), remedy=remedy)
    again = f"Give `tagprism index --into {into}` to look at their files anew."
    if found.damaged and take_out:
        console.say(f"{len(found.damaged):,} damaged picture(s) were taken out. {again}")
    elif found.damaged:
        what = f"{len(found.damaged):,} of {found.pictures:,} pictures have a damaged record."
        raise InputError(what, where=into, remedy="Take them out with --check --prune, or bring back a copy.")
    elif found.pictures > found.unknown:
        console.say(f"{found.pictures - found.unknown:,} pictures in {into} are whole", quiet=quiet)
    return console.OK


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
    recall += f", worst word {info.worst:.2f}" if info.worst < 1 else ""
    console.say(f"{done}; {info.pictures:,} pictures in {collection.where} ({info.storage}, {recall})", quiet=quiet)
    console.say_not_read(report.walk.not_read, quiet=quiet)
