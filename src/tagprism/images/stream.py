"""Many picture files -> batches of pixels, decoded ahead by a few threads. Knows nothing of networks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from tagprism.errors import PictureError
from tagprism.files import digest_bytes
from tagprism.images.decode import MAX_PIXELS, open_picture, read_bytes
from tagprism.images.preprocess import Preprocess

_Pixels: TypeAlias = Float32[np.ndarray, "3 H W"]


@dataclass(frozen=True)
class PixelBatch:
    """Some pictures of a list, ready for a network.

    Args:
        rows: B places in the list that was asked for, rising.
        pixels: (B, 3, H, W) preprocessed pictures.
        digests: B SHA-256 of the files' bytes.
        errors: (place, error) of the pictures that could not be used, met since the batch before.
    """

    rows: list[int]
    pixels: Float32[np.ndarray, "B 3 H W"]
    digests: list[str]
    errors: list[tuple[int, PictureError]]


def pixel_batches(
    paths: Iterable[str | os.PathLike[str]],
    preprocess: Preprocess,
    batch_size: int,
    *,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[PixelBatch]:
    """Decode pictures ahead of their use, in order, in bounded memory.

    Every batch but the last holds `batch_size` good pictures; the last may hold fewer, none if only errors are left.
    At most one batch and four pictures a thread are held at a time. Closing the iterator stops the threads.

    Args:
        paths: picture files, any number; fetched as they are needed.
        preprocess: what is done to each picture.
        batch_size: B, at least 1.
        threads: decoding threads; None takes one per processor, at most 8.
        max_pixels: cap on the size of a picture, as in `open_picture`.

    Yields:
        Batches that together name every place in `paths` once, in `rows` or in `errors`.
    """
    threads = threads or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[tuple[str, _Pixels] | PictureError]] = deque()
    rows: list[int] = []
    ready: list[tuple[str, _Pixels]] = []
    errors: list[tuple[int, PictureError]] = []
    try:
        source = iter(paths)
        for row in count():
            for path in islice(source, 4 * threads - len(waiting)):
                waiting.append(pool.submit(_read_one, path, preprocess, max_pixels))
            if not waiting:
                break
            outcome = waiting.popleft().result()
            if isinstance(outcome, PictureError):
                errors.append((row, outcome))
            else:
                rows.append(row)
                ready.append(outcome)
            if len(rows) == batch_size:
                yield _batch(rows, ready, errors, preprocess)
                rows, ready, errors = [], [], []
        if rows or errors:
            yield _batch(rows, ready, errors, preprocess)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read_one(
    path: str | os.PathLike[str], preprocess: Preprocess, max_pixels: int
) -> tuple[str, _Pixels] | PictureError:
    try:
        data = read_bytes(path)
        image = open_picture(data, max_pixels=max_pixels, draft_size=preprocess.draft_size, where=os.fsdecode(path))
    except PictureError as error:
        return error
    return digest_bytes(data), preprocess.apply(image)


def _batch(
    rows: list[int],
    ready: list[tuple[str, _Pixels]],
    errors: list[tuple[int, PictureError]],
    preprocess: Preprocess,
) -> PixelBatch:
    pixels = np.empty((len(rows), 3, preprocess.height, preprocess.width), dtype=np.float32)
    for place, (_, one) in enumerate(ready):
        pixels[place] = one
    return PixelBatch(rows, pixels, [digest for digest, _ in ready], errors)
