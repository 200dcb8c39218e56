"""Where Open Clip Art is on this machine: installed, cached, or fetched from Debian. Knows nothing of its contents."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tagprism.errors import InputError, MachineError
from tagprism.files import cache_dir, replaced_whole

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

    Needs no root: the packages are unpacked into the cache, not installed.

    Returns:
        The folder.

    Raises:
        MachineError: when this is not Debian, or the download or the disk refuses.
    """
    here = find_openclipart()
    if here is not None:
        return here
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise MachineError(
            "Open Clip Art comes from Debian's packages, and this machine has no apt-get.", remedy=_INSTEAD
        )
    with (
        replaced_whole(cache_dir() / "openclipart") as unpacked,
        tempfile.TemporaryDirectory(prefix="openclipart-") as temporary,
    ):
        for package in _download(Path(temporary)):
            _run(["dpkg-deb", "-x", str(package), str(unpacked)], Path(temporary))
        if not _is_complete(_inside(unpacked)):
            raise MachineError("the packages do not hold what they should.", where="openclipart", remedy=_INSTEAD)
    return _cached()


def _cached() -> Path:
    return _inside(cache_dir() / "openclipart")


def _inside(unpacked: Path) -> Path:
    return unpacked / _INSTALLED.relative_to("/")


def _is_complete(folder: Path) -> bool:
    return (folder / "png").is_dir() and (folder / "svg").is_dir()


def _download(folder: Path) -> list[Path]:
    """Download the packages; a machine without package lists gets lists of its own in `folder`, which needs no root."""
    try:
        _run(["apt-get", "download", *PACKAGES], folder)
    except MachineError:
        lists = folder / "lists"
        (lists / "partial").mkdir(parents=True)
        private = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User="]
        _run(["apt-get", *private, "update"], folder)
        _run(["apt-get", *private, "download", *PACKAGES], folder)
    found = [sorted(folder.glob(f"{package}_*.deb")) for package in PACKAGES]
    if not all(found):
        raise MachineError("apt-get downloaded nothing.", where="openclipart", remedy=_INSTEAD)
    return [packages[-1] for packages in found]


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
        said = lines[-1] if lines else f"exit code {done.returncode}"
        raise MachineError(f"Open Clip Art cannot be fetched ({said}).", where=command[0], remedy=_INSTEAD)
