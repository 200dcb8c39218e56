"""What the filters of a query mean, in values that an index keeps of a picture. Knows no engines."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tagprism.errors import InputError

if TYPE_CHECKING:
    from tagprism.search.contract import Picture

_WHOLE = len("20240731180509")
_NO_TEXT, _PRIVATE = re.compile("[\ud800-\udfff]"), 0x102000
_TIME = "0000-00-00T00:00:00"
_KINDS = {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "tif": "tiff", "heif": "heic", "hif": "heic", "jp2": "jpeg2000"}
_FACT_REMEDIES = {
    "rating": "Write stars from 0 to 5 (-1 for rejected), or a range: rating:5, rating:3.., rating:1..3",
    "gps": "Write two corners in degrees, south,west..north,east: gps:47.3,8.4..47.5,8.7",
}
_ZEROED, _BARE = str.maketrans("123456789", "0" * 9), str.maketrans("", "", "-T:")


@dataclass(frozen=True)
class Filter:
    """Conditions that a picture must meet, all of them.

    Args:
        taken: least and greatest beginning of `taken`, both included, each a prefix of an ISO time (`2024`, `2024-07`).
        path: pieces of text that the path must hold, whatever their case.
        not_taken: ranges as for `taken`, none of which it may be in.
        not_path: pieces that the path must not hold.
        fields: (name, text) of conditions on what the file says, as `field_conditions` reads them.
        not_fields: such conditions, none of which it may meet.
    """

    taken: tuple[tuple[str, str], ...] = ()
    path: tuple[str, ...] = ()
    not_taken: tuple[tuple[str, str], ...] = ()
    not_path: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    not_fields: tuple[tuple[str, str], ...] = ()


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
        if not _TIME.startswith(text.translate(_ZEROED)):
            raise InputError(f"`{text}` is no time.", remedy="Write 2024, 2024-07, 2024-07-31 or 2024-07-31T18:05.")
    first, last = (text.translate(_BARE) for text in beginnings)
    return int(first.ljust(_WHOLE, "0")), int(last.ljust(_WHOLE, "9"))


def moment(taken: str | None) -> int | None:
    """The time of a photo as a number, `20240731180509`; None where it is not known."""
    return None if taken is None else moments((taken, taken))[0]


class Condition(NamedTuple):
    """What one of the values of `searched` must be.

    Args:
        field: its name.
        holds: a piece of text in it.
        within: least and greatest number, both included; of several numbers one is enough.
    """

    field: str
    holds: str = ""
    within: tuple[float, float] | None = None


def field_conditions(name: str, text: str) -> tuple[Condition, ...]:
    """What `camera:`, `type:`, `rating:` and `gps:` ask for.

    Args:
        name: of the filter.
        text: a piece of the camera's name; a kind of file; stars, or a range of them; two corners of a box.

    Raises:
        InputError: it is no such value.
    """
    if name == "camera":
        return (Condition("camera_folded", holds=folded(text)),)
    remedy = _FACT_REMEDIES.get(name)
    try:
        if name == "type":
            from tagprism.images.formats import KINDS  # it imports Pillow
            from tagprism.images.picture_file import RAW_ENDINGS

            remedy = f"There are {', '.join(sorted(KINDS))}."
            ending = text.lower().removeprefix(".")
            kind = "raw" if f".{ending}" in RAW_ENDINGS else _KINDS.get(ending, ending)
            if kind not in KINDS:
                raise ValueError
            return (Condition("kind_folded", holds=f"{kind};"),)
        if name == "rating":
            first, dots, last = text.partition("..")
            stars = int(first or -1), int(last or 5) if dots else int(first)
            if not -1 <= stars[0] <= stars[1] <= 5 or text == "..":
                raise ValueError
            return (Condition("stars", within=stars),)
        (south, west), (north, east) = (map(float, corner.split(",")) for corner in text.split(".."))
        if not (-90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
            raise ValueError
        across = east + 360 if east < west else east
        return Condition("north", within=(south, north)), Condition("east", within=(west, across))
    except ValueError as error:
        raise InputError(f"`{text}` is no value of {name}:.", remedy=remedy) from error


def searched(picture: Picture) -> dict[str, Any]:
    """The values that filters look at, beside those of `as_json`; engines keep them."""
    north, east = picture.location or (None, None)
    return {
        "folded": folded(picture.path),
        "moment": moment(picture.taken),
        "camera_folded": folded(picture.camera),
        "kind_folded": f"{picture.kind};",
        "stars": picture.rating,
        "north": north,
        "east": [] if east is None else [east, east + 360],  # a box may lie across the line where days begin
    }


def _meets_field(values: dict[str, Any], name: str, text: str) -> bool:
    def is_so(condition: Condition) -> bool:
        found = values[condition.field]
        if condition.within is None:
            return condition.holds in found
        least, most = condition.within
        return any(least <= one <= most for one in (found if isinstance(found, list) else [found]) if one is not None)

    return all(map(is_so, field_conditions(name, text)))


def meets(picture: Picture, where: Filter) -> bool:
    """Whether a picture meets all conditions of a filter; one of unknown time is in no range."""
    values = searched(picture)
    path, taken = values["folded"], values["moment"]

    def within(beginnings: tuple[str, str]) -> bool:
        first, last = moments(beginnings)
        return taken is not None and first <= taken <= last

    return (
        all(within(one) for one in where.taken)
        and not any(within(one) for one in where.not_taken)
        and all(folded(piece) in path for piece in where.path)
        and not any(folded(piece) in path for piece in where.not_path)
        and all(_meets_field(values, *field) for field in where.fields)
        and not any(_meets_field(values, *field) for field in where.not_fields)
    )
