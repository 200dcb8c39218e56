"""What a library does with several pictures at once: tags, writes, exports. For threads; knows no HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tagprism.app.server.answers import ExportForm, KeywordsOfMany, MarkedMany
from tagprism.app.server.forms import shown
from tagprism.errors import PictureError
from tagprism.keywords import sidecar
from tagprism.search.album import Album
from tagprism.search.contract import Picture
from tagprism.search.find import find
from tagprism.search.output import found_csv, found_paths, found_row
from tagprism.search.parse import parse
from tagprism.search.results import Found
from tagprism.search.similar import Example

if TYPE_CHECKING:
    from tagprism.app.server.library import Library


def _pictures(library: Library, ids: Sequence[int]) -> list[Picture]:
    return [picture for picture in library.collection.index.get(list(dict.fromkeys(ids))) if picture is not None]


def mark(library: Library, ids: Sequence[int], label: str, added: bool | None) -> MarkedMany:
    """Keep what a person says of a tag of several pictures."""
    pictures = _pictures(library, ids)
    library.marks.put({picture.digest for picture in pictures}, label, added)
    return MarkedMany(pictures=len(pictures))


def write(library: Library, ids: Sequence[int]) -> KeywordsOfMany:
    """Write the marks of several pictures into their sidecars."""
    changes: list[sidecar.SidecarChange] = []
    left = []
    for picture in _pictures(library, ids):
        try:
            library.original_of(picture.id)  # it is still the picture that the marks are about
            changes.append(library.keywords.planned(picture))
        except PictureError as error:
            left.append(f"{shown(Path(picture.path).name)}: {error.message}")
    needed = list({change.path: change for change in changes if change.is_needed}.values())
    run, errors = library.keywords.write(needed, {"page": sorted(str(change.path) for change in needed)})
    left += [f"{shown(str(error.where or ''))}: {error.what}" for error in errors]
    return KeywordsOfMany(written=len(needed) - len(errors), left=left, run=run)


def export(library: Library, ids: Sequence[int], form: ExportForm, query: str, like: int | None) -> bytes:
    """The bytes of an export, in the order of the query, or of the selection where there is none."""
    pictures = _pictures(library, ids)
    tree = parse(query) if query.strip() else None
    own = library.picture(like) if like is not None else None
    found: list[Found] = []
    if tree is not None or own is not None:
        example = Example(library.record(own.id), own.path, own.digest) if own is not None else None
        among = frozenset(picture.id for picture in pictures)
        marks = library.marks.said()
        found = list(find(library.collection, tree, len(among) or 1, like=example, marks=marks, among=among).found)
    there = {one.picture.id for one in found}
    found += library.described(
        [Found(picture, 0.0 if found else 1.0) for picture in pictures if picture.id not in there]
    )
    if form == "paths":
        return found_paths(found, null=False)
    if form == "csv":
        return found_csv(map(found_row, found), spreadsheet=True).encode("utf-8-sig")  # so that spreadsheets read UTF-8
    if form == "jsonl":
        return "".join(json.dumps(found_row(one)) + "\n" for one in found).encode()
    album = Album.of(query, own.path if own is not None else None, [one.picture.path for one in found])
    return album.model_dump_json(indent=2).encode() + b"\n"
