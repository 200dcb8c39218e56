"""Which processor networks run on: what was asked for, what this ONNX Runtime has, what is in use. Knows no graphs."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Literal, get_args

from tagprism.errors import InputError

Device = Literal["auto", "cpu", "cuda", "coreml", "openvino", "directml"]
DEVICES: tuple[Device, ...] = get_args(Device)
VARIABLE = "TAGPRISM_DEVICE"
_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_AUTO = ("cuda", "directml", "openvino")
"""What `auto` takes before the CPU, the first that is there: each is in a package that somebody installed for its sake.

CoreML is in every ONNX Runtime for macOS and was not tested, so it must be asked for by name.
"""
_INSTALL = {
    "cuda": "Install it in place of onnxruntime: pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "directml": "It is for Windows: pip uninstall onnxruntime, then pip install onnxruntime-directml",
    "openvino": "Install it in place of onnxruntime: pip uninstall onnxruntime, then pip install onnxruntime-openvino",
    "coreml": "It is part of onnxruntime for macOS, and of no other",
}
_in_use: set[str] = set()
_told: set[str] = set()
_lock = threading.Lock()


class DeviceWarning(UserWarning):
    """A network runs on another processor than was asked for."""


def use_device(name: str) -> None:
    """Choose where networks that are opened from now on run, in this process and in those that it starts.

    Args:
        name: one of `DEVICES`.

    Raises:
        InputError: there is no such device, or this installation of ONNX Runtime does not have it.
    """
    _checked(name, "--device")
    os.environ[VARIABLE] = name


def available_devices() -> list[str]:
    """The devices that this installation of ONNX Runtime has."""
    import onnxruntime  # here, as `--help` and most errors need none of it

    found = onnxruntime.get_available_providers()
    return [name for name, provider in _PROVIDERS.items() if provider in found]


def chosen_device() -> str:
    """Where a network that is opened now should run; never `auto`.

    Raises:
        InputError: the environment variable names what is not there.
    """
    return _checked(os.environ.get(VARIABLE) or "auto", VARIABLE)


def _checked(name: str, where: str) -> str:
    if name not in DEVICES:
        what = f"there is no device `{name}`; there are {', '.join(DEVICES)}."
        raise InputError(what, where=where, remedy="Name one of them, or leave it away.")
    here = available_devices()
    if name == "auto":
        return next((one for one in _AUTO if one in here), "cpu")
    if name not in here:
        what = f"this installation of ONNX Runtime does not have `{name}`; it has {', '.join(here)}."
        raise InputError(what, where=where, remedy=f"{_INSTALL[name]}. Or leave {where} away.")
    return name


def providers(device: str) -> list[str]:
    """ONNX Runtime's names for a device, with the CPU for what it cannot compute."""
    return list(dict.fromkeys([_PROVIDERS[device], _PROVIDERS["cpu"]]))


def note_device(asked: str, found: list[str], reason: str = "") -> str:
    """Note where a network that was just opened runs; a warning, once, where that is not where it should.

    Args:
        asked: as `chosen_device` gave it.
        found: the providers that the network has.
        reason: why it is another one, where that is known.

    Returns:
        The device.
    """
    used = next((name for name, provider in _PROVIDERS.items() if provider in found[:1]), found[0] if found else "cpu")
    with _lock:
        _in_use.add(used)
        new = used != asked and asked not in _told
        if new:
            _told.add(asked)
    if new:
        why = f" ({reason})" if reason else ""
        warnings.warn(
            f"ONNX Runtime could not use {asked}{why}: networks run on {used}. `tagprism doctor` says what is there.",
            DeviceWarning,
            stacklevel=2,
        )
    return used


def device_in_use() -> str:
    """Where the networks that this process has opened run, such as `cpu`; '' before the first."""
    with _lock:
        return " and ".join(sorted(_in_use))
