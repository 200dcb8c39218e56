"""A large file of the hub into its client's own cache, continued where an earlier attempt ended.

The client begins anew what was killed halfway, and leaves the half behind for ever. So what is large and is kept by its
SHA-256 is fetched here first, into a file beside the client's; the client then finds it, and fetches the rest.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tagprism.files import cache_dir, digest_file, locked

LARGE = 20_000_000
"""Bytes from which a half is worth keeping: they come ten million at a time."""


def continue_file(repository: str, commit: str, name: str, told: Callable[[int], None]) -> None:
    """Fetch what is missing of a file, unless it is there, or another process is fetching it.

    Args:
        repository: `owner/name`.
        commit: of it.
        name: of the file.
        told: of the bytes that are there and that come.

    Raises:
        Exception: as the hub's client, or an `OSError`, also where the bytes that came are not the file's.
    """
    import huggingface_hub
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars  # type: ignore[attr-defined]

    address = huggingface_hub.hf_hub_url(repository, name, revision=commit)
    its = huggingface_hub.get_hf_file_metadata(address)
    if not re.fullmatch("[0-9a-f]{64}", its.etag or "") or its.size is None:
        return
    kind = file_download.repo_folder_name(repo_id=repository, repo_type="model")
    blob = Path(constants.HF_HUB_CACHE, kind, "blobs", str(its.etag))
    if blob.exists():
        return
    headers = build_hf_headers()
    if urlsplit(its.location).netloc != urlsplit(address).netloc:
        headers.pop("authorization", None)  # which is for the hub alone
    disable_progress_bars("huggingface_hub.http_get")  # there is one already
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.part")
    with locked(cache_dir("fetching") / f"{blob.name}.lock") as alone:
        if not alone:
            return  # the client fetches its own, as it does anyway
        with _Told(part, told) as file:
            if file.tell() > its.size:
                file.seek(0)
                file.truncate()
            told(file.tell())
            file_download.http_get(its.location, file, resume_size=file.tell(), headers=headers, expected_size=its.size)
        if digest_file(part) != blob.name:
            part.unlink()
            raise OSError(f"{name} came with wrong bytes.")
        part.replace(blob)


class _Told(io.FileIO):
    """A file that grows and tells by how much."""

    def __init__(self, path: Path, told: Callable[[int], None]) -> None:
        super().__init__(path, "ab")
        self._told = told

    def write(self, data: io.BufferedIOBase | bytes, /) -> int:  # type: ignore[override]
        count = super().write(data)  # type: ignore[arg-type]
        self._told(count)
        return count
