"""What is stored of an index as JSON: its settings, in `index.json` or on a server, and what is known of each picture.

And where its files are. Opens no index and no model.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagprism.bundle.record import Shape
from tagprism.errors import IndexMismatchError, InputError
from tagprism.files import digest_bytes, digest_json, machine_errors, state_dir
from tagprism.search.contract import Picture
from tagprism.search.record_file import StorageName

SETTINGS, CATALOG, MARKS, LEARNED = "index.json", "catalog.sqlite", "marks.sqlite", "learned.safetensors"
IMPORTING = "importing"  # while an exported index is brought in


class Settings(BaseModel):
    """What `index.json` says, written last when an index is made.

    Args:
        model: name of the model as `tagging.tagger.load` takes it: packaged, on the hub, or an absolute path.
        digest: of its bundle.
        vectors: M.
        dimension: D.
        shared: S.
        storage: how records are kept.
        recall: says nothing any more; older versions ask for it.
        numbers: `weighted` in a collection of a Qdrant server (`qdrant_vector`), which older versions must not read;
            None in a folder, and in a collection of theirs.
        folders: the roots that were indexed, absolute; each as text, or as the hex of its bytes where it is no text.
        exclude: patterns of what is left out of them.
        devices: where networks ran when its pictures were looked at, such as `cpu`.
        renewing: `begun` from when it is made anew until it is empty, `filling` until all its folders are in it again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    model: str
    digest: str
    vectors: Annotated[int, Field(ge=1)]
    dimension: Annotated[int, Field(ge=1)]
    shared: Annotated[int, Field(ge=1)]
    storage: StorageName = "half"
    recall: float = 1.0
    numbers: Literal["weighted"] | None = None
    folders: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    renewing: Literal["", "begun", "filling"] = ""

    def values(self) -> dict[str, Any]:
        """It as JSON values."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def shape(self) -> Shape:
        """Of the records."""
        return Shape(self.vectors, self.dimension, self.shared)


def read_settings(folder: Path) -> Settings:
    """Read `index.json`.

    Raises:
        InputError: it is not there, damaged, or of a newer version.
        IndexMismatchError: it is of an older version.
    """
    return checked_settings(str(folder), read_values(folder), folder / SETTINGS)


def read_values(folder: Path) -> dict[str, Any]:
    """The values in `index.json`, of whatever version; errors as `read_settings`."""
    file = folder / SETTINGS
    with machine_errors(file):
        try:
            data = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError("is not an index.", where=str(folder), remedy="Make one with `tagprism index`.") from error
    try:
        values = json.loads(data)
        if not isinstance(values, dict):
            raise ValueError("no object")
        return values
    except ValueError as error:
        raise InputError("is damaged.", where=str(file), remedy=index_anew(folder, "PHOTOS ")) from error


def checked_settings(where: str, values: dict[str, Any], file: Path | None = None) -> Settings:
    """Settings from their values; errors as `read_settings`."""
    if values.get("format") == 1:
        option = " --rebuild" if is_address(where) else ""
        raise IndexMismatchError(
            "was made by an older version of tagprism, which kept pictures in another form.",
            where=where,
            remedy=f"Renew it with `tagprism index --into {where}{option}`; folders, marks and own words stay.",
        )
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        what = f"is damaged, or of a newer version of tagprism ({error.errors()[0]['msg']})."
        remedy = f"Update tagprism. {index_anew(where, 'PHOTOS ')}"
        raise InputError(what, where=str(file or where), remedy=remedy) from error


def index_anew(where: object, pictures: str = "") -> str:
    """The remedy that makes an index anew; it must name the pictures where the index no longer says which they are."""
    return f"Index anew with `tagprism index {pictures}--into {shlex.quote(str(where))} --rebuild`."


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
        "taken_from": picture.taken_from,
        "camera": picture.camera,
        "rating": picture.rating,
        "kind": picture.kind,
        "place": list(picture.location) if picture.location else None,
        "facts": picture.metadata_version,
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
        taken_from=values.get("taken_from", ""),
        camera=values.get("camera", ""),
        rating=values.get("rating"),
        kind=values.get("kind", ""),
        location=tuple(values["place"]) if values.get("place") else None,
        metadata_version=values.get("facts", 0),
    )


def escaped(folder: str) -> str:
    """A root as the settings keep it."""
    try:
        folder.encode()
    except UnicodeEncodeError:
        return f"hex:{os.fsencode(folder).hex()}"
    return folder


def unescaped(folder: str) -> str:
    """A root that `escaped` has written down."""
    return os.fsdecode(bytes.fromhex(folder[4:])) if folder.startswith("hex:") else folder


def is_address(where: str) -> bool:
    """Whether an index is a server's collection and not a folder."""
    return where.startswith("qdrant+")


def catalog_file(where: str) -> Path:
    """Where the catalog of an index is: beside it, or, of a server's, where this user keeps state."""
    return state_dir("catalogs") / f"{digest_json(where)}.sqlite" if is_address(where) else Path(where) / CATALOG


def marks_file(where: str) -> Path:
    """Where the marks of an index are: in its folder, or, of a server's, where this user keeps state."""
    folder = Path(where)
    return folder / MARKS if folder.is_dir() else state_dir("marks") / f"{digest_bytes(where.encode())}.sqlite"


def learned_file(where: str) -> Path:
    """Where an index keeps what it has learned from marks: beside them."""
    marks = marks_file(where)
    return marks.with_name(LEARNED) if Path(where).is_dir() else marks.with_suffix(".learned")
