"""One setting writes curves for TensorBoard or Weights & Biases, into the RUN and nowhere else."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tagprism.datasets.registry import open_data
from tagprism.errors import InputError
from tagprism.training import loggers
from tagprism.training.fit import fit
from tagprism.training.prepare import prepare
from tagprism.training.recipe import load_recipe
from tests.small_world import make_pictures, make_recipe

pytestmark = pytest.mark.slow  # each trains a network in this process


def trained(folder: Path, logger: str, *settings: str) -> Path:
    """Train for an epoch; returns the folder of the checkpoints."""
    make_pictures(folder / "data", copies=2)
    recipe = load_recipe(make_recipe(folder), (f"training.logger={logger}", "training.epochs=1", *settings))
    table, split = open_data(f"tagged:{folder}/data", f"{folder}/data/split.json")
    fit(prepare(recipe, table, split), folder / "out")
    assert list((folder / "out/log/from_batch_0").glob("metrics.csv"))  # always
    return folder / "out"


def records(path: Path) -> list[bytes]:
    """The records of a file of TensorBoard: length, checksum, data, checksum."""
    data, found = path.read_bytes(), []
    while data:
        size = struct.unpack("<Q", data[:8])[0]
        found.append(data[12 : 12 + size])
        data = data[16 + size :]
    return found


def test_tensorboard_gets_loss_and_validation(tmp_path: Path) -> None:
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    out = trained(tmp_path, "tensorboard")
    (file,) = (out / "tensorboard/from_batch_0").glob("events.out.*")
    events = [event_pb2.Event.FromString(one) for one in records(file)]
    values = {value.tag: value.simple_value for event in events for value in event.summary.value}
    assert values["loss"] > 0 and 0 < values["validation_mAP"] <= 100 and values["images_per_second"] > 0


def test_wandb_writes_offline_into_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    connected: list[tuple[int, object]] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def noted(self: socket.socket, address: object) -> None:
        connected.append((self.family, address))
        connect(self, address)  # type: ignore[arg-type]

    def asked(host: object, *arguments: Any, **named: Any) -> Any:
        connected.append((socket.AF_INET, (host,)))
        return look_up(host, *arguments, **named)

    monkeypatch.setattr(socket.socket, "connect", noted)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.chdir(tmp_path)
    out = trained(tmp_path, "wandb")
    (run,) = (out / "wandb").glob("offline-run-*")
    (file,) = run.glob("*.wandb")
    deadline = time.monotonic() + 60
    while b"validation_mAP" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)  # a process of W&B writes the end of it by itself
    data = file.read_bytes()
    assert b"validation_mAP" in data and b"diversity_weighting" in data  # the curves, and the recipe
    outside = [address for family, address in connected if family != socket.AF_UNIX]
    assert not [address for address in outside if address[0] not in ("127.0.0.1", "localhost")]  # type: ignore[index]
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out", "small.toml", "words.txt"}


def test_a_logger_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    loggers.check_logger("csv")
    with pytest.raises(InputError, match=r"tensorboardX.*tagprism\[loggers\]"):
        loggers.check_logger("tensorboard")
