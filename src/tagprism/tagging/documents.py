"""Pictures with their tags as one whole file for other programs: Parquet, COCO, FiftyOne, Label Studio. Knows no model.

A row is what a line of JSONL says: of `tagprism tag` (`path`, `tags` or `error`) or of `tagprism search` (`own` and
`labels` too). Labels with their confidence become pre-annotations. None of the JSON forms has a position for a picture
that could not be read: it is left out; Parquet says why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable
from urllib.parse import quote

from tagprism.device import device_in_use
from tagprism.errors import InputError, PictureError

Row: TypeAlias = dict[str, Any]
Document: TypeAlias = Literal["parquet", "coco", "fiftyone", "label-studio"]
DOCUMENTS: tuple[Document, ...] = get_args(Document)
_BATCH = 5000  # rows of a row group
_BY = {"made_by": "tagprism"}  # by which a file of our own is known when it is to be replaced
_LIKELY = 0.5  # probability, or match, of a tag that search exports


@runtime_checkable
class Writable(Protocol):
    """A file for bytes."""

    def write(self, data: bytes, /) -> object:
        """Add bytes."""


def write_document(format: Document, rows: Iterable[Row], out: Writable, model: str) -> None:
    """Write rows as one document.

    Args:
        format: which.
        rows: in the order of the document.
        out: a file for bytes.
        model: name of the model, for the forms that state it.

    Raises:
        InputError: Parquet without pyarrow.
    """
    if format == "parquet":
        _write_parquet(rows, out, model)
        return
    document = _MAKERS[format]([row for row in rows if "error" not in row], model)
    out.write(json.dumps(document).encode() + b"\n")  # ASCII: any bytes in a name survive


def check_document(format: str) -> None:
    """Refuse a form that cannot be written here, before any work.

    Raises:
        InputError: Parquet without pyarrow.
    """
    if format == "parquet":
        _pyarrow()


def confidences(row: Row) -> list[tuple[str, float | None]]:
    """The labels of a row, each once.

    Of `tag` all; of `search` those that people gave, those that were asked for, and those that are likely.

    Returns:
        (label, probability, or the score where there is none; None where neither is known).
    """
    found: dict[str, float | None] = dict.fromkeys(row.get("own", ()), 1.0)
    tags = row["tags"]
    if "own" in row:
        asked = [tag for tag in row["labels"] if tag["match"] >= _LIKELY]  # a label below NOT is no tag
        tags = [*asked, *(tag for tag in tags if (tag["probability"] or 0.0) >= _LIKELY)]
    for tag in tags:
        known = tag["probability"] if tag["probability"] is not None else tag.get("score")
        found.setdefault(tag["label"], known)
    return list(found.items())


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise InputError("Parquet needs pyarrow.", remedy="Install it with: pip install pyarrow") from error
    return pyarrow


def _origin(model: str) -> dict[str, str]:
    """What made the tags; asked for when the first of them are there, and with them the network."""
    return {"model": model, "device": device_in_use()}


def _write_parquet(rows: Iterable[Row], out: Writable, model: str) -> None:
    """JSONL's fields as columns, of which those of the other command are absent; other bytes of a path as escapes."""
    arrow, writer = _pyarrow(), None
    text, real = arrow.string(), arrow.float64()
    tags = [("label", text), ("score", real), ("probability", real), ("vector", arrow.int32())]
    labels = [("label", text), ("match", real), ("score", real), ("probability", real)]
    error = arrow.struct([("code", text), ("message", text)])
    of_tag = [("path", text), ("tags", arrow.list_(arrow.struct(tags))), ("error", error)]
    of_search = [("path", text), ("score", real), ("likely", arrow.bool_())]
    of_search += [("labels", arrow.list_(arrow.struct(labels))), ("own", arrow.list_(text)), ("taken", text)]
    of_search += [("width", arrow.int32()), ("height", arrow.int32())]
    of_search += [("tags", arrow.list_(arrow.struct([tags[0], tags[2]]))), ("group", arrow.int64()), ("placed", text)]
    try:
        following = iter(rows)
        while some := list(islice(following, _BATCH)):
            schema = arrow.schema(of_search if "own" in some[0] else of_tag, _origin(model) | _BY)
            plain = [{name: _plain(value) for name, value in row.items()} for row in some]
            table = arrow.Table.from_pylist(plain, schema=schema)
            writer = writer or arrow.parquet.ParquetWriter(out, schema)
            writer.write_table(table)
        if writer is None:
            arrow.parquet.write_table(arrow.schema(of_tag, _origin(model) | _BY).empty_table(), out)
    finally:
        if writer is not None:
            writer.close()


def _plain(value: object) -> object:
    return os.fsencode(value).decode("utf-8", "backslashreplace") if isinstance(value, str) else value


def _coco(rows: list[Row], model: str) -> dict[str, Any]:
    """COCO's detection form, in which a tag of the whole picture is a box around all of it."""
    numbers: dict[str, int] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (row, (width, height)) in enumerate(_with_sizes(rows), start=1):
        images.append({"id": number, "file_name": row["path"], "width": width, "height": height})
        for label, known in confidences(row):
            one = {"id": len(annotations) + 1, "image_id": number}
            one["category_id"] = numbers.setdefault(label, len(numbers) + 1)
            box = {"bbox": [0, 0, width, height], "area": width * height, "segmentation": [], "iscrowd": 0}
            annotations.append({**one, **box, **({} if known is None else {"score": known})})
    categories = [{"id": number, "name": label, "supercategory": ""} for label, number in numbers.items()]
    info = {"description": f"Tags of whole pictures by tagprism, model {model}; every box is a whole picture."}
    info |= _origin(model)
    return {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def _with_sizes(rows: Iterable[Row]) -> Iterator[tuple[Row, tuple[int, int]]]:
    from tagprism.images.metadata import read_metadata  # it loads Pillow

    for row in rows:
        if "width" in row:
            yield row, (row["width"], row["height"])
            continue
        try:
            metadata = read_metadata(row["path"])
        except PictureError:  # it has gone since it was tagged
            continue
        yield row, (metadata.width, metadata.height)


def _fiftyone(rows: list[Row], _: str) -> dict[str, Any]:
    """`labels.json` of a FiftyOneImageClassificationDataset, with absolute paths in place of names."""
    numbers: dict[str, int] = {}
    labels: dict[str, list[dict[str, Any]] | None] = {}
    for row in rows:
        its = [
            {"label": numbers.setdefault(label, len(numbers)), **({} if known is None else {"confidence": known})}
            for label, known in confidences(row)
        ]
        labels[os.path.abspath(row["path"])] = its or None  # noqa: PTH100 (a text)
    return {"classes": list(numbers), "labels": labels}


def _label_studio(rows: list[Row], model: str) -> list[dict[str, Any]]:
    """Tasks with predictions for `<Choices name="tags" toName="image">`; local storage must have `/` as its root."""
    tasks = []
    for row in rows:
        found = confidences(row)
        value = {"choices": [label for label, _ in found]}
        result = {"id": "tags", "from_name": "tags", "to_name": "image", "type": "choices", "value": value}
        best = max((known for _, known in found if known is not None), default=None)
        prediction = {"model_version": model, "result": [result], **({} if best is None else {"score": best})}
        path = Path(os.path.abspath(row["path"]))  # noqa: PTH100 (not resolved)
        address = f"/data/local-files/?d={quote(os.fsencode(path.relative_to(path.anchor).as_posix()))}"
        tasks.append({"data": {"image": address, "path": row["path"]}, "predictions": [prediction] if found else []})
    return tasks


_MAKERS: dict[str, Callable[[list[Row], str], Any]] = {
    "coco": _coco,
    "fiftyone": _fiftyone,
    "label-studio": _label_studio,
}
