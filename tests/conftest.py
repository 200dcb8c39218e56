"""What every test shares: shapes checked at run time, and the data beside the repository, where it is present."""

from __future__ import annotations

from pathlib import Path

import jaxtyping
import pytest

# Every annotated shape and type is checked while the tests run; to be installed before anything of tagprism is imported.
_CHECKED = ("model", "training.diversity_loss", "training.features", "training.baselines", "evaluation", "labels")
_CHECKED += ("images", "datasets", "tagging")
jaxtyping.install_import_hook([f"tagprism.{room}" for room in _CHECKED], "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and golden numbers beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared (real photos, golden numbers) is not beside this repository")
    return SHARED


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cache folder shared by one test session, never the user's own."""
    root = tmp_path_factory.getbasetemp().parent / "tagprism-cache"
    monkeypatch.setenv("TAGPRISM_CACHE", str(root))
