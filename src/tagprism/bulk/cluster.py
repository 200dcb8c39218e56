"""A connection to a Ray cluster, of this machine or of many."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tagprism.errors import InputError, MachineError

_STORE = 256 << 20  # bytes of the object store of a cluster of our own; paths and records pass through it, no pictures
_PATIENCE = 10.0  # seconds for a cluster to take a connection


@contextmanager
def cluster(address: str) -> Iterator[int]:
    """Be connected to a Ray cluster; gives the number of its processors.

    Args:
        address: HOST:PORT of its head; `auto` for the one that runs on this machine, else a new one of all its
            processors, which ends with the block.

    Raises:
        InputError: Ray is not installed, or it is no address.
        MachineError: the cluster does not answer, or has no processors.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it would write on the terminal, too
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        what = f"needs a package that is not installed ({error})."
        raise InputError(what, where="--ray", remedy='Install it: pip install "tagprism[ray]"') from error
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        _be_quiet(ray)
        processors = int(ray.cluster_resources().get("CPU", 0))
        if not processors:
            raise MachineError("the cluster has no processors.", where=address, remedy="Start a worker of it.")
        yield processors
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    common = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "auto":
        try:
            _muted(ray.init, address="auto", **common)
        except ConnectionError:  # none runs here
            _start(ray, common)
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        remedy = "Write auto, or HOST:PORT of the cluster's head (usually port 6379), on a machine of the cluster."
        raise InputError("is no address of a Ray cluster.", where=f"--ray {address}", remedy=remedy)
    remedy = "Start it with `ray start --head`, or write auto."
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()  # Ray itself would try for minutes
        _muted(ray.init, address=address, **common)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise MachineError(f"the Ray cluster does not answer ({error}).", where=address, remedy=remedy) from error


def _start(ray: Any, common: dict[str, Any]) -> None:
    # Ray's own niceness of 15 lets other work on a busy machine push actors out of the processor at every turn. Here
    # they are all that the command does.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        _muted(ray.init, include_dashboard=False, object_store_memory=_STORE, **common)
    except Exception as error:  # Ray raises it bare where a process of its does not answer in time
        remedy = "Give the command again when the machine is less busy, or start one with `ray start --head`."
        raise MachineError(f"a Ray cluster does not start ({error}).", where="--ray auto", remedy=remedy) from error


def _muted(call: Callable[..., object], **arguments: Any) -> None:
    """Call what writes on the terminal below Python, and so past `app.console`; its errors are raised as ever."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (a device)
        os.dup2(nowhere.fileno(), 2)
    try:
        call(**arguments)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _be_quiet(ray: Any) -> None:
    """Ray prints the death of a process on stdout, among the rows of `tag`; of its settings none is for this."""
    ray._private.worker._worker_logs_enabled = False
    logging.getLogger("ray").setLevel(logging.CRITICAL + 1)
