"""The one writer of bundles: what it writes is opened, and what cannot be opened is not there."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagprism.bundle.bundle import CARD, CONFIG, Bundle
from tagprism.bundle.write import Content, check_new, trained_on, write_bundle
from tagprism.errors import InputError
from tests.small_world import World


@pytest.fixture
def whole(world: World) -> tuple[dict[str, Content], dict[str, Any]]:
    """Files and config of the small run's bundle."""
    bundle = Bundle(world.run)
    config = bundle.config.model_dump(mode="json", exclude={"format", "digests"})
    return {name: partial(shutil.copyfile, bundle.path / name) for name in bundle.config.digests}, config


def test_the_same_files_and_config_are_the_same_bundle(
    whole: tuple[dict[str, Content], dict[str, Any]], world: World, tmp_path: Path
) -> None:
    written, own = write_bundle(tmp_path / "a/b", *whole, "# Card\n"), Bundle(world.run)
    assert written.path == tmp_path / "a/b" and written.digest == own.digest
    assert (written.path / CARD).read_text() == "# Card\n"
    pixels = np.zeros((1, 3, 64, 64), np.float32)
    np.testing.assert_array_equal(written.records(pixels).rows, own.records(pixels).rows)


def test_what_does_not_fit_together_is_not_written(
    whole: tuple[dict[str, Content], dict[str, Any]], tmp_path: Path
) -> None:
    files, config = whole
    with pytest.raises(InputError, match="its config says otherwise"):
        write_bundle(tmp_path / "b", files, config | {"vectors": 5}, "")
    with pytest.raises(InputError, match=r"names no digest of model\.onnx"):
        write_bundle(tmp_path / "b", {name: files[name] for name in files if name != "model.onnx"}, config, "")

    def fail(path: Path) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "b", files | {"model.onnx": fail}, config, "")
    assert not any(tmp_path.iterdir())


def test_a_bundle_that_is_there_is_replaced_whole(
    whole: tuple[dict[str, Content], dict[str, Any]], tmp_path: Path
) -> None:
    files, config = whole
    write_bundle(tmp_path / "b", files, config, "old")
    digests = frozenset({"00" * 32, "ff" * 32})
    again = write_bundle(tmp_path / "b", files | trained_on(digests), config, "new")
    assert again.trained_images == digests
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    with pytest.raises(InputError, match="exists already"):
        check_new(tmp_path / "b")
    with pytest.raises(InputError, match="exists already"):
        check_new(tmp_path / "b" / CONFIG)
    check_new(tmp_path / "c")
