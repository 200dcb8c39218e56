"""The one place where ONNX Runtime is called: a graph that a stranger may have made, run within limits, and on what."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tagprism.device import DEVICES, VARIABLE, DeviceWarning, in_use
from tagprism.errors import InputError

SECONDS, SECONDS_VARIABLE = 60.0, "TAGPRISM_NETWORK_SECONDS"
"""Processor time that a graph may take for a picture, and the environment variable that says otherwise."""
_MOST_SECONDS = 100_000
_SHORTEST_WAIT = 0.01  # seconds between two looks at the clock
_MEMORY = 8 << 30  # bytes that all graphs of a process may hold together
_MEMORY_OF_A_CORE = 256 << 20  # and this for each processor, as each may have a batch under way
_FATAL = 4  # what ONNX Runtime itself writes to stderr, names of a stranger's nodes among it; errors are raised anyway
_TERMINATED, _NO_MEMORY = "terminate flag", ("llocate memory", "Available memory", "bad_alloc", "bad allocation")
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
_told: set[str] = set()
_lock = threading.Lock()


class OnnxGraph:
    """A loaded ONNX file, run where `chosen_device` says.

    Args:
        path: the `.onnx` file.
        threads: threads of one call; 0 leaves the choice to ONNX Runtime (all cores).

    Raises:
        InputError: the file is missing, damaged, no graph that can be run, or needs too much memory.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self._path, self._seconds = path, _seconds()
        _share_memory()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.use_env_allocators", "1")
        asked = chosen_device()
        if asked == "directml":  # which wants no patterns of memory, and one run of a session at a time
            options.enable_mem_pattern = False
        self._one_at_a_time: AbstractContextManager[object] = threading.Lock() if asked == "directml" else nullcontext()
        try:
            self._session, reason = _opened(path, options, asked)
        except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
            raise self._refused(error, f"is not an ONNX model that can be run ({error}).") from error
        self.device = note_device(asked, self._session.get_providers(), reason)

    @property
    def inputs(self) -> dict[str, list[int | str]]:
        """Shape of each input by its name; names stand for sizes that are free."""
        return {item.name: item.shape for item in self._session.get_inputs()}

    @property
    def kinds(self) -> dict[str, str]:
        """Type of each input by its name, as ONNX Runtime writes it: `tensor(float)`."""
        return {item.name: item.type for item in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, list[int | str]]:
        """Shape of each output by its name."""
        return {item.name: item.shape for item in self._session.get_outputs()}

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray], *, pictures: int) -> list[np.ndarray]:
        """Compute outputs.

        Args:
            outputs: their names.
            feeds: arrays by the names of the inputs.
            pictures: how many are computed at once, or as much work as that; the time limit grows with them.

        Returns:
            One array of floats an output.

        Raises:
            InputError: it takes too long or too much memory, fails, or gives numbers that are not finite or of another
                shape than it says.
        """
        options = onnxruntime.RunOptions()
        options.log_severity_level = _FATAL
        try:
            with self._one_at_a_time, _terminated(options, self._seconds * pictures):
                found: list[np.ndarray] = self._session.run(list(outputs), dict(feeds), options)
        except Exception as error:
            raise self._refused(error, f"its network fails ({error}).") from error
        for name, array in zip(outputs, found, strict=True):
            self._check(name, array)
        return found

    def _check(self, name: str, found: object) -> None:
        """Refuse what is not what the graph says of itself, or no numbers."""
        sizes = self.outputs[name]
        if not (
            isinstance(found, np.ndarray)
            and found.dtype in (np.float32, np.float16)
            and found.ndim == len(sizes)
            and all(isinstance(said, str | None) or said == size for said, size in zip(sizes, found.shape, strict=True))
        ):
            what = f"its network's output `{name}` is not what it says of itself: floating-point numbers {sizes}."
            raise InputError(what, where=str(self._path), remedy="Use another model.")
        if not np.isfinite(found).all():
            raise InputError(
                "its network gives numbers that are not finite (NaN or infinity), of which no tag can be made.",
                where=str(self._path),
                remedy="Export the model anew, with --precision fp32 if it was a smaller one, or use another one.",
            )

    def _refused(self, error: Exception, otherwise: str) -> InputError:
        what, remedy = otherwise, "Copy the bundle again, or use another model."
        if _TERMINATED in str(error):
            what = f"its network took more than {self._seconds:g} s of processor time a picture and was stopped."
            remedy = f"Use another model; where the machine is that slow, set {SECONDS_VARIABLE} to more seconds."
        elif isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
            what = (
                f"its network asks for more memory than there is, or than {_most_memory() / 2**30:.0f} GiB ({error})."
            )
            remedy = "Use another model, or another machine."
        return InputError(what, where=str(self._path), remedy=remedy)


def _opened(path: Path, options: Any, device: str) -> tuple[Any, str]:
    """A session, and why it is on the CPU where another device was asked for.

    ONNX Runtime's own way to fall back is switched off: it prints on stdout.
    """
    if device != "cpu":
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=providers(device), enable_fallback=False
            ), ""
        except Exception as error:  # of any type; whether the file or the device is at fault the CPU tells
            reason = " ".join(str(error).split())[:200]
            return onnxruntime.InferenceSession(str(path), options, providers=providers("cpu")), reason
    return onnxruntime.InferenceSession(str(path), options, providers=providers("cpu")), ""


@contextmanager
def _terminated(options: Any, seconds: float) -> Iterator[None]:
    """End a run of this thread, between two nodes of the graph, when it has had its time.

    Counted is the thread's processor time where the system tells it, so that a busy machine stops no honest graph.
    """
    clock, done = _clock_of_this_thread(), threading.Event()
    end = clock() + seconds

    def watch() -> None:
        while (left := end - clock()) > 0:
            if done.wait(max(left, _SHORTEST_WAIT)):
                return
        options.terminate = True

    watcher = threading.Thread(target=watch, name="deadline", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _clock_of_this_thread() -> Callable[[], float]:
    """Its processor time in seconds, or plain time on systems that tell no other thread of it."""
    if hasattr(time, "pthread_getcpuclockid"):
        return partial(time.clock_gettime, time.pthread_getcpuclockid(threading.get_ident()))
    return time.monotonic


def _seconds() -> float:
    text = os.environ.get(SECONDS_VARIABLE) or SECONDS
    with suppress(ValueError):
        if 0 < (seconds := float(text)) <= _MOST_SECONDS:
            return seconds
    what = f"is {text!r}, not a number of seconds up to {_MOST_SECONDS:,}."
    raise InputError(what, where=SECONDS_VARIABLE, remedy=f"The default is {SECONDS:g}.")


def _most_memory() -> int:
    return _MEMORY + (os.cpu_count() or 1) * _MEMORY_OF_A_CORE


@cache
def _share_memory() -> None:
    """Let all graphs take their memory from one place, which has an end."""
    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limit = {"max_mem": _most_memory()}  # all else as ONNX Runtime has it
    with suppress(Exception):  # another thread, or another user of ONNX Runtime in this process, has given one already
        onnxruntime.create_and_register_allocator(where, onnxruntime.OrtArenaCfg(limit))


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
        in_use.add(used)
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
