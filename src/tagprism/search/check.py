"""Whether an index is whole: every record against its sum, every point, and the files beside. Mends by taking out."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tagprism.errors import InputError
from tagprism.progress import Progress, silent
from tagprism.search.catalog import Catalog
from tagprism.search.collection import open_index
from tagprism.search.contract import Picture
from tagprism.search.create import update_lock
from tagprism.search.edge_reader import PICTURES
from tagprism.search.kept_records import KeptRecords
from tagprism.search.record_file import RECORDS, RecordFile
from tagprism.search.stored import catalog_file, is_address, marks_file


@dataclass(frozen=True)
class Checked:
    """What was found.

    Args:
        pictures: how many the index holds.
        damaged: those of them whose record, or what candidates are found by, is not as it was written.
        unknown: those of them that an older version wrote without a sum.
        files: databases beside the index that are damaged.
    """

    pictures: int
    damaged: tuple[Picture, ...]
    unknown: int
    files: tuple[Path, ...]


def check_index(where: str, *, take_out: bool = False, progress: Progress = silent) -> Checked:
    """Check an index, also beside a server that has it open.

    Args:
        where: its folder.
        take_out: remove the damaged pictures, so that the next update looks at their files anew.
        progress: told of every record.

    Raises:
        InputError: there is no index, or it is a server's.
        MachineError: the index is being updated, or it cannot be read or written.
    """
    if is_address(where):
        remedy = "Ask the Qdrant server for the health of its collection."
        raise InputError("a server's collection has no files to check.", where=where, remedy=remedy)
    with open_index(where) as collection, update_lock(where):
        index, settings = collection.index, collection.settings
        folder = Path(where) / PICTURES
        kept = KeptRecords(folder, RecordFile(folder / RECORDS, settings.shape, settings.storage))
        summed, bad = set(), []
        with progress("checking records", kept.summed) as advance:
            for one, is_whole in kept.check():
                summed.add(one)
                if not is_whole:
                    bad.append(one)
                advance(1)
        ids = {picture.id for picture in index.pictures()}
        damaged = tuple(picture for picture in index.get(bad) if picture is not None)
        if take_out and damaged:
            with closing(Catalog(catalog_file(where))) as catalog:
                gone = [picture.id for picture in damaged]
                with catalog.change(gone):
                    index.remove(gone)
                    catalog.forget(gone)
        files = tuple(file for file in (catalog_file(where), marks_file(where)) if not _is_sound(file))
        return Checked(len(ids), damaged, len(ids - summed), files)


def _is_sound(file: Path) -> bool:
    """Whether a database is absent, or can be read through."""
    if not file.exists():
        return True
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", timeout=60, uri=True)) as sql:
            return bool(sql.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False
