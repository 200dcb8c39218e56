"""An uploaded picture, which is not kept. Knows no index."""

from __future__ import annotations

import base64
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from tagprism.app.server.originals import Size, small
from tagprism.files import digest_bytes
from tagprism.images.decode import open_picture
from tagprism.tagging.tagger import Tagger


class Upload(NamedTuple):
    """An uploaded picture.

    Args:
        width: in pixels; of a large JPEG, which is decoded at reduced size, fewer than it has.
        height: likewise.
        pixels: what the network takes.
        digest: SHA-256 of its bytes.
        preview: it as a small JPEG in a `data:` address, where that was asked for.
    """

    width: int
    height: int
    pixels: Float32[np.ndarray, "C H W"]
    digest: str
    preview: str | None


def read_upload(data: bytes, tagger: Tagger, where: str, *, preview: bool) -> Upload:
    """Decode an uploaded picture.

    Args:
        data: its bytes.
        tagger: says what is done to a picture before the network.
        where: its name for messages.
        preview: whether a JPEG of it is wanted, for a browser that cannot show its kind.

    Raises:
        PictureError: it is no picture that can be used.
    """
    its = tagger.preprocess
    image = open_picture(data, draft_size=its.draft_size, where=where, colour=its.colour)
    pixels, address = its.apply(image), None
    if preview:
        address = f"data:image/jpeg;base64,{base64.b64encode(small(data, Size.large, where=where)).decode()}"
    return Upload(image.width, image.height, pixels, digest_bytes(data), address)
