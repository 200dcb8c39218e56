"""The form of every error that is answered. Knows nothing of why."""

from __future__ import annotations

from starlette.responses import JSONResponse

from tagprism.app.server.answers import Error, Errors


def refusal(
    status: int,
    what: str,
    remedy: str | None = None,
    *,
    where: str | None = None,
    column: int | None = None,
    retry_after: int | None = None,
) -> JSONResponse:
    """An error as an answer."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    error = Error(what=what, where=where, remedy=remedy, column=column)
    return JSONResponse(Errors(error=error).model_dump(exclude_defaults=True), status, headers)
