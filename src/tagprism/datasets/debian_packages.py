"""Pictures that come inside Debian's packages: downloaded and unpacked without root. Knows no contents."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tagprism.errors import MachineError
from tagprism.files import replaced_whole


def unpack_packages(packages: Sequence[str], into: Path, *, what: str, remedy: str) -> None:
    """Download packages and unpack them into a folder, which is whole or not there.

    The packages are unpacked, not installed, so this needs no root.

    Args:
        packages: their names.
        into: the folder, without `usr/`; what was there is replaced.
        what: the name of these pictures in messages.
        remedy: what to do without them.

    Raises:
        MachineError: when this is not Debian, or the download or the disk refuses.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        message = f"{what} comes from Debian's packages, and this machine has no apt-get."
        raise MachineError(message, remedy=remedy)
    with replaced_whole(into) as unpacked, tempfile.TemporaryDirectory(prefix="debian-packages-") as temporary:
        try:
            for package in _download(packages, Path(temporary)):
                _run(["dpkg-deb", "-x", str(package), str(unpacked)], Path(temporary))
        except _RefusedError as refused:
            raise MachineError(f"{what} cannot be fetched ({refused}).", where="apt-get", remedy=remedy) from refused


class _RefusedError(Exception):
    """What a program said when it failed."""


def _download(packages: Sequence[str], folder: Path) -> list[Path]:
    """Download the packages; a machine without package lists gets lists of its own in `folder`, which needs no root."""
    try:
        _run(["apt-get", "download", *packages], folder)
    except _RefusedError:
        lists = folder / "lists"
        (lists / "partial").mkdir(parents=True)
        private = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User="]
        _run(["apt-get", *private, "update"], folder)
        _run(["apt-get", *private, "download", *packages], folder)
    found = [sorted(folder.glob(f"{package}_*.deb")) for package in packages]
    if not all(found):
        raise _RefusedError("apt-get downloaded nothing")
    return [versions[-1] for versions in found]


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
        raise _RefusedError(lines[-1] if lines else f"{command[0]}: exit code {done.returncode}")
