"""`tagprism index`, `search` and `serve`: their arguments. Each imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.commands.keywords import Sidecar
from tagprism.app.options import DEFAULT_MODEL, Quiet

ModelNow = Annotated[str | None, typer.Option("--model", "-m", help="Where the index's model is now.")]


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
        Literal["float32", "float16", "int8"] | None,
        typer.Option(help="How matrices are kept, see docs/search.md. \\[default: float16]"),
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
    from tagprism.app.commands import index as index_command

    return index_command.index(list(paths or ()), into, model, storage, prune, rebuild, watch, max_pixels, quiet)


def search(
    index: Annotated[str, typer.Argument(help="Index that `tagprism index` has made.")],
    query: Annotated[
        str | None, typer.Argument(help='Tags: "beach AND sunset NOT people taken:2024"; see docs/queries.md.')
    ] = None,
    like: Annotated[str | None, typer.Option(help="A picture to find others like, alone or with a query.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Pictures at most.")] = 20,
    format: Annotated[
        Literal["table", "jsonl", "html"] | None,
        typer.Option(help="What to print. \\[default: table; with --out by its ending, else jsonl]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, such as gallery.html.")] = None,
    neighbours: Annotated[
        int, typer.Option(min=0, help="Average scores over so many like pictures among the first; 10 is good.")
    ] = 0,
    model: ModelNow = None,
    quiet: Quiet = False,
) -> int:
    """Find pictures of an index by tags, also ones no model was trained on, or by a picture like them."""
    from tagprism.app.commands import search as search_command

    return search_command.search(index, query, like, limit, format, out, neighbours, model, quiet)


def serve(
    index: Annotated[str, typer.Argument(help="What `tagprism index` has made.")],
    model: ModelNow = None,
    host: Annotated[str, typer.Option(help="Address to listen at; another one needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8765,
    token: Annotated[
        str | None, typer.Option(envvar="TAGPRISM_TOKEN", help="Every request must show it; better in the variable.")
    ] = None,
    sidecar: Sidecar = "photo.jpg.xmp",
    quiet: Quiet = False,
) -> int:
    """Serve an index: a page to find and look at pictures, and the same as an API (docs/server.md)."""
    for module in ("fastapi", "uvicorn", "python_multipart"):
        console.require_extra("serve", module)
    from tagprism.app.commands import serve as serve_command

    return serve_command.serve(index, model, host, port, token, sidecar, quiet)
