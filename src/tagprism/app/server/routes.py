"""The addresses of the API, as docs/server.md has them. Every call does its work in a thread; knows no files."""

from __future__ import annotations

import os
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, File, Form, Path, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, StringConstraints

from tagprism.app.server.answers import (
    Errors,
    ExplainAnswer,
    ImageAnswer,
    KeywordsAnswer,
    LabelsAnswer,
    MarkIn,
    SearchAnswer,
    TagAnswer,
    UndoAnswer,
)
from tagprism.app.server.library import Library
from tagprism.app.server.originals import Size, stream_original
from tagprism.app.server.service import Service
from tagprism.labels.phrase_list import phrases_of

router = APIRouter(prefix="/api")
_JSON: dict[str, Any] = {"model": Errors}
_INLINE = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp"}
_INLINE |= {".avif": "image/avif", ".bmp": "image/bmp"}
_FOREVER = "private, max-age=31536000, immutable"  # an address with a digest in it


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    service.check()  # 503 while there is no library
    return service


Served = Annotated[Service, Depends(_service)]
Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="Of the picture.")]


def _apart(labels: object) -> object:
    """Labels that came as one text with commas between, as a word list may have them."""
    if not isinstance(labels, list):
        return labels
    return [one for text in labels for one in (phrases_of(text) if isinstance(text, str) and text else [text])]


Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Limit = Annotated[int, Query(ge=1, le=200, description="Pictures at most.")]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1, description="Pictures to leave out first.")]


@router.get("/search", responses={404: _JSON})
async def search(
    served: Served,
    query: Annotated[str, Query(max_length=10_000, description="Such as `beach AND sunset NOT people`.")] = "",
    like: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Like the picture of this id.")] = None,
    limit: Limit = 60,
    offset: Offset = 0,
) -> SearchAnswer:
    """Pictures by tags, or like a picture, best first; all pictures, the latest first, when nothing is asked."""
    return await served.share(served.searches, Library.search, query, like, limit, offset)


@router.post("/tag", responses={413: _JSON, 415: _JSON})
async def tag(
    served: Served,
    file: Annotated[UploadFile, File(description="A picture; it is not kept.")],
    labels: Annotated[
        list[Label] | None,
        BeforeValidator(_apart),
        Form(max_length=100, description="Words to choose from, also with commas between; else the vocabulary."),
    ] = None,
    top_k: Annotated[int, Form(ge=1, le=100, description="Tags at most.")] = 10,
    similar: Annotated[int, Form(ge=0, le=100, description="Pictures like it to find in the index.")] = 0,
    explain: Annotated[bool, Form(description="Whether to say where the tags come from.")] = False,
    preview: Annotated[bool, Form(description="Whether to give it back as a JPEG.")] = False,
) -> TagAnswer:
    """Tag an uploaded picture. Pictures that come together go through the network together."""
    name = FilePath(file.filename or "").name[:200]
    return await served.upload(file.file, Library.tag, name, labels, top_k, similar, explain, preview)


@router.get("/images/{number}", responses={404: _JSON})
async def image(served: Served, number: Number) -> ImageAnswer:
    """All about a picture: file, tags with marks, keywords."""
    return await served.share(served.quick, Library.details, number)


@router.get(
    "/images/{number}/original",
    response_class=Response,
    responses={200: {"content": {"image/*": {}, "application/octet-stream": {}}}, 404: _JSON},
)
async def original(served: Served, number: Number) -> Response:
    """The file as it was indexed; 404 once it has changed or moved."""
    found = await served.ask(served.pictures, Library.original, number)
    name = bytes.fromhex(found.name)
    kind = _INLINE.get(FilePath(os.fsdecode(name)).suffix.lower())
    how = "inline" if kind else "attachment"
    headers = {"content-disposition": f"{how}; filename*=UTF-8''{quote(name, safe='')}"}
    headers["content-length"] = str(found.size)
    return StreamingResponse(stream_original(found), media_type=kind or "application/octet-stream", headers=headers)


@router.get(
    "/images/{number}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "As before"}, 404: _JSON},
)
async def thumbnail(
    request: Request,
    served: Served,
    number: Number,
    size: Annotated[Size, Query(description="Longest side, in pixels.")] = Size.small,
    version: Annotated[
        str, Query(max_length=64, description="Digest of the picture: the answer may then be kept for ever.")
    ] = "",
) -> Response:
    """A picture made small: an upright JPEG without metadata."""
    digest = await served.share(served.quick, Library.digest, number)
    tag = f'"{digest[:32]}-{size.value}"'
    headers = {"etag": tag, "cache-control": _FOREVER if version == digest else "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    made = await served.share(served.pictures, Library.thumbnail, number, size.value)
    return Response(made, media_type="image/jpeg", headers=headers)


@router.get("/images/{number}/explain", responses={404: _JSON})
async def explain(
    served: Served,
    number: Number,
    label: Annotated[list[Label], Query(min_length=1, max_length=40, description="May be repeated.")],
) -> ExplainAnswer:
    """Which principal vector gave a picture its tags, and where in the picture they come from."""
    return await served.share(served.pictures, Library.explain, number, label)


@router.get("/labels")
async def labels(
    served: Served,
    prefix: Annotated[str, Query(max_length=200, description="How a word of the label begins.")] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 12,
) -> LabelsAnswer:
    """Labels of the vocabulary that go on as asked; without a prefix those most frequent in the index."""
    return await served.share(served.quick, Library.labels, prefix, limit)


@router.put("/images/{number}/marks", responses={404: _JSON, 507: _JSON})
async def mark(served: Served, number: Number, said: MarkIn) -> ImageAnswer:
    """Add a tag, reject one, or take the word back. Kept beside the index, by the picture's bytes."""
    return await served.change(Library.mark, number, said.label, said.mark)


@router.post("/images/{number}/keywords", responses={404: _JSON, 409: _JSON, 507: _JSON})
async def keywords(served: Served, number: Number) -> KeywordsAnswer:
    """Write what was added and rejected into the picture's XMP sidecar."""
    return await served.change(Library.write_keywords, number)


@router.post("/keywords/{run}/undo", responses={404: _JSON, 409: _JSON, 507: _JSON})
async def undo(
    served: Served, run: Annotated[str, Path(pattern=r"^\d{8}-\d{6}Z?-\d{6,12}$", description="Name of the run.")]
) -> UndoAnswer:
    """Take back a run that wrote keywords."""
    return await served.change(Library.undo, run)
