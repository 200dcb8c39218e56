"""What every test shares: shapes checked at run time, a small trained run, and the data beside the repository.

`make test-fast` and `make test` run the tests in several processes (pytest-xdist, one file never in two of them). What
is made once for all of them lies in `session_folder`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import jaxtyping
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

for _name in ("COLUMNS", "LINES"):  # pytest-xdist sets them in its processes, and a rich console keeps them for good
    os.environ.pop(_name, None)

# Shapes and types are checked while the tests run; to be installed before anything of tagprism is imported. Modules
# without shapes are left to mypy: a checked call takes 20 microseconds more, and opening a vocabulary makes 80,000.
_ROOMS = ("labels", "images", "datasets", "bundle", "tagging", "evaluation", "network", "comparing")
_SOURCE = Path(__file__).resolve().parents[1] / "src"
_CHECKED = [file for room in _ROOMS for file in (_SOURCE / "tagprism" / room).rglob("*.py")]
_CHECKED += [_SOURCE / f"tagprism/training/{name}.py" for name in ("diversity_loss", "features", "networks")]
jaxtyping.install_import_hook(
    [
        ".".join(file.relative_to(_SOURCE).with_suffix("").parts)
        for file in _CHECKED
        if "from jaxtyping import" in file.read_text(encoding="utf-8")
    ],
    "beartype.beartype",
)

from tests.small_world import World, make_world  # noqa: E402

# An example takes as long as a busy machine lets it: a limit in real time would fail by chance.
settings.register_profile("tests", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
# `make test-fast` asks for this one: a change that breaks a property mostly shows in the first examples.
settings.register_profile("fast", settings.get_profile("tests"), max_examples=20)

_ALL_SLOW = re.compile(r"^pytestmark = pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of slow tests alone where these are not asked for: what they import takes seconds to load."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py" or not collection_path.is_file():
        return None
    return True if _ALL_SLOW.search(collection_path.read_text(encoding="utf-8")) else None


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and golden numbers beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared (real photos, golden numbers) is not beside this repository")
    return SHARED


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that all processes of this session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def cache_folder(session_folder: Path) -> Path:
    """Cache folder of the tests, never the user's own; it outlives a session, as encoders take long to make."""
    return session_folder.parent / "tagprism-cache"


@pytest.fixture(autouse=True)
def own_cache(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the cache of the tests, and a folder of journals and defaults that are never the user's own."""
    monkeypatch.setenv("TAGPRISM_CACHE", str(cache_folder))
    monkeypatch.setenv("TAGPRISM_CONFIG", str(tmp_path_factory.getbasetemp() / "no-config.toml"))
    monkeypatch.setenv("TAGPRISM_STATE", str(tmp_path_factory.getbasetemp() / "tagprism-state"))


@pytest.fixture
def no_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let values of a wrong type or shape reach the function, as they do outside the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def world(session_folder: Path, cache_folder: Path) -> World:
    """A small world with a run that the real command line trained on its split 0; not to be changed."""
    world = World(session_folder / "world")
    with FileLock(session_folder / "world.lock"):
        if not (world.run / "bundle").exists():  # which is made last; else another process of this session has made it
            make_world(world.folder)
            from tests.app.conftest import COMMAND

            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TAGPRISM_CACHE", str(cache_folder))
                assert COMMAND([*world.train_arguments(), "--quiet"], standalone_mode=False) == 0
    return world
