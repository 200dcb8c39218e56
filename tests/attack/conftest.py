"""A server under attack: in a process of its own, with as few open files as a system gives at first."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.server.served import Served, make_index, make_photos, served

if sys.platform != "linux":
    pytest.skip("the attackers look into /proc", allow_module_level=True)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, and one file that is too large for a line's buffers."""
    folder = make_photos(tmp_path_factory.mktemp("attacked") / "photos", drawn=4)
    Image.frombytes("RGB", (2048, 4096), os.urandom(2048 * 4096 * 3)).save(folder / "large.bmp")
    return folder


@pytest.fixture(scope="session")
def index(photos: Path) -> Path:
    """An index of them; not to be changed."""
    return make_index(photos.parent / "photos.index", photos)


@pytest.fixture(scope="module")
def server(index: Path) -> Iterator[Served]:
    """A server that must say nothing but its first line, and end well."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    with served(index) as server:
        yield server
    assert server.lines == server.lines[:1]


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A few photos and an index of them that a test may change."""
    folder = make_photos(tmp_path / "photos", drawn=0)
    return folder, make_index(tmp_path / "photos.index", folder)
