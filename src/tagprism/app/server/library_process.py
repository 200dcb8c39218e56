"""A library in a process of its own, as the server asks it. Knows no HTTP."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar, get_type_hints

from pydantic import TypeAdapter

from tagprism.app import console
from tagprism.app.server.frames import read_frame, write_frame
from tagprism.app.server.library import Library
from tagprism.errors import TagprismError
from tagprism.search.stored import SETTINGS, is_address

_T = TypeVar("_T")
_P = ParamSpec("_P")
_FAREWELL = 1.5  # seconds that the process may take to end by itself


class LibraryError(TagprismError):
    """What the library says is wrong.

    Args:
        said: as `library_worker.described` writes it.

    Attributes:
        status: code that fits.
        column: of a query, from 1, or None.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(said["what"], where=said["where"], remedy=said["remedy"])
        self.status: int = said["status"]
        self.exit_code: int = said["exit_code"]
        self.column: int | None = said.get("column")


class LibraryBugError(Exception):
    """The library has a bug, and has logged it."""


class LibraryGoneError(Exception):
    """The process has ended, or is ended."""


class LibraryProcess:
    """A `Library` in a process of its own, which is started here. Threads may share it.

    Args:
        index: as for `open_index`.
        model: as for `open_index`.
        sidecar: which sidecars keywords go into.

    Attributes:
        device: where its networks run, once it is ready; empty before.
    """

    def __init__(self, index: str, model: str | None, sidecar: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tagprism.app.server.library_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server alone
            env=os.environ | {"MALLOC_ARENA_MAX": "2"},  # glibc gives every thread's garbage a region of its own
        )
        self._numbers, self._sending, self._lock = itertools.count(), threading.Lock(), threading.Lock()
        self._waiting: dict[int, Future[tuple[dict[str, Any], bytes]]] = {}
        self._ended = False
        self._index, self.device = index, ""
        self._asked = {"index": index, "model": model, "sidecar": sidecar}

    @property
    def is_there(self) -> bool:
        """Whether the index is still in its folder; of a server's collection nothing is known."""
        return is_address(self._index) or (Path(self._index) / SETTINGS).is_file()

    def wait_ready(self, gone: Callable[[], object]) -> int:
        """Wait until it can be asked, and give the number of its pictures.

        Args:
            gone: called, from a thread, when the process has ended.

        Raises:
            LibraryError: it cannot be opened.
            LibraryGoneError: the process has ended.
        """
        self._send(self._asked)
        frame = read_frame(self._answers)
        if frame is None:
            self.close()
            raise LibraryGoneError
        header, _ = frame
        if not header["ready"]:
            self.close()
            raise LibraryBugError if header["error"] is None else LibraryError(header["error"])
        console.warn(str(header["unfinished"]))
        self.device = str(header["device"])
        threading.Thread(target=self._listen, args=(gone,), name="library answers", daemon=True).start()
        return int(header["pictures"])

    @property
    def _answers(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]

    def _send(self, header: dict[str, Any], data: bytes = b"") -> None:
        assert self._process.stdin is not None
        try:
            with self._sending:
                write_frame(self._process.stdin, header, data)  # type: ignore[arg-type]
        except (OSError, ValueError) as error:
            raise LibraryGoneError from error

    def ask(self, method: Callable[Concatenate[Library, _P], _T], *arguments: _P.args, **_: _P.kwargs) -> _T:
        """What a method of `Library` gives.

        Args:
            method: of the class.
            arguments: JSON values; the first may be bytes.

        Raises:
            LibraryError: as the method says.
            LibraryBugError: the library has a bug.
            LibraryGoneError: the process has ended before it answered.
        """
        future: Future[tuple[dict[str, Any], bytes]] = Future()
        number, values = next(self._numbers), list[Any](arguments)
        data = values.pop(0) if values and isinstance(values[0], bytes) else None
        with self._lock:
            if self._ended:
                raise LibraryGoneError
            self._waiting[number] = future
        call = {"id": number, "call": method.__name__, "arguments": values, "has_data": data is not None}
        self._send(call, data or b"")
        header, result = future.result()
        if "error" in header:
            raise LibraryBugError if header["error"] is None else LibraryError(header["error"])
        kind = get_type_hints(method)["return"]
        if kind is bytes:
            return result  # type: ignore[return-value]
        return result.decode() if kind is str else TypeAdapter(kind).validate_json(result)  # type: ignore[return-value]

    def _listen(self, gone: Callable[[], object]) -> None:
        while (frame := read_frame(self._answers)) is not None:
            with self._lock:
                future = self._waiting.pop(frame[0]["id"])
            future.set_result(frame)
        self._end()
        gone()

    def _end(self) -> None:
        with self._lock:
            self._ended, left = True, list(self._waiting.values())
            self._waiting.clear()
        for future in left:
            future.set_exception(LibraryGoneError())

    def close(self) -> None:
        """End the process, at once if it does not end by itself; what it was asked is not answered any more."""
        assert self._process.stdin is not None
        self._end()
        try:
            self._process.stdin.close()
            self._process.wait(_FAREWELL)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._answers.close()
