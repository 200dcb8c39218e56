"""An index that another process has open: requests and answers, both sides of each.

A message is one line of JSON, then the bytes of float32 arrays. Nothing is unpickled: `multiprocessing.connection`
only frames the messages. Who may send them is decided in `index_server`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from tagprism.bundle.record import Records
from tagprism.errors import InputError, MachineError, TagprismError
from tagprism.progress import Advance, Progress, silent
from tagprism.search.conditions import Filter
from tagprism.search.contract import Hit, Index, IndexInfo, Picture
from tagprism.search.index_server import connect
from tagprism.search.stored import as_json, from_json

_PAGE = 1000  # pictures an answer lists at most
_GREETING = 30.0  # seconds that the server may take to let a client in
_SECONDS = 600.0  # that the server may take over one request
_SENT_AS = {"fields": "facts", "not_fields": "not_facts"}  # the process that has the index open may be an older one
_ERRORS = {"InputError": InputError, "MachineError": MachineError}


def answer(index: Index, message: bytes, send: Callable[[bytes], None]) -> bytes:
    """One request carried out; errors are answers too. How far it is is sent before, where that is asked for."""
    try:
        request, arrays = _unpacked(message)
        return _packed(*_carried_out(index, request, arrays, partial(_told, send) if "progress" in request else silent))
    except KeyError as error:
        return _packed({"missing": error.args[0]})
    except TagprismError as error:
        kind = type(error).__name__ if type(error).__name__ in _ERRORS else "MachineError"
        return _packed({"error": kind, "what": error.what, "where": error.where, "remedy": error.remedy})


@contextmanager
def _told(send: Callable[[bytes], None], what: str, total: int) -> Iterator[Advance]:
    """A `Progress` that the client is sent. It ends the work where the client has left."""
    send(_packed({"begins": what, "total": total}))
    yield lambda count: send(_packed({"advances": count}))
    send(_packed({"ends": what}))


def _carried_out(
    index: Index, request: dict[str, Any], arrays: list[Float32[np.ndarray, ...]], progress: Progress
) -> tuple[Any, ...]:
    ids: list[int] = request.get("ids", [])
    match request["call"]:
        case "add":
            index.add([_picture(values) for values in request["pictures"]], Records(*arrays))
        case "remove":
            index.remove(ids)
        case "search":
            hits = index.search(arrays[0], request["limit"], where=_filter(request["where"]), exact=request["exact"])
            return ({"hits": [[[hit.id, hit.score] for hit in of_one] for of_one in hits]},)
        case "get":
            return ({"pictures": [one and _values(one) for one in index.get(ids)]},)
        case "records":
            found = index.records(ids)
            return {}, found.rows, found.shared
        case "scores":
            return {}, index.scores(arrays[0], ids)
        case "pictures":
            return ({"pictures": [_values(one) for one in islice(index.pictures(request["after"]), _PAGE)]},)
        case "settle":
            index.settle(arrays[0], progress)
        case "info":
            return (_info_values(index.info(), request),)
        case other:
            raise InputError(f"another tagprism asks for `{other}`.", remedy="Update both.")
    return ({},)


class RemoteIndex:
    """An `Index` that another process has open.

    Args:
        folder: of the index.
        about: address of the server that the other process runs (`index_server.IndexServer`).
        key: of that server.

    Raises:
        ConnectionError: there is no such server any more; by every method. What was under way may be done or not.
        MachineError: the server does not answer; by every method.
    """

    def __init__(self, folder: Path, about: dict[str, Any], key: bytes) -> None:
        self._where = (folder, about, key)
        self._idle: list[Connection] = []
        self._idle.append(connect(*self._where, _GREETING))

    def _call(
        self, request: dict[str, Any], *arrays: Float[np.ndarray, ...], progress: Progress = silent
    ) -> tuple[dict[str, Any], list[Float32[np.ndarray, ...]]]:
        # One line for every thread that asks at once.
        line = self._idle.pop() if self._idle else connect(*self._where, _GREETING)
        try:
            line.send_bytes(_packed(request, *arrays))
            if not line.poll(None if request["call"] == "settle" else _SECONDS):  # all may be written again
                raise MachineError("the process that has the index open does not answer.", remedy="Stop it.")
            answer, results = _unpacked(line.recv_bytes())
            while "begins" in answer:
                with progress(answer["begins"], answer["total"]) as advance:
                    while "advances" in (answer := _unpacked(line.recv_bytes())[0]):
                        advance(answer["advances"])
                if "ends" in answer:
                    answer, results = _unpacked(line.recv_bytes())
        except EOFError as error:
            line.close()
            raise ConnectionError("the process that had the index open has gone") from error
        except BaseException:
            line.close()
            raise
        self._idle.append(line)
        if "missing" in answer:
            raise KeyError(answer["missing"])
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["what"], where=answer["where"], remedy=answer["remedy"])
        return answer, results

    def add(self, pictures: Sequence[Picture], records: Records) -> None:
        """As `Index.add`."""
        self._call({"call": "add", "pictures": [_values(one) for one in pictures]}, records.rows, records.shared)

    def remove(self, ids: Sequence[int]) -> None:
        """As `Index.remove`."""
        self._call({"call": "remove", "ids": list(ids)})

    def search(
        self,
        scoring_vectors: Float32[np.ndarray, "q Q"],
        limit: int,
        *,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """As `Index.search`."""
        request = {"call": "search", "limit": limit, "where": where and _filter_values(where), "exact": exact}
        return [[Hit(*pair) for pair in of_one] for of_one in self._call(request, scoring_vectors)[0]["hits"]]

    def whole(self) -> None:
        """As `Index.whole`."""

    def get(self, ids: Sequence[int]) -> list[Picture | None]:
        """As `Index.get`."""
        answer, _ = self._call({"call": "get", "ids": list(ids)})
        return [values and _picture(values) for values in answer["pictures"]]

    def records(self, ids: Sequence[int]) -> Records:
        """As `Index.records`."""
        return Records(*self._call({"call": "records", "ids": list(ids)})[1])

    def scores(self, scoring_vectors: Float32[np.ndarray, "q Q"], ids: Sequence[int]) -> Float32[np.ndarray, "q n"]:
        """As `Index.scores`."""
        return self._call({"call": "scores", "ids": list(ids)}, scoring_vectors)[1][0]

    def pictures(self, after: int = 0) -> Iterator[Picture]:
        """As `Index.pictures`."""
        while page := self._call({"call": "pictures", "after": after})[0]["pictures"]:
            yield from map(_picture, page)
            after = page[-1]["id"]

    def settle(self, scoring_vectors: Float32[np.ndarray, "q Q"], progress: Progress = silent) -> None:
        """As `Index.settle`."""
        self._call({"call": "settle", "progress": True}, scoring_vectors, progress=progress)

    def info(self) -> IndexInfo:
        """As `Index.info`."""
        answer, _ = self._call({"call": "info", "fitted": True})
        return IndexInfo(**{one.name: answer[one.name] for one in fields(IndexInfo) if one.name in answer})

    def close(self) -> None:
        """End the conversation; the index stays open where it is."""
        while self._idle:
            self._idle.pop().close()


def _info_values(info: IndexInfo, request: dict[str, Any]) -> dict[str, Any]:
    """What is said of an index. Who does not ask for `fitted` is an older version, which knows no more than it knew."""
    values = asdict(info)
    if "fitted" in request:
        return values
    del values["fitted"]
    return {name: 1.0 if value is None else value for name, value in values.items()}  # a recall was a number


def _values(picture: Picture) -> dict[str, Any]:
    return {"id": picture.id, **as_json(picture)}


def _picture(values: dict[str, Any]) -> Picture:
    return from_json(values["id"], values)


def _filter_values(where: Filter) -> dict[str, Any]:
    return {_SENT_AS.get(name, name): value for name, value in asdict(where).items()}


def _filter(values: dict[str, Any] | None) -> Filter | None:
    if values is None:
        return None
    pairs = {
        name: tuple((one, other) for one, other in values[_SENT_AS.get(name, name)])
        for name in ("taken", "not_taken", "fields", "not_fields")
    }
    return Filter(**pairs, path=tuple(values["path"]), not_path=tuple(values["not_path"]))


def _packed(header: dict[str, Any], *arrays: Float[np.ndarray, ...]) -> bytes:
    parts = [np.ascontiguousarray(array, "<f4") for array in arrays]
    text = json.dumps({**header, "shapes": [part.shape for part in parts]}).encode()
    return b"\n".join([text, b"".join(part.tobytes() for part in parts)])


def _unpacked(message: bytes) -> tuple[dict[str, Any], list[Float32[np.ndarray, ...]]]:
    line, _, rest = message.partition(b"\n")
    header = json.loads(line)
    shapes = header.pop("shapes")
    ends = np.cumsum([math.prod(shape) for shape in shapes], dtype=np.int64)[:-1]
    parts = np.split(np.frombuffer(rest, "<f4").astype(np.float32), ends)
    return header, [part.reshape(shape) for part, shape in zip(parts, shapes, strict=False)]
