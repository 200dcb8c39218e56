"""Foreign models and pictures that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.small_foreign import Foreign


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Foreign]:
    """A small model of each layout, made once."""
    from tests.bundle.foreign_models import MAKERS  # which needs torch

    root, models = tmp_path_factory.mktemp("foreign"), {}

    def get(name: str) -> Foreign:
        if name not in models:
            models[name] = MAKERS[name](root / name)
        return models[name]

    return get


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Flat, upright, square and odd ones, of smooth colours."""
    random = np.random.default_rng(0)
    sizes = [(120, 90), (61, 200), (48, 48), (300, 133), (49, 48), (640, 481)]
    return [
        Image.fromarray(random.integers(0, 255, (7, 9, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        for size in sizes
    ]
