"""Every public name has an example in its docstring, and every example runs and shows what it says."""

from __future__ import annotations

import doctest
import inspect
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tagprism
from tagprism.app import console
from tagprism.app.cli import app

PHOTOS = Path(__file__).parents[1] / "photos"
PUBLIC = sorted(set(tagprism.__all__) - {"__version__"})
SHOWN_BY = {"Collection": "open_index", "Comparison": "compare", "Result": "evaluate", "Run": "train", "Tagger": "load"}
"""What a function makes is shown by the example of that function."""


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Path:
    """Where examples run: `tests/photos/` as in the repository, `photos/` of 24 pictures, and `photos.index`."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(PHOTOS, folder / "tests/photos")
    (folder / "photos").mkdir()
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(folder / f"photos/{number}.jpg")
    arguments = ["index", str(folder / "tests/photos"), "--into", str(folder / "photos.index"), "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGPRISM_CACHE", str(cache_folder))
        assert console.run(lambda: app(arguments, standalone_mode=False)) == console.OK
    return folder


def examples_of(name: str) -> list[doctest.DocTest]:
    """Examples in the docstrings of a public name and of its methods, each with the names of its module."""
    found = getattr(tagprism, name)
    module = found if inspect.ismodule(found) else sys.modules[found.__module__]
    tests = doctest.DocTestFinder(recurse=not inspect.ismodule(found)).find(found, name, False, globs=vars(module))
    return [test for test in tests if test.examples]


@pytest.fixture
def run_here(example_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example_folder)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("compare", "train") else name for name in PUBLIC]
)
def test_there_is_an_example_and_it_holds(name: str, run_here: None, capsys: pytest.CaptureFixture[str]) -> None:
    tests = examples_of(name)
    assert tests or examples_of(SHOWN_BY[name])
    for test in tests:
        failed = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed
        assert failed == 0, capsys.readouterr().out
