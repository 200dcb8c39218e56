"""Photographs inside packages: found where they are, fetched into the cache, each with its author and licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagprism.datasets import sample_photos as module
from tagprism.datasets.sample_photos import DEMO_PACKAGES, fetch_sample_photos, sample_photos
from tagprism.errors import MachineError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cache_dir", lambda: tmp_path / "cache")


def test_photographs_of_an_installed_wheel_are_found_with_their_authors() -> None:
    found = [photo for photo in sample_photos() if photo.package == "sklearn"]
    assert [photo.path.name for photo in found] == ["china.jpg", "flower.jpg"]
    assert all(photo.path.is_file() and photo.author and photo.licence and photo.shows for photo in found)


def test_each_package_is_fetched_once_into_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def unpack(packages: list[str], into: Path, **_: str) -> None:
        asked.extend(packages)
        listed = next(package for package in module._packages() if package.get("debian") == packages[0])
        for photo in listed["photos"]:
            file = into / listed["folder"] / photo["file"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    monkeypatch.setattr(module, "unpack_packages", unpack)
    missing = set(DEMO_PACKAGES) - {photo.package for photo in sample_photos()}
    fetch_sample_photos()
    fetch_sample_photos()
    assert set(asked) == missing
    assert len(asked) == len(missing)
    assert set(DEMO_PACKAGES) <= {photo.package for photo in sample_photos()}


def test_a_machine_without_debian_says_what_the_demo_does_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagprism.datasets.debian_packages.shutil.which", lambda _: None)
    monkeypatch.setattr(module, "_folder", lambda package: None)
    with pytest.raises(MachineError, match=r"this machine has no apt-get.*The demo goes on"):
        fetch_sample_photos()


def test_no_photograph_is_listed_twice() -> None:
    listed = [(package["folder"], photo["file"]) for package in module._packages() for photo in package["photos"]]
    assert len(listed) == len(set(listed)) > 40
