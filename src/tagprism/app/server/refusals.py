"""The form of every error that is answered. Knows nothing of why."""

from __future__ import annotations

from starlette.responses import JSONResponse


def error_body(what: str, where: str | None = None, remedy: str | None = None) -> dict[str, dict[str, str | None]]:
    """The form of every error."""
    return {"error": {"what": what, "where": where, "remedy": remedy}}


def refusal(
    status: int, what: str, remedy: str | None = None, *, where: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """An error as an answer."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse(error_body(what, where, remedy), status, headers)
