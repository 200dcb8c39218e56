"""Names of the processors that networks may run on, and which are in use. Chooses none: that needs ONNX Runtime."""

from __future__ import annotations

from typing import Literal, get_args

Device = Literal["auto", "cpu", "cuda", "coreml", "openvino", "directml"]
DEVICES: tuple[Device, ...] = get_args(Device)
VARIABLE = "TAGPRISM_DEVICE"
in_use: set[str] = set()
"""Where the networks that this process has opened run."""


class DeviceWarning(UserWarning):
    """A network runs on another processor than was asked for."""


def device_in_use() -> str:
    """Where the networks that this process has opened run, such as `cpu`; '' before the first."""
    return " and ".join(sorted(in_use.copy()))  # of a copy, as a thread may just be opening a network
