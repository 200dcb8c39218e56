"""The web application: when it starts and stops, what its errors look like, and its page. Knows no pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

import tagprism
from tagprism.app.server import routes, selection
from tagprism.app.server.access import Access
from tagprism.app.server.answers import Errors, Health
from tagprism.app.server.guard import Guard, too_large, too_slow
from tagprism.app.server.library_process import LibraryBugError, LibraryError, LibraryProcess
from tagprism.app.server.refusals import refusal
from tagprism.app.server.service import Service, StartingError
from tagprism.app.server.work_queues import BusyError

_PAGE = Path(__file__).parent / "page"


def create_app(
    start: Callable[[], LibraryProcess],
    access: Access,
    failed: Callable[[BaseException], None],
    ready: Callable[[int], None],
) -> Guard:
    """The application, not started.

    Args:
        start: starts the process of the library; called in a thread once the server answers.
        access: whom to let in.
        failed: told why that has failed; the server should then stop.
        ready: told how many pictures there are once there is something to serve.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service: Service = app.state.service
        running = asyncio.create_task(service.run(start, failed, ready))
        yield
        running.cancel()
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="tagprism",
        version=tagprism.__version__,
        description="Find pictures by tag: any word, also words no model was trained on.",
        lifespan=life,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # it would name the server as the proxy does
        servers=[{"url": str(access.public)[:-1]}] if access.public else None,
        responses={code: {"model": Errors} for code in (400, 401, 403, 408, 413, 421, 429, 503)},
    )
    app.state.service = Service()
    app.include_router(routes.router)
    app.include_router(selection.router)
    _health(app)
    _page(app, access)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return Guard(app, access)


def _health(app: FastAPI) -> None:
    @app.get("/health", responses={503: {"model": Health}})
    async def health(request: Request, response: Response) -> Health:
        """Whether the server is ready: 200, or 503 while index and model are being loaded."""
        service: Service = request.app.state.service
        is_ready = service.is_ready
        response.status_code = 200 if is_ready else 503
        device = service.device if is_ready else ""
        return Health(status="ok" if is_ready else "starting", version=tagprism.__version__, device=device)


def _page(app: FastAPI, access: Access) -> None:
    app.mount("/static", StaticFiles(directory=_PAGE), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_PAGE / "index.html", media_type="text/html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(_PAGE / "icon.svg", media_type="image/svg+xml")

    @app.get("/login", include_in_schema=False)
    async def login() -> FileResponse:
        return FileResponse(_PAGE / "login.html", media_type="text/html")

    @app.post("/login", include_in_schema=False)
    async def enter(request: Request, token: Annotated[str, Form()] = "") -> Response:
        if (answer := access.enter(request.scope, token)) is not None:
            return answer
        text = (_PAGE / "login.html").read_text(encoding="utf-8")
        return HTMLResponse(text.replace('role="alert" hidden', 'role="alert"'), 401)


async def _expected(_: Request, error: Exception) -> Response:
    """What the library says is wrong."""
    assert isinstance(error, LibraryError)
    return refusal(error.status, error.what, error.remedy, where=error.where, column=error.column)


async def _unreadable(_: Request, error: Exception) -> Response:
    """A request that is not of the described form."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return refusal(422, f"{first['msg']}.", "See /openapi.json for what is asked.", where=where[:200])


async def _http(request: Request, error: Exception) -> Response:
    """No such address, no such method, or a body that grew too large while it came."""
    assert isinstance(error, HTTPException)
    if error.status_code == 413:
        return too_large(request.scope)
    if error.status_code == 408:
        return too_slow()
    remedy = "See /openapi.json for what there is." if error.status_code in (404, 405) else None
    answer = refusal(error.status_code, f"{error.detail}.", remedy)
    answer.headers.update(error.headers or {})
    return answer


async def _busy(_: Request, __: Exception) -> Response:
    return refusal(429, "the server is busy.", "Ask again in a moment.", retry_after=1)


async def _starting(_: Request, __: Exception) -> Response:
    return refusal(503, "index and model are being loaded.", "Ask again in a moment.", retry_after=1)


async def _bug(_: Request, __: Exception) -> Response:
    return refusal(500, "this is a bug in tagprism.", "Please report it with what the server wrote to stderr.")


_HANDLERS: dict[type[Exception], Any] = {
    LibraryError: _expected,
    LibraryBugError: _bug,
    RequestValidationError: _unreadable,
    HTTPException: _http,
    BusyError: _busy,
    StartingError: _starting,
    Exception: _bug,
}
