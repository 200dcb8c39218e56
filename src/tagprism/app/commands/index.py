"""`tagprism index`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import DEFAULT_MODEL, Quiet
from tagprism.errors import InputError, NothingToDoError, PictureError

if TYPE_CHECKING:
    from tagprism.search.collection import Collection
    from tagprism.search.upkeep import Report, Upkeep


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
        Literal["float32", "half"] | None,
        typer.Option(help="How records are kept, see docs/scale.md. \\[default: half]"),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Take out what is gone, also whole folders at once.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Look at everything anew, with another model or storage if given.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and follow every change in the folders.")] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="As for tag. \\[default: 178956970]"),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Make an index of pictures to search in, or bring it up to date: only new and changed files are read."""
    from tagprism.images.decode import MAX_PIXELS
    from tagprism.images.walk import expand_pattern
    from tagprism.search.create import open_for_update
    from tagprism.search.upkeep import Upkeep

    roots = [os.path.abspath(one) for path in paths or () for one in expand_pattern(path)]  # noqa: PTH100 (texts)
    progress = console.progress(quiet)
    with open_for_update(into, roots, model=model, storage=storage, rebuild=rebuild, progress=progress) as collection:
        upkeep = Upkeep(
            collection,
            max_pixels=max_pixels or MAX_PIXELS,
            progress=progress,
            skipped=_tell_once(),
        )
        try:
            report = upkeep.update(roots, prune=prune)
            _say(collection, report, quiet)
            while watch:
                console.say("watching; Ctrl-C ends it", quiet=quiet)
                _follow(collection, upkeep, quiet)
        except KeyboardInterrupt as stop:
            kept = f"{collection.index.info().pictures:,} pictures are in {into}"
            raise console.Interrupted(f"interrupted; {kept}. Run the same command again to continue.") from stop
        finally:
            upkeep.close()
        return _exit_code(report, roots or list(collection.folders))


def _follow(collection: Collection, upkeep: Upkeep, quiet: bool) -> None:
    from tagprism.search.watch import changes

    for _ in changes(collection.folders):
        present = [folder for folder in collection.folders if os.path.lexists(folder)]  # a disk may be away for a while
        report = upkeep.update(present) if present else None
        if report and report.any_change:
            _say(collection, report, quiet)


def _exit_code(report: Report, roots: list[str]) -> int:
    """0, or 4 when pictures were skipped; what was doubtful or nothing at all is an error."""
    if report.doubtful:
        root, gone = next(iter(report.doubtful.items()))
        raise InputError(
            f"{gone:,} pictures that are indexed are gone, too many to be sure: they were kept.",
            where=root,
            remedy="If its disk is not in use, mount it; if they are gone for good, add --prune.",
        )
    if not report.unchanged + report.added + report.changed + report.moved + report.removed + report.skipped:
        raise NothingToDoError("there are no pictures.", where=", ".join(map(console.printable, roots)))
    return console.SKIPPED if report.skipped else console.OK


def _tell_once() -> Callable[[str, PictureError], None]:
    """What names skipped pictures: while a folder is watched they are met again with every change."""
    told = set()

    def tell(path: str, error: PictureError) -> None:
        if (path, error.message) not in told:
            told.add((path, error.message))
            console.say_skipped(path, error.message)

    return tell


def _say(collection: Collection, report: Report, quiet: bool) -> None:
    words = {"added": report.added, "changed": report.changed, "moved": report.moved, "removed": report.removed}
    words |= {"unchanged": report.unchanged, "skipped": report.skipped}
    done = ", ".join(f"{count:,} {word}" for word, count in words.items() if count) or "nothing to do"
    info = collection.index.info()
    recall = "exact" if info.exact else f"recall {info.recall:.4f}"
    console.say(f"{done}; {info.pictures:,} pictures in {collection.where} ({info.storage}, {recall})", quiet=quiet)
