"""One index for all tests that change nothing in it, and one of its own for each that does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.server.served import make_index, make_photos, serving


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and drawings; not to be changed."""
    return make_photos(tmp_path_factory.mktemp("served") / "photos")


@pytest.fixture(scope="session")
def index(photos: Path) -> Path:
    """An index of them; not to be changed."""
    return make_index(photos.parent / "photos.index", photos)


@pytest.fixture(scope="session")
def client(index: Path) -> Iterator[TestClient]:
    """The server over it, for tests that change nothing."""
    with serving(index) as client:
        yield client


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A few photos and an index of them that a test may change."""
    folder = make_photos(tmp_path / "photos", drawn=0)
    return folder, make_index(tmp_path / "photos.index", folder)


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser without a window."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    return found
