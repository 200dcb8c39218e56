"""Pictures that are copies of each other, or nearly: resized, compressed again, brightened. Knows no queries.

What is compared is the look of the pixels, as when a data set is split; the network sees too much alike in two photos
of one scene, and too little in a picture of half the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from tagprism.datasets.near_duplicates import SIDE, group, look_alikes, thumbnail
from tagprism.errors import PictureError
from tagprism.files import cache_dir
from tagprism.images.decode import open_picture
from tagprism.progress import Progress, silent
from tagprism.search.contract import Picture
from tagprism.sqlite_file import ByteCache

_DRAFT = 4 * SIDE
_AT_ONCE = 256  # pictures between two times that looks are kept


def duplicates(pictures: Sequence[Picture], *, progress: Progress = silent) -> list[list[Picture]]:
    """Groups of two or more pictures that are copies or near-copies.

    Args:
        pictures: any; a file's look is read once and kept by its bytes.
        progress: told of every picture.

    Returns:
        Groups by their first picture; in a group the one of most pixels first, then by path. A picture whose file is
        gone is grouped by its bytes alone.
    """
    looks = _looks(pictures, progress)
    seen = [position for position, picture in enumerate(pictures) if picture.digest in looks]
    pairs = []
    if seen:
        thumbnails = np.stack([looks[pictures[position].digest] for position in seen])
        found = look_alikes(thumbnails, [(pictures[position].width, pictures[position].height) for position in seen])
        pairs = [(seen[one], seen[other]) for one, other in found]
    groups: dict[int, list[Picture]] = {}
    numbers = group(len(pictures), same=[[picture.digest for picture in pictures]], pairs=pairs)
    for picture, number in zip(pictures, numbers, strict=True):
        groups.setdefault(number, []).append(picture)
    several = [its for its in groups.values() if len(its) > 1]
    return [sorted(its, key=lambda one: (-one.width * one.height, one.path)) for its in several]


def _looks(pictures: Sequence[Picture], progress: Progress) -> dict[str, UInt8[np.ndarray, "24 24 3"]]:
    """Thumbnails by digest."""
    cache = ByteCache(cache_dir("looks") / "looks.sqlite", "looks")
    found: dict[str, bytes] = {}
    try:
        with ThreadPoolExecutor() as pool, progress("comparing pictures", len(pictures)) as advance:
            for start in range(0, len(pictures), _AT_ONCE):
                some = pictures[start : start + _AT_ONCE]
                kept = cache.get(bytes.fromhex(one.digest) for one in some)
                found |= {key.hex(): value for key, value in kept.items()}
                new = list({one.digest: one for one in some if one.digest not in found}.values())
                read = {one.digest: look for one, look in zip(new, pool.map(_look, new), strict=True) if look}
                cache.put({bytes.fromhex(digest): look for digest, look in read.items()})
                found |= read
                advance(len(some))
    finally:
        cache.close()
    return {digest: np.frombuffer(look, np.uint8).reshape(SIDE, SIDE, 3) for digest, look in found.items()}


def _look(picture: Picture) -> bytes | None:
    try:
        return thumbnail(open_picture(picture.path, draft_size=(_DRAFT, _DRAFT))).tobytes()
    except PictureError:
        return None
