"""Work on a Ray cluster by Ray Data: parts of a job go out, one result of each comes back. Knows nothing of the work.

A process that dies takes no picture with it: Ray gives its parts to another one, and of a part whose processes die
again and again each picture is tried by itself, so that the one that kills them is known by name.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from tagprism import errors
from tagprism.errors import InputError, MachineError, TagprismError
from tagprism.images.elsewhere import Item

if TYPE_CHECKING:
    import pyarrow as pa

_WINDOW = 16_384  # parts that Ray holds a list of at once: a million pictures
_RETRIES = 3  # of a part whose process died
_RUNS = 4  # of what is left, where a run ends with an error of Ray's
_STORE = 256 << 20  # bytes of the object store of a cluster of our own; paths and records pass through it, no pictures
_PATIENCE = 10.0  # seconds for a cluster to take a connection
_SETTLED, _BUSY, _LOOK = 5.0, 600.0, 0.5  # seconds: for ended processes to be let go, for other jobs to end, between
Part = list[Item]


class Job(Protocol):
    """What is done with each part, in whatever process. It is sent there once."""

    def open(self) -> Callable[[Part], bytes]:
        """Get ready, and return what makes the result of a part."""


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
        importlib.import_module("ray.data")
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
            _muted(ray.init, include_dashboard=False, object_store_memory=_STORE, **common)
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
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # what is missing is tried again here, picture by picture
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def results(job: Job, parts: Iterable[Part], processors: int) -> Iterator[tuple[Part, bytes | None]]:
    """Have a job done on the cluster one is connected to.

    Args:
        job: the work.
        parts: of what there is to do; fetched a million pictures ahead.
        processors: of the cluster; each gets a process that opens the job once.

    Yields:
        Parts with their results, in any order, each picture in exactly one. None for a picture by itself whose
        processes died each time, as they do where memory is too small for it.

    Raises:
        TagprismError: a process raised it.
    """
    source = iter(parts)
    while window := list(islice(source, _WINDOW)):
        missing = dict(enumerate(window))
        yield from _done(job, missing, processors)
        # A lost node takes whole parts with it: these come first, as by itself a picture meets the network in another
        # batch, whose numbers differ in the last bit.
        yield from _done(job, missing, processors, at_once=1)
        single = dict(enumerate([item] for part in missing.values() for item in part))
        yield from _done(job, single, processors, at_once=1)
        yield from ((part, None) for part in single.values())


def _done(job: Job, waiting: dict[int, Part], processors: int, at_once: int = 2) -> Iterator[tuple[Part, bytes]]:
    """The parts that came back, which are taken out of those waiting.

    A run may end with an error though its parts are well: Ray Data lets go of a process that found no processor, on a
    cluster that others use too, and stumbles over its end. So a run takes the processors that are free, and what an
    error leaves is run again.
    """
    import ray

    for left in reversed(range(_RUNS)):
        try:
            if waiting:
                yield from _run(job, waiting, _free_processors(processors), at_once)
            return
        except ray.exceptions.RayError as error:
            if waiting and not left:
                remedy = "Nothing is lost: start it again, and give the same command again."
                raise MachineError(f"the Ray cluster fails ({error}).", where="--ray", remedy=remedy) from error


def _free_processors(processors: int) -> int:
    """How many of a cluster's processors no other job has; waits for the first one.

    Raises:
        MachineError: other jobs have all of them for ten minutes.
    """
    import ray

    began = time.monotonic()
    while True:
        free, waited = int(ray.available_resources().get("CPU", 0)), time.monotonic() - began  # type: ignore[no-untyped-call]
        if free >= processors or (free and waited >= _SETTLED):
            return min(free, processors)
        if waited >= _BUSY:
            what = f"other jobs have had all processors of the Ray cluster for {_BUSY / 60:.0f} minutes."
            remedy = "What was done is kept: give the same command again when they have ended."
            raise MachineError(what, where="--ray", remedy=remedy)
        time.sleep(_LOOK)


def _run(job: Job, waiting: dict[int, Part], processors: int, at_once: int) -> Iterator[tuple[Part, bytes]]:
    import ray

    items = [{"number": one, "part": zlib.compress(json.dumps(part).encode())} for one, part in waiting.items()]
    pool = ray.data.ActorPoolStrategy(
        min_size=1,
        max_size=processors,
        initial_size=min(processors, len(items)),
        max_tasks_in_flight_per_actor=at_once,
    )
    with warnings.catch_warnings():
        # There is no other way yet to say how often a part whose process died is tried.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Process,
            fn_constructor_args=(job,),
            batch_size=None,  # a block is a part
            batch_format="pyarrow",
            compute=pool,
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
    for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        table: Any = batch
        for one in table.to_pylist():
            if one["error"]:
                raise _again(one["error"])
            if (part := waiting.pop(one["number"], None)) is not None:
                yield part, one["result"]


class _Process:
    """Lives in a process of the cluster. What goes wrong there is a value, as Ray would try it again for ever."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._do: Callable[[Part], bytes] | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa

        results: list[bytes | None] = []
        failed = ""
        for data in batch.column("part").to_pylist():
            try:
                do = self._do = self._do or self._job.open()
                results.append(do([Item(*one) for one in json.loads(zlib.decompress(data))]))
            except Exception as error:
                failed = _as_text(error)
                results.append(None)
        column = pa.array(results, pa.large_binary())
        return pa.table({"number": batch.column("number"), "result": column, "error": [failed] * len(results)})


def _as_text(error: Exception) -> str:
    if isinstance(error, TagprismError):
        return json.dumps([type(error).__name__, error.what, error.where, error.remedy])
    return json.dumps(["", traceback.format_exc()])


def _again(text: str) -> Exception:
    kind, what, *rest = json.loads(text)
    if not kind:
        return RuntimeError(f"in a process of the cluster:\n{what}")
    where, remedy = rest
    made: Exception = getattr(errors, kind)(what, where=where, remedy=remedy)
    return made
