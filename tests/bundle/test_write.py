"""The one writer of bundles: what it writes is opened, and what cannot be opened is not there."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagprism.bundle.bundle import Bundle
from tagprism.bundle.card import CARD
from tagprism.bundle.config import CONFIG
from tagprism.bundle.write import Content, check_new, trained_on, write_bundle
from tagprism.errors import InputError
from tagprism.files import locked
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


def test_what_a_killed_export_left_is_cleared_away_by_the_next_one(
    whole: tuple[dict[str, Content], dict[str, Any]], tmp_path: Path
) -> None:
    write_bundle(tmp_path / "b", *whole, "before")
    (tmp_path / "b").rename(tmp_path / ".b.01234567.old")  # killed between the two renames
    for name in (".b.89abcdef.part", ".c.89abcdef.part", ".b.part"):
        (tmp_path / name / "text").mkdir(parents=True)
    with pytest.raises(InputError, match="made by someone else"):
        write_bundle(tmp_path / "b", *whole, "after", replace=False)
    assert (tmp_path / "b" / CARD).read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.part", ".c.89abcdef.part", "b"]


def test_a_bundle_never_replaces_what_someone_made_meanwhile(
    whole: tuple[dict[str, Content], dict[str, Any]], tmp_path: Path
) -> None:
    files, config = whole

    def made(path: Path) -> None:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "mine").touch()
        files["model.onnx"](path)

    with pytest.raises(InputError, match="made by someone else"):
        write_bundle(tmp_path / "b", files | {"model.onnx": made}, config, "", replace=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["b", "mine"]
    (tmp_path / "empty").mkdir()
    assert write_bundle(tmp_path / "empty", files, config, "", replace=False).path == tmp_path / "empty"


def test_two_processes_do_not_write_one_bundle(
    whole: tuple[dict[str, Content], dict[str, Any]], tmp_path: Path
) -> None:
    with locked(tmp_path / ".b.lock"), pytest.raises(InputError, match="another tagprism"):
        write_bundle(tmp_path / "b", *whole, "")
