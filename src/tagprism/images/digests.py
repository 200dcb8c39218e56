"""Digests of picture files: what features are cached by and leaks are found by. Decodes no picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tagprism.errors import PictureError
from tagprism.files import digest_bytes
from tagprism.images.decode import read_bytes
from tagprism.progress import Progress, silent


def digest_pictures(
    files: Sequence[Path], progress: Progress = silent
) -> tuple[dict[int, str], list[tuple[int, PictureError]]]:
    """SHA-256 of the bytes of each file that can be read.

    Args:
        files: picture files.
        progress: told of every file.

    Returns:
        Digests (64 hex digits) by place in `files`; and (place, error) of the files that cannot be read.
    """
    digests: dict[int, str] = {}
    errors: list[tuple[int, PictureError]] = []
    with progress("reading pictures", len(files)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, outcome in enumerate(pool.map(_digest, files)):
            if isinstance(outcome, PictureError):
                errors.append((row, outcome))
            else:
                digests[row] = outcome
            advance(1)
    return digests, errors


def _digest(path: Path) -> str | PictureError:
    try:
        return digest_bytes(read_bytes(path))
    except PictureError as error:
        return error
