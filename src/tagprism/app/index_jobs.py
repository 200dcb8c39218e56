"""The jobs of `tagprism index` beside looking at pictures: shards of a Ray cluster, an index as one file, checking."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tagprism.app import console
from tagprism.counted import counted
from tagprism.errors import InputError, PictureError

if TYPE_CHECKING:
    from tagprism.progress import Progress
    from tagprism.search.record_file import StorageName

_SHOWN = 10  # damaged pictures


def into_shards(
    paths: list[str], ray: str, shards: Path, model: str, exclude: Sequence[str], max_pixels: int, quiet: bool
) -> int:
    """Look at pictures on a Ray cluster."""
    from tagprism.bulk.cluster import cluster
    from tagprism.bulk.listing import Listing
    from tagprism.images.elsewhere import is_url

    skipped = 0
    if find_spec("pyarrow") is not None:  # else the cluster says what is missing
        from tagprism.bulk.shards import refuse_taken

        refuse_taken(shards)  # at once: a bucket may take long to list

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
    console.say(f"{shards} holds {counted(done.pictures, 'row')}; {load}", quiet=quiet)
    console.say_not_read(pictures.report.not_read, quiet=quiet)
    return console.SKIPPED if skipped else console.OK


def load_from_shards(folder: Path, into: str, model: str | None, storage: StorageName | None, quiet: bool) -> int:
    """Load what a Ray cluster has looked at."""
    if find_spec("pyarrow") is None:
        remedy = 'Install it: pip install "tagprism[ray]", or pyarrow alone.'
        raise InputError("needs pyarrow, which is not installed.", where="--from-shards", remedy=remedy)
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
    console.say(f"{said}; {counted(done.pictures, 'picture')} in {into}", quiet=quiet)
    return console.SKIPPED if done.skipped else console.OK


def as_one_file(
    into: str, export: Path | None, imported: Path | None, model: str | None, progress: Progress, quiet: bool
) -> int:
    """Write an index into one file, or make it of one."""
    from tagprism.search.archive import export_index, import_index

    if export is not None:
        count = export_index(into, export, progress=progress)
        console.say(f"{export} holds {counted(count, 'picture')} of {into}", quiet=quiet)
    elif imported is not None:
        count = import_index(imported, into, model=model, progress=progress)
        console.say(f"{into} holds {counted(count, 'picture')} of {imported}", quiet=quiet)
    return console.OK


def check_records(into: str, take_out: bool, progress: Progress, quiet: bool) -> int:
    """Check the records of an index, and take damaged ones out where that is asked for."""
    from tagprism.search.check import check_index

    found = check_index(into, take_out=take_out, progress=progress)
    for picture in found.damaged[:_SHOWN]:
        console.say(f"damaged: the record of {console.printable(picture.path)}")
    if found.unknown:
        kept = "indexed by an older version, which kept no sums; --rebuild makes them"
        console.say(f"{found.unknown:,} of {counted(found.pictures, 'picture')} {kept}", quiet=quiet)
    if found.files:
        remedy = "The catalog is made again when it is deleted; marks come from a copy."
        raise InputError("is damaged.", where=", ".join(map(str, found.files)), remedy=remedy)
    again = f"Give `tagprism index --into {into}` to look at their files anew."
    if found.damaged and take_out:
        console.say(f"taken out: {counted(len(found.damaged), 'damaged picture')}. {again}")
    elif found.damaged:
        what = f"of {counted(found.pictures, 'picture')} {len(found.damaged):,} with a damaged record."
        raise InputError(what, where=into, remedy="Take them out with --check --prune, or bring back a copy.")
    elif found.pictures > found.unknown:
        console.say(f"{counted(found.pictures - found.unknown, 'picture')} in {into}: nothing is damaged", quiet=quiet)
    return console.OK
