"""What a filter means, said once in Python; and checks that every form of an index makes. Knows no storage."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from tagprism.errors import InputError
from tagprism.search.contract import Filter, Picture

MAX_ID = 2**63 - 1
_WHOLE = len("20240731180509")
_NO_TEXT, _PRIVATE = re.compile("[\ud800-\udfff]"), 0x102000
_TIME = "0000-00-00T00:00:00"


def folded(path: str) -> str:
    """A path as filters compare it: whatever the case, and whichever way accents are written.

    Bytes that are no text become characters of plane 16 that nobody uses, as engines keep only text.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    return _NO_TEXT.sub(lambda found: chr(ord(found[0]) + _PRIVATE), text)


def moments(beginnings: tuple[str, str]) -> tuple[int, int]:
    """Least and greatest moment (`20240731180509` as a number) of a range of beginnings of ISO times.

    Raises:
        InputError: one is no beginning of such a time.
    """
    for text in beginnings:
        if not _TIME.startswith(re.sub("[0-9]", "0", text)):
            raise InputError(f"`{text}` is no time.", remedy="Write 2024, 2024-07, 2024-07-31 or 2024-07-31T18:05.")
    first, last = (re.sub(r"\D", "", text) for text in beginnings)
    return int(first.ljust(_WHOLE, "0")), int(last.ljust(_WHOLE, "9"))


def moment(taken: str | None) -> int | None:
    """The time of a photo as a number, `20240731180509`; None where it is not known."""
    return None if taken is None else moments((taken, taken))[0]


def check_filter(where: Filter) -> None:
    """Refuse a filter with what is no time in it.

    Raises:
        InputError: as `moments`.
    """
    for beginnings in (*where.taken, *where.not_taken):
        moments(beginnings)


def meets(picture: Picture, where: Filter) -> bool:
    """Whether a picture meets all conditions of a filter; one of unknown time is in no range."""
    path, taken = folded(picture.path), moment(picture.taken)

    def within(beginnings: tuple[str, str]) -> bool:
        first, last = moments(beginnings)
        return taken is not None and first <= taken <= last

    return (
        all(within(one) for one in where.taken)
        and not any(within(one) for one in where.not_taken)
        and all(folded(piece) in path for piece in where.path)
        and not any(folded(piece) in path for piece in where.not_path)
    )


def check_added(pictures: Sequence[Picture], matrices: Float[np.ndarray, "n M Q"], shape: tuple[int, int]) -> None:
    """Refuse what an index of this shape (M, Q) cannot keep.

    Raises:
        InputError: another number of matrices, another shape, numbers that are not finite, an id out of range or twice.
    """
    if matrices.ndim != 3 or matrices.shape != (len(pictures), *shape):
        raise InputError(
            f"{len(pictures)} pictures with matrices {matrices.shape}; the index holds {shape[0]} x {shape[1]}.",
            remedy="Index with the model that this index was made with.",
        )
    if not np.isfinite(matrices).all():
        raise InputError("a ranking matrix has numbers that are not finite.", remedy="Copy the model again.")
    ids = [picture.id for picture in pictures]
    if len(set(ids)) < len(ids) or any(not 1 <= one <= MAX_ID for one in ids):
        raise InputError("ids of pictures are whole numbers from 1, each once.")
    for picture in pictures:
        moment(picture.taken)


def check_queries(queries: Float[np.ndarray, "q Q"], columns: int) -> None:
    """Refuse queries that do not fit an index of so many columns.

    Raises:
        InputError: another length, or numbers that are not finite.
    """
    if queries.ndim != 2 or queries.shape[1] != columns or not np.isfinite(queries).all():
        raise InputError(
            f"queries of shape {queries.shape}; the index wants finite rows of {columns} numbers.",
            remedy="Query with the model that this index was made with.",
        )


def as_json(picture: Picture) -> dict[str, Any]:
    """A picture as JSON values; any bytes of a file's name survive, also those that are no text."""
    path = picture.path.encode("utf-8", "surrogatepass")
    values: dict[str, Any] = {
        "path": path.decode("utf-8", "backslashreplace"),
        "size": picture.size,
        "modified": picture.modified,
        "digest": picture.digest,
        "width": picture.width,
        "height": picture.height,
        "taken": picture.taken,
        "tags": json.dumps(picture.tags),  # one text: engines take long over many small values
    }
    return values if values["path"] == picture.path else {**values, "path_bytes": path.hex()}


def from_json(number: int, values: dict[str, Any]) -> Picture:
    """The picture that `as_json` has written down."""
    exact = values.get("path_bytes")
    return Picture(
        id=number,
        path=values["path"] if exact is None else bytes.fromhex(exact).decode("utf-8", "surrogatepass"),
        tags=tuple((label, probability) for label, probability in json.loads(values["tags"])),
        **{name: values[name] for name in ("size", "modified", "digest", "width", "height", "taken")},
    )
