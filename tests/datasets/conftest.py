"""The real Open Clip Art, where it is on this machine already; these tests never download it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tagprism.datasets.openclipart import Drawing, find_openclipart, openclipart_table
from tagprism.datasets.table import ImageTable


@pytest.fixture(scope="session")
def openclipart_folder() -> Path:
    """Folder of the installed packages, or the one that TAGPRISM_OPENCLIPART names."""
    if not os.environ.get("TAGPRISM_OPENCLIPART") and not Path("/usr/share/openclipart/png").is_dir():
        pytest.skip("Open Clip Art is not installed (openclipart-png, openclipart-svg) nor named")
    folder = find_openclipart()
    assert folder is not None
    return folder


@pytest.fixture(scope="session")
def openclipart(openclipart_folder: Path) -> tuple[ImageTable, tuple[Drawing, ...]]:
    """Its table and drawings, read once."""
    return openclipart_table(openclipart_folder)
