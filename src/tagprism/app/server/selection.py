"""The addresses for what is done with several pictures at once: tag, write, export."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from tagprism.app.server.answers import Answer, Errors, ExportForm, KeywordsOfMany, MarkedMany, MarkIn
from tagprism.app.server.library import Library
from tagprism.app.server.routes import Served

router = APIRouter(prefix="/api/selection")
_TYPES: dict[ExportForm, tuple[str, str]] = {
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

    format: ExportForm
    query: Annotated[str, Field(max_length=10_000)] = ""
    like: Number | None = None


@router.put("/marks", responses={507: {"model": Errors}})
async def mark(served: Served, said: Marking) -> MarkedMany:
    """Add a tag to several pictures, reject one, or take the word back."""
    return await served.change(Library.mark_several, said.ids, said.label, said.mark)


@router.post("/keywords", responses={507: {"model": Errors}})
async def keywords(served: Served, chosen: Selection) -> KeywordsOfMany:
    """Write what was added and rejected into the sidecars of several pictures, as one run."""
    return await served.change(Library.write_several, chosen.ids)


@router.post("/export", response_class=Response, responses={200: {"content": {"*/*": {}}}, 404: {"model": Errors}})
async def export(served: Served, wanted: Export) -> Response:
    """Several pictures as a file: paths, CSV that is safe in a spreadsheet, JSONL, or an album."""
    data = await served.ask(served.quick, Library.export, wanted.ids, wanted.format, wanted.query, wanted.like)
    kind, name = _TYPES[wanted.format]
    return Response(data, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})
