"""Explanations as files: for every picture that is tagged, a sheet to look at and the same numbers as JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tagprism.errors import InputError, PictureError
from tagprism.files import digest_bytes, machine_errors, replaced_whole, write_json
from tagprism.images.decode import MAX_PIXELS
from tagprism.tagging.explain import Explainer, Explanation
from tagprism.tagging.explain_sheet import draw_sheet
from tagprism.tagging.tagger import Tagger
from tagprism.tagging.tags import ImageTags, Labels

_DIGITS = 6  # of the numbers in JSON, behind the point


def explained(
    rows: Iterable[ImageTags],
    into: Path,
    tagger: Tagger,
    labels: Labels,
    tagged: Iterable[str | os.PathLike[str]],
    *,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[ImageTags]:
    """Pass rows on, each after its picture's explanation has been written.

    Args:
        rows: from `tagger.tag_each`.
        into: the folder to write into; made when absent.
        tagger: the model.
        labels: what the rows were tagged with.
        tagged: files and folders that are being tagged.
        max_pixels: cap on the size of a picture.

    Returns:
        The rows; one whose picture can no longer be read carries that error.

    Raises:
        InputError: at once: the bundle cannot explain; `into` lies in a folder that is being tagged, or is
            that of a picture which is.
        MachineError: the folder cannot be written.
    """
    explainer = Explainer(tagger, labels)
    place = Path(os.path.realpath(into))
    checked: set[str] = set()  # folders of single pictures, which mostly share one
    for path in map(os.fsdecode, tagged):
        folder = path if os.path.isdir(path) else os.path.dirname(path) or "."  # noqa: PTH112, PTH120 (texts)
        if folder in checked:
            continue
        at = os.path.realpath(folder)
        is_tagged = place.is_relative_to(at) if folder == path else place == Path(at)
        if folder != path:
            checked.add(folder)
        if is_tagged:
            raise InputError(
                f"lies in {folder}, where pictures are being tagged: its sheets would be taken for pictures.",
                where=str(into),
                remedy="Name a folder elsewhere.",
            )
    with machine_errors(into):
        into.mkdir(parents=True, exist_ok=True)
    return _written(rows, into, explainer, max_pixels)


def _written(rows: Iterable[ImageTags], into: Path, explainer: Explainer, max_pixels: int) -> Iterator[ImageTags]:
    for row in rows:
        if not row.tags:
            yield row
            continue
        try:
            explanation = explainer.explain(row.path, [tag.label for tag in row.tags], max_pixels=max_pixels)
        except PictureError as error:  # it changed since it was tagged
            yield replace(row, tags=(), error=error)
            continue
        name = file_name(Path(row.path))
        with replaced_whole(into / f"{name}.jpg") as beside:
            draw_sheet(explanation).save(beside, "JPEG", quality=88, subsampling=0, optimize=True)
        write_json(into / f"{name}.json", to_json(explanation, explainer.tagger.bundle.digest))
        yield row


def file_name(path: Path) -> str:
    """A name without an ending for what is written about a picture: readable, and another one for every path.

    Only letters, digits, `.`, `_` and `-` of the picture's own name are kept, then a digest of its whole path follows:
    names never collide, lead nowhere else and fit every file system, whatever bytes the path has.
    """
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", path.name)[:60].lstrip(".-")
    return f"{readable or 'picture'}-{digest_bytes(os.fsencode(os.path.abspath(path)))[:16]}"  # noqa: PTH100


def to_json(explanation: Explanation, bundle: str) -> dict[str, Any]:
    """An explanation as in docs/explain.md."""
    tags = [
        {
            "label": tag.label,
            "spelling": tag.spelling,
            "score": round(tag.score, _DIGITS),
            "vector": tag.vector,
            "vectors": [round(value, _DIGITS) for value in tag.vectors],
            "places": [[round(float(value), _DIGITS) for value in row] for row in tag.places],
            "without_place": round(tag.without_place, _DIGITS),
            **({} if tag.view is None else {"view": [round(share, _DIGITS) for share in tag.view]}),
        }
        for tag in explanation.tags
    ]
    return {
        "path": os.fsdecode(explanation.path),
        "bundle": bundle,
        "frame": [round(share, _DIGITS) for share in explanation.frame],
        "tags": tags,
    }
