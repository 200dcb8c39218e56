"""`--device`: what is there is used and said, what is not there is refused, and falling back is said aloud."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from tagprism import device, onnx_graph
from tagprism.bundle.bundle import BUNDLES
from tagprism.bundle.onnx_model import RecordNetwork
from tests.app.conftest import Cli
from tests.command_line import tagprism as command

PHOTO = Path(__file__).parents[1] / "photos/coffee.jpg"
NETWORK = BUNDLES / "photos-lite/model.onnx"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing asked, nothing in use."""
    monkeypatch.setenv(device.VARIABLE, "")
    none_in_use(monkeypatch)
    monkeypatch.setattr(onnx_graph, "_told", set())


def none_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    for module in (device, onnx_graph):
        monkeypatch.setattr(module, "in_use", used)


def has(monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*providers, "CPUExecutionProvider"])


def test_what_is_not_there_is_refused_with_what_to_install(cli: Cli) -> None:
    cli("tag", PHOTO, "--device", "cuda").refused("does not have `cuda`", "pip install onnxruntime-gpu")
    cli("tag", PHOTO, "--device", "coreml").refused("for macOS")
    done = command("tag", PHOTO, "--format", "jsonl", environment={device.VARIABLE: "gpu"})
    assert done.returncode == 2 and b"TAGPRISM_DEVICE" in done.stderr and b"auto, cpu, cuda" in done.stderr


def test_auto_takes_what_somebody_installed_and_never_what_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    assert onnx_graph.chosen_device() == "cpu"
    has(monkeypatch, "CoreMLExecutionProvider", "AzureExecutionProvider")
    assert onnx_graph.chosen_device() == "cpu" and onnx_graph.available_devices() == ["coreml", "cpu"]
    has(monkeypatch, "OpenVINOExecutionProvider", "CUDAExecutionProvider")
    assert onnx_graph.chosen_device() == "cuda"
    monkeypatch.setenv(device.VARIABLE, "openvino")
    assert onnx_graph.chosen_device() == "openvino"
    assert onnx_graph.providers("openvino") == ["OpenVINOExecutionProvider", "CPUExecutionProvider"]


def test_falling_back_is_said_once_and_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has(monkeypatch, "CUDAExecutionProvider")
    asked: list[list[str]] = []
    session = onnxruntime.InferenceSession

    def without_driver(path: str, options: Any, providers: list[str], **more: Any) -> Any:
        asked.append(providers)
        if providers[0] != "CPUExecutionProvider":
            raise RuntimeError("no CUDA-capable device is detected")
        return session(path, options, providers=providers, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_driver)
    with pytest.warns(device.DeviceWarning, match=r"could not use cuda \(no CUDA-capable.*run on cpu"):
        RecordNetwork(NETWORK, 256, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RecordNetwork(NETWORK, 256, threads=1)
    assert asked[0] == ["CUDAExecutionProvider", "CPUExecutionProvider"] and device.device_in_use() == "cpu"
    assert capsys.readouterr().out == ""


def test_the_choice_reaches_processes_that_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    onnx_graph.use_device("cpu")
    assert os.environ[device.VARIABLE] == "cpu"


@pytest.mark.slow
def test_where_it_ran_is_said_and_kept_with_the_results(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session, index = onnxruntime.InferenceSession, tmp_path / "photos.index"
    rows = cli("tag", PHOTO, "--format", "coco")
    assert json.loads(rows.out)["info"]["device"] == "cpu" and "Networks ran on" not in rows.err
    assert cli("index", PHOTO, "--into", index).code == 0
    assert json.loads((index / "index.json").read_text())["devices"] == ["cpu"]
    none_in_use(monkeypatch)
    monkeypatch.setattr(session, "get_providers", lambda _: ["OpenVINOExecutionProvider", "CPUExecutionProvider"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", device.DeviceWarning)  # nobody asked for it here
        rows = cli("tag", PHOTO, "--format", "coco")
        more = cli("index", PHOTO.parent / "rocket.jpg", "--into", index)
    assert json.loads(rows.out)["info"]["device"] == "openvino" and "Networks ran on openvino" in rows.err
    assert more.code == 0 and "Networks ran on openvino" in more.err
    assert json.loads((index / "index.json").read_text())["devices"] == ["cpu", "openvino"]


def test_doctor_tries_the_device(cli: Cli) -> None:
    done = cli("doctor", "--device", "cpu")
    assert "cpu in use; ONNX Runtime has cpu" in done.out
    rows = cli("tag", PHOTO, "--device", "cpu", "--format", "jsonl", "--quiet")
    assert json.loads(rows.out)["tags"]
