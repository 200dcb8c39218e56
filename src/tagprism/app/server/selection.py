"""What is done with several pictures at once: tagged, written, exported. For threads, and its addresses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from tagprism.app.server.answers import Answer, Errors, MarkIn
from tagprism.app.server.forms import shown
from tagprism.app.server.library import Library
from tagprism.app.server.routes import Served
from tagprism.errors import PictureError
from tagprism.keywords import sidecar
from tagprism.search.album import Album
from tagprism.search.contract import Picture
from tagprism.search.find import Found, find
from tagprism.search.output import found_csv, found_paths, found_row
from tagprism.search.parse import parse
from tagprism.search.similar import Example

router = APIRouter(prefix="/api/selection")
Form = Literal["paths", "csv", "jsonl", "album"]
_TYPES: dict[Form, tuple[str, str]] = {
    "paths": ("text/plain; charset=utf-8", "pictures.txt"),
    "csv": ("text/csv; charset=utf-8", "pictures.csv"),
    "jsonl": ("application/jsonl", "pictures.jsonl"),
    "album": ("application/json", "pictures.album"),
}
Number = Annotated[int, Field(ge=1, le=2**63 - 1)]
Numbers = Annotated[list[Number], Field(min_length=1, max_length=2000)]


class Selection(Answer):
    """Some pictures.

    Args:
        ids: at most 2,000; those that are no longer there are passed over.
    """

    ids: Numbers


class Marking(Selection, MarkIn):
    """What a person says of a tag of all of them."""


class Export(Selection):
    """What is to be written down.

    Args:
        format: of the file.
        query: what they were found by, or empty.
        like: id of the picture they are like, or null.
    """

    format: Form
    query: Annotated[str, Field(max_length=10_000)] = ""
    like: Number | None = None


class MarkedMany(Answer):
    """What became of a word on several pictures.

    Args:
        pictures: how many were there to be marked.
    """

    pictures: int


class KeywordsOfMany(Answer):
    """What became of the sidecars of several pictures.

    Args:
        written: how many were written.
        left: pictures left alone, each with the reason.
        run: name for `tagprism undo NAME`, and to take all of it back here; null when nothing was written.
    """

    written: int
    left: list[str]
    run: str | None


@router.put("/marks", responses={507: {"model": Errors}})
async def mark(served: Served, said: Marking) -> MarkedMany:
    """Add a tag to several pictures, reject one, or take the word back."""
    return await served.quick.run(mark_all, served.library, said.ids, said.label, said.mark)


@router.post("/keywords", responses={507: {"model": Errors}})
async def keywords(served: Served, chosen: Selection) -> KeywordsOfMany:
    """Write what was added and rejected into the sidecars of several pictures, as one run."""
    return await served.pictures.run(write_all, served.library, chosen.ids)


@router.post("/export", response_class=Response, responses={200: {"content": {"*/*": {}}}, 404: {"model": Errors}})
async def export(served: Served, wanted: Export) -> Response:
    """Several pictures as a file: paths, CSV that is safe in a spreadsheet, JSONL, or an album."""
    data = await served.quick.run(exported, served.library, wanted)
    kind, name = _TYPES[wanted.format]
    return Response(data, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def _pictures(library: Library, ids: Sequence[int]) -> list[Picture]:
    return [picture for picture in library.collection.index.get(list(dict.fromkeys(ids))) if picture is not None]


def mark_all(library: Library, ids: Sequence[int], label: str, added: bool | None) -> MarkedMany:
    """Keep what a person says of a tag of several pictures."""
    pictures = _pictures(library, ids)
    library.marks.put({picture.digest for picture in pictures}, label, added)
    return MarkedMany(pictures=len(pictures))


def write_all(library: Library, ids: Sequence[int]) -> KeywordsOfMany:
    """Write the marks of several pictures into their sidecars."""
    changes: list[sidecar.SidecarChange] = []
    left = []
    for picture in _pictures(library, ids):
        try:
            library.original(picture.id)  # it is still the picture that the marks are about
            changes.append(library.planned(picture))
        except PictureError as error:
            left.append(f"{shown(Path(picture.path).name)}: {error.message}")
    needed = list({change.path: change for change in changes if change.is_needed}.values())
    run, errors = library.written(needed, {"page": sorted(str(change.path) for change in needed)})
    left += [f"{shown(str(error.where or ''))}: {error.what}" for error in errors]
    return KeywordsOfMany(written=len(needed) - len(errors), left=left, run=run)


def exported(library: Library, wanted: Export) -> bytes:
    """The bytes of an export, in the order of the query, or of the selection where there is none."""
    pictures = _pictures(library, wanted.ids)
    tree = parse(wanted.query) if wanted.query.strip() else None
    like = library.picture(wanted.like) if wanted.like is not None else None
    found: list[Found] = []
    if tree is not None or like is not None:
        example = Example(library.matrix(like.id)[0], like.path, like.digest) if like is not None else None
        among = frozenset(picture.id for picture in pictures)
        marks = library.marks.said()
        found = list(find(library.collection, tree, len(among) or 1, like=example, marks=marks, among=among).found)
    there = {one.picture.id for one in found}
    found += library.described(
        [Found(picture, 0.0 if found else 1.0) for picture in pictures if picture.id not in there]
    )
    if wanted.format == "paths":
        return found_paths(found, null=False)
    if wanted.format == "csv":
        return found_csv(map(found_row, found), spreadsheet=True).encode("utf-8-sig")  # so that spreadsheets read UTF-8
    if wanted.format == "jsonl":
        return "".join(json.dumps(found_row(one)) + "\n" for one in found).encode()
    album = Album.of(wanted.query, like.path if like is not None else None, [one.picture.path for one in found])
    return album.model_dump_json(indent=2).encode() + b"\n"
