"""The process in which the library of a server lives: `python -m tagprism.app.server.library_worker`.

The engine holds Python's lock while it scans; here that stops nobody from answering. Requests come on stdin and answers
go to stdout (`frames`); whatever else is printed goes to stderr. It ends when stdin does: it never outlives the server.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from pydantic import BaseModel

from tagprism.app.server.frames import read_frame, write_frame
from tagprism.app.server.library import Library
from tagprism.app.server.limited_log import log_errors
from tagprism.device import device_in_use
from tagprism.errors import MachineError, NothingToDoError, PictureError, TagprismError
from tagprism.files import disk_is_full
from tagprism.search.collection import open_index
from tagprism.search.marks import open_marks

_THREADS = 64  # more than the server ever asks for at once
_FAREWELL = 1.0  # seconds to close everything in
_STATUS = {"too_many_pixels": 413, "not_an_image": 415, "unsupported": 415, "missing": 404, "unreadable": 404}
_STATUS |= {"sidecar": 409}
_log = logging.getLogger("tagprism.server")


class Worker:
    """Answers requests until there are no more.

    Args:
        requests: where they come from.
        answers: where answers go.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests, self._answers, self._sending = requests, answers, threading.Lock()

    def run(self) -> None:
        """Open the library, say so or why not, and answer."""
        first = read_frame(self._requests)
        if first is None:
            return
        asked, _ = first
        try:
            library = Library(open_index(asked["index"], asked["model"]), open_marks(asked["index"]), asked["sidecar"])
        except Exception as error:
            self._send({"ready": False, "error": described(error)})
            return
        pictures = library.collection.index.info().pictures
        unfinished = library.collection.unfinished
        self._send({"ready": True, "pictures": pictures, "device": device_in_use(), "unfinished": unfinished})
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="library")
        while (frame := read_frame(self._requests)) is not None:
            pool.submit(self._answer, library, *frame)
        threading.Thread(target=_end_soon, daemon=True).start()
        pool.shutdown(wait=False, cancel_futures=True)
        library.close()
        os._exit(0)  # threads that still scan are not waited for: nothing that was acknowledged is lost

    def _answer(self, library: Library, asked: dict[str, Any], data: bytes) -> None:
        try:
            if not library.is_there:
                self._send({"id": asked["id"], "error": described(_gone(library))})
                os._exit(0)  # the server starts another one, which finds the index again when it is back
            arguments = [data, *asked["arguments"]] if asked["has_data"] else asked["arguments"]
            result = getattr(library, asked["call"])(*arguments)
            if isinstance(result, BaseModel):
                result = result.model_dump_json().encode()
            header, data = {"id": asked["id"]}, result.encode() if isinstance(result, str) else result
        except Exception as error:
            header, data = {"id": asked["id"], "error": described(error)}, b""
        self._send(header, data)

    def _send(self, header: dict[str, Any], data: bytes = b"") -> None:
        try:
            with self._sending:
                write_frame(self._answers, header, data)
        except OSError:
            return  # the server has gone; the end of its requests tells us so


def _end_soon() -> None:
    threading.Event().wait(_FAREWELL)
    os._exit(0)


def _gone(library: Library) -> MachineError:
    what = "is no longer there: it was deleted or moved, and nothing that is said of its pictures could be kept."
    error = MachineError(what, where=library.collection.where, remedy="Put it back; it is then served again.")
    error.status = 503  # type: ignore[attr-defined]
    return error


def described(error: Exception) -> dict[str, Any] | None:
    """An error as JSON values, with the status code that fits; None for a bug, which is logged here."""
    if not isinstance(error, TagprismError):
        _log.error("a request failed", exc_info=error)
        return None
    status = 422
    if isinstance(error, PictureError):
        status = _STATUS.get(error.code, 422)
    elif isinstance(error, NothingToDoError):
        status = 404
    elif isinstance(error, MachineError):
        status = 507 if disk_is_full(error) else 403
    said: dict[str, Any] = {"what": error.what, "where": error.where, "remedy": error.remedy}
    said |= {"status": getattr(error, "status", status), "exit_code": error.exit_code}
    return said | {"column": column} if (column := getattr(error, "column", None)) else said


def main() -> None:
    """Serve stdin."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the server decides when this process ends
        signal.signal(ignored, signal.SIG_IGN)
    log_errors()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Worker(sys.stdin.buffer, answers).run()


if __name__ == "__main__":
    main()
