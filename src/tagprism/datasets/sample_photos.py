"""Real photographs that come inside packages and may be shown: where they are on this machine, and whose they are."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path
from typing import Any

from tagprism.datasets.debian_packages import unpack_packages
from tagprism.files import cache_dir

DEMO_PACKAGES = ("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds")
"""What `tagprism demo` downloads: 74 MB for 26 photographs."""
ALL_PACKAGES = (*DEMO_PACKAGES, "plasma-workspace-wallpapers")
"""With 94 MB more, 37 photographs."""
_INSTEAD = "The demo goes on with the photographs of scikit-image and scikit-learn, where they are installed."


@dataclass(frozen=True)
class SamplePhoto:
    """A photograph of a package.

    Args:
        path: the file.
        name: `PACKAGE/FILE`.
        package: Debian package or Python module that it is from.
        author: who took it, as the package states.
        licence: as the package states.
        shows: its main subject in a few words; nothing is trained or chosen on it.
    """

    path: Path
    name: str
    package: str
    author: str
    licence: str
    shows: str


def sample_photos() -> tuple[SamplePhoto, ...]:
    """The photographs that are on this machine: installed, or unpacked by `fetch_sample_photos`.

    Returns:
        In the order of `sample_photos.toml`; packages that are not here are left out.
    """
    found = []
    for package in _packages():
        folder, name = _folder(package), _name(package)
        if folder is None:
            continue
        for photo in package["photos"]:
            values = dict(photo)
            file = values.pop("file")
            if (path := folder / file).is_file():
                found.append(SamplePhoto(path, f"{name}/{file}", name, **values))
    return tuple(found)


def fetch_sample_photos(packages: Sequence[str] = DEMO_PACKAGES) -> None:
    """Download the Debian packages that are not here, and unpack them into the cache; needs no root.

    Args:
        packages: names of Debian packages in `sample_photos.toml`.

    Raises:
        MachineError: when this is not Debian, or the download or the disk refuses.
    """
    for package in _packages():
        if (name := _name(package)) in packages and _folder(package) is None:
            unpack_packages([name], _cached(name), what=name, remedy=_INSTEAD)


def _packages() -> list[dict[str, Any]]:
    text = (resources.files("tagprism.datasets") / "sample_photos.toml").read_text(encoding="utf-8")
    packages: list[dict[str, Any]] = tomllib.loads(text)["package"]
    return packages


def _name(package: dict[str, Any]) -> str:
    return str(package.get("debian") or package["python"])


def _cached(name: str) -> Path:
    return cache_dir() / "sample-photos" / name


def _folder(package: dict[str, Any]) -> Path | None:
    """Where a package's photographs are, or None; a Python package is found without importing it."""
    if "python" in package:
        found = util.find_spec(package["python"])
        roots = list(found.submodule_search_locations or ()) if found else []
    else:
        roots = ["/", str(_cached(package["debian"]))]
    folders = [Path(root) / package["folder"] for root in roots]
    return next((folder for folder in folders if (folder / package["photos"][0]["file"]).is_file()), None)
