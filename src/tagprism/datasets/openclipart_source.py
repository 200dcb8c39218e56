"""Where Open Clip Art is on this machine: installed, cached, or fetched from Debian. Knows nothing of its contents."""

from __future__ import annotations

import os
from pathlib import Path

from tagprism.datasets.debian_packages import unpack_packages
from tagprism.errors import InputError, MachineError
from tagprism.files import cache_dir

PACKAGES = ("openclipart-png", "openclipart-svg")
_INSTALLED = Path("/usr/share/openclipart")
_OVERRIDE = "TAGPRISM_OPENCLIPART"
_INSTEAD = "Use your own pictures with --data tagged:DIR."


def find_openclipart() -> Path | None:
    """Folder with `png/` and `svg/` that is here already, or None.

    The environment variable `TAGPRISM_OPENCLIPART` comes first, then the installed Debian packages, then the cache.

    Raises:
        InputError: when the environment variable names another kind of folder.
    """
    named = os.environ.get(_OVERRIDE)
    if named and not _is_complete(Path(named)):
        raise InputError("the folder must hold png/ and svg/ of Open Clip Art.", where=f"{_OVERRIDE}={named}")
    folders = [Path(named)] if named else [_INSTALLED, _cached()]
    return next((folder for folder in folders if _is_complete(folder)), None)


def fetch_openclipart() -> Path:
    """Folder with `png/` and `svg/`; Debian's packages are downloaded (about 156 MB) and unpacked when it is not here.

    Returns:
        The folder.

    Raises:
        MachineError: when this is not Debian, or the download or the disk refuses.
    """
    here = find_openclipart()
    if here is not None:
        return here
    unpack_packages(PACKAGES, cache_dir() / "openclipart", what="Open Clip Art", remedy=_INSTEAD)
    if not _is_complete(_cached()):
        raise MachineError("the packages do not hold what they should.", where="openclipart", remedy=_INSTEAD)
    return _cached()


def _cached() -> Path:
    return cache_dir() / "openclipart" / _INSTALLED.relative_to("/")


def _is_complete(folder: Path) -> bool:
    return (folder / "png").is_dir() and (folder / "svg").is_dir()
