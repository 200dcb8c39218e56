"""What was found as one HTML page with everything in it: no script, no outside host. Knows no index."""

from __future__ import annotations

import base64
import io
import os
import urllib.parse
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from tagprism.app.console import printable
from tagprism.errors import PictureError
from tagprism.images.decode import open_picture
from tagprism.search.results import Found, Results

_HEIGHT = 400  # pixels of a small picture: sharp at 200 CSS pixels on a dense screen, about 30 kB
_WIDEST = 3  # a panorama is shown this many times as wide as high at most


@dataclass(frozen=True)
class Card:
    """One picture on the page.

    Args:
        name: of the file.
        folder: it lies in.
        link: `file:` address of the picture.
        image: `data:` address of a small copy, empty where there is none.
        missing: why there is none.
        ratio: width to height of what is shown.
        numbers: labels, each with its match.
        taken: the day, or empty.
    """

    name: str
    folder: str
    link: str
    image: str
    missing: str
    ratio: float
    numbers: tuple[tuple[str, str], ...]
    taken: str


def gallery(title: str, where: str, results: Results) -> str:
    """The page of a search; names are escaped, pictures embedded small, and each links to its file."""
    environment = Environment(
        loader=PackageLoader("tagprism.app"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cards = [_card(found) for found in results.found]
    page = environment.get_template("gallery.html.j2")
    return page.render(title=printable(title), where=printable(where), cards=cards)


def _card(found: Found) -> Card:
    picture = found.picture
    folder, name = os.path.split(picture.path)
    try:
        image, missing = _small(picture.path), ""
    except PictureError as error:
        image, missing = "", error.message
    return Card(
        name=printable(name),
        folder=printable(folder),
        link="file://" + urllib.parse.quote(os.fsencode(picture.path)),
        image=image,
        missing=missing,
        ratio=min(_WIDEST, max(0.5, picture.width / max(picture.height, 1))),
        numbers=tuple(
            (printable(tag.label), f"{match:.2f}") for tag, match in zip(found.tags, found.label_matches, strict=True)
        ),
        taken=(picture.taken or "")[:10],
    )


def _small(path: str) -> str:
    """A `data:` address of a picture, small."""
    size = (_HEIGHT * _WIDEST, _HEIGHT)
    picture = open_picture(path, draft_size=size)
    picture.thumbnail(size, Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=82, optimize=True, progressive=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
