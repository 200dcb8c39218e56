"""Many picture files on all processors: a network's outputs of them, in order, and the digests of their bytes.

Knows nothing of what the network does, nor whether a digest finds a feature in a cache or a leak.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float32

from tagprism.errors import PictureError
from tagprism.files import cache_dir, digest_bytes
from tagprism.images.decode import MAX_PIXELS, REMARK, open_picture, read_bytes
from tagprism.images.picture_file import PictureFile, StoredPicture
from tagprism.images.preprocess import Preprocess, ViewedPreprocess
from tagprism.progress import Progress, silent
from tagprism.sqlite_file import ByteCache

BATCH = 4  # pictures a network gets at once: more is no faster on a processor, and takes more memory a thread
_AHEAD = 3  # batches a thread that may be under way before the first of them is fetched
_CHUNK = 1024  # files asked for at once: memory does not grow with their number, and little is lost with the process
_SETTLED = 2.0  # seconds after which a file's time tells a later change apart

_Path: TypeAlias = str | os.PathLike[str]
_T = TypeVar("_T")
_Pixels: TypeAlias = Float32[np.ndarray, "B C H W"]


@dataclass(frozen=True)
class Processed(Generic[_T]):
    """What came of one picture.

    Args:
        path: as it was given.
        output: the network's output for it, or why there is none.
        digest: SHA-256 of the file's bytes, 64 hex digits; '' where it could not be opened.
        remark: what is wrong with the file though it could be read; mostly ''.
    """

    path: _Path
    output: _T | PictureError
    digest: str = ""
    remark: str = ""


def process_pictures(
    paths: Iterable[_Path],
    preprocess: Preprocess | ViewedPreprocess,
    network: Callable[[_Pixels], Iterable[_T]],
    *,
    batch_size: int = BATCH,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
    read: Callable[[_Path], bytes] = read_bytes,
) -> Iterator[Processed[_T]]:
    """Open pictures and run a network on them, in bounded memory.

    Each thread takes a batch the whole way, from the files to the network's output, so that no thread waits for
    another and all processors are busy with either. Closing the iterator stops the threads.
    Each takes the good ones of `batch_size` consecutive pictures, counted from the first.

    Args:
        paths: picture files, any number; fetched a few batches ahead.
        preprocess: what is done to each picture.
        network: prepared pixels to one output a picture; called by several threads at once, each with memory of its
            own that it must not keep. It should compute in one thread.
        batch_size: B, at least 1; a batch has fewer pictures where some cannot be used.
        threads: None takes one per processor.
        max_pixels: cap on the size of a picture, as in `open_picture`.
        read: gives the bytes of a picture, or raises a `PictureError`; called by several threads at once.

    Yields:
        One result a path, in order.
    """
    threads = threads or os.cpu_count() or 1
    source = iter(paths)
    memory = threading.local()
    waiting: deque[Future[list[Processed[_T]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="stream")

    def take(batch: list[_Path]) -> list[Processed[_T]]:
        if not hasattr(memory, "pixels"):
            memory.pixels = np.empty((batch_size, *preprocess.shape), np.float32)
        return _one_batch(batch, preprocess, network, memory.pixels, max_pixels, read)

    try:
        while True:
            while len(waiting) < _AHEAD * threads and (batch := list(islice(source, batch_size))):
                waiting.append(pool.submit(take, batch))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_batch(
    paths: list[_Path],
    preprocess: Preprocess | ViewedPreprocess,
    network: Callable[[_Pixels], Iterable[_T]],
    pixels: Float32[np.ndarray, "B C H W"],
    max_pixels: int,
    read: Callable[[_Path], bytes],
) -> list[Processed[_T]]:
    found: list[Processed[_T] | tuple[_Path, str, str]] = []
    count = 0
    for path in paths:
        try:
            data = read(path)
            image = open_picture(
                data,
                max_pixels=max_pixels,
                draft_size=preprocess.draft_size,
                where=os.fsdecode(path),
                colour=preprocess.colour,
            )
        except PictureError as error:
            error.__traceback__ = error.__cause__ = error.__context__ = None  # they would hold the file's bytes
            found.append(Processed(path, error))
            continue
        preprocess.apply_into(image, pixels[count])
        found.append((path, digest_bytes(data), str(image.info.get(REMARK, ""))))
        count += 1
    outputs = iter(network(pixels[:count]) if count else ())
    return [one if isinstance(one, Processed) else Processed(one[0], next(outputs), *one[1:]) for one in found]


def reading_order(files: Sequence[PictureFile]) -> Sequence[int]:
    """Positions in a list of pictures, in the cheapest order to read them: pictures of one shard together."""
    if not files or isinstance(files[0], Path):
        return range(len(files))
    positions = [(str(one.shard), one.first, one.second) for one in files if isinstance(one, StoredPicture)]
    return sorted(range(len(files)), key=positions.__getitem__)


def digest_pictures(
    files: Sequence[PictureFile], progress: Progress = silent, *, keep: bool = False
) -> tuple[dict[int, str], list[tuple[int, PictureError]]]:
    """SHA-256 of the bytes of each file that can be read.

    Args:
        files: picture files, any number.
        progress: told of every file.
        keep: remember digests by path, size and time, and read no file again that has not changed. An interrupted
            reading of millions of files then goes on where it stopped.

    Returns:
        Digests (64 hex digits) by position in `files`; and (position, error) of the files that cannot be read.

    Raises:
        MachineError: the file of remembered digests is damaged or cannot be written.
    """
    digests: dict[int, str] = {}
    errors: list[tuple[int, PictureError]] = []
    cache = ByteCache(cache_dir("digests") / "pictures.sqlite", "digests") if keep else None
    try:
        with progress("reading pictures", len(files)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
            order = reading_order(files)
            for begin in range(0, len(files), _CHUNK):
                rows = order[begin : begin + _CHUNK]
                chunk = [files[row] for row in rows]
                outcomes = _remembered(chunk, cache, pool) if cache else list(pool.map(_digest, chunk))
                for row, outcome in zip(rows, outcomes, strict=True):
                    if isinstance(outcome, PictureError):
                        errors.append((row, outcome))
                    else:
                        digests[row] = outcome
                advance(len(chunk))
    finally:
        if cache is not None:
            cache.close()
    return dict(sorted(digests.items())), sorted(errors, key=lambda one: one[0])


def _remembered(files: list[PictureFile], cache: ByteCache, pool: ThreadPoolExecutor) -> list[str | PictureError]:
    """Digests from the cache where size and time are those of then, else from the bytes."""
    keys = [blake2b(os.fsencode(file.absolute()), digest_size=16).digest() for file in files]
    stamps = list(pool.map(file_stamp, files))
    known = cache.get(keys)
    found: list[str | PictureError | None] = []
    for key, stamp in zip(keys, stamps, strict=True):
        value = known.get(key, b"")
        found.append(value[16:].hex() if stamp and value[:16] == stamp and len(value) == 48 else None)
    missing = [position for position, digest in enumerate(found) if digest is None]
    new: dict[bytes, bytes] = {}
    for position, outcome in zip(missing, pool.map(_digest, [files[position] for position in missing]), strict=True):
        found[position] = outcome
        if isinstance(outcome, str) and stamps[position]:
            new[keys[position]] = stamps[position] + bytes.fromhex(outcome)
    if new:
        cache.put(new)
    return [outcome for outcome in found if outcome is not None]


def file_stamp(path: PictureFile) -> bytes:
    """Size and time of a file; empty when it is not there or changed just now, so that its time proves nothing."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return b""
    return struct.pack("<qq", status.st_size, status.st_mtime_ns) if time.time() - status.st_mtime > _SETTLED else b""


def _digest(path: PictureFile) -> str | PictureError:
    try:
        return digest_bytes(read_bytes(path))
    except PictureError as error:
        return error
