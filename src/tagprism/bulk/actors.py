"""Actors of a Ray cluster: parts of a job go out, one result of each comes back. Knows nothing of the work.

An actor on each processor does parts one after the other. One that dies takes no picture with it: its parts go to
others, and of a part whose actors die again and again each picture is tried by itself, so that the one that kills them
is known by name.
"""

from __future__ import annotations

import json
import time
import traceback
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from tagprism import errors
from tagprism.errors import MachineError, TagprismError
from tagprism.images.elsewhere import Item

_IN_FLIGHT = 2  # parts of an actor: one that it does, and one that waits there, so that it need not wait for it
_DEATHS = 3  # of actors that did a part, before its pictures are tried by themselves; of each of these, too
_LOSSES = 10  # likewise where machines went with them, as a picture may take so much memory that its machine ends
_BUSY, _LOOK = 600.0, 5.0  # seconds: that no actor may get a processor, and between two looks at what there is
Part = list[Item]


class Job(Protocol):
    """What is done with each part, in whatever process. It is sent there once."""

    def open(self) -> Callable[[Part], bytes]:
        """Get ready, and return what makes the result of a part."""


def results(job: Job, parts: Iterable[Part], processors: int) -> Generator[tuple[Part, bytes | None], None, None]:
    """Have a job done on the cluster one is connected to. Close it, so that its processors are free at once.

    Args:
        job: the work.
        parts: of what there is to do; fetched when they are needed.
        processors: of the cluster; each gets an actor, also one that comes later or that another job lets go.

    Yields:
        Parts with their results, in any order, each picture in exactly one. None for a picture by itself whose
        actors died each time, as they do where memory is too small for it.

    Raises:
        TagprismError: an actor raised it.
        MachineError: other jobs have all processors for ten minutes, or the cluster fails.
    """
    import ray

    pool = _Pool(ray, job, parts, processors)
    try:
        yield from pool.run()
    except ray.exceptions.RayError as error:
        remedy = "What was done is kept: start it again, and give the same command again."
        raise MachineError(f"the Ray cluster fails ({_last_line(error)}).", where="--ray", remedy=remedy) from error
    finally:
        pool.close()


@dataclass(eq=False)
class _Task:
    part: Part
    alone: bool = False  # whether an actor may have nothing else to do: one that had it has died
    short: bool = False  # whether that was for want of memory
    lost_on: list[str] = field(default_factory=list)  # machines where actors died that had nothing else to do


@dataclass
class _Actor:
    handle: Any
    ready: bool = False
    machine: str = ""  # once it is ready
    under_way: dict[Any, _Task | None] = field(default_factory=dict)  # by the result to come; None opens the job

    def takes(self, task: _Task) -> bool:
        """Whether it may have a task now."""
        if any(one is not None and one.alone for one in (*self.under_way.values(), task)):
            return not self.under_way
        return len(self.under_way) < _IN_FLIGHT


class _Pool:
    """Actors that do the parts of a job, one a processor."""

    def __init__(self, ray: Any, job: Job, parts: Iterable[Part], processors: int) -> None:
        self._ray, self._processors = ray, processors
        self._source = map(_Task, parts)
        self._waiting: deque[_Task] = deque()
        self._actors: list[_Actor] = []
        self._of: dict[Any, _Actor] = {}  # by the results to come
        self._failed = 0  # actors that died before they were ready, since the last that was
        self._job = ray.put(job)
        self._class = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Process)

    def run(self) -> Iterator[tuple[Part, bytes | None]]:
        looked = served = time.monotonic()  # when the processors were counted, and when an actor last had one
        self._start_actors()
        while self._waiting or any(actor.ready and actor.under_way for actor in self._actors):
            if not self._of:  # no processor is left
                time.sleep(_LOOK)
            for result in self._ray.wait(list(self._of), timeout=_LOOK)[0] if self._of else ():
                yield from self._take(result)
            now = time.monotonic()
            if now - looked >= _LOOK:
                self._processors, looked = int(self._ray.cluster_resources().get("CPU", 0)), now
            self._start_actors()
            served = now if any(actor.ready for actor in self._actors) else served
            if now - served >= _BUSY:
                raise self._too_busy()

    def _start_actors(self) -> None:
        """One for each processor, as far as there is work. Those without a processor wait for one in the cluster."""
        self._waiting.extend(islice(self._source, max(0, self._processors - len(self._waiting))))
        starting = sum(not actor.ready for actor in self._actors)
        for _ in range(min(self._processors - len(self._actors), len(self._waiting) - starting)):
            actor = _Actor(self._class.remote(self._job))
            self._actors.append(actor)
            self._send(actor, None)

    def _send(self, actor: _Actor, task: _Task | None) -> None:
        call = actor.handle.open if task is None else actor.handle.do
        result = call.remote(*([] if task is None else [zlib.compress(json.dumps(task.part).encode())]))
        actor.under_way[result] = task
        self._of[result] = actor

    def _take(self, result: Any) -> Iterator[tuple[Part, bytes | None]]:
        """Take what an actor gives back, and give it more to do."""
        actor = self._of[result]
        try:
            value, error = self._ray.get(result)
        except self._ray.exceptions.RayError as death:
            yield from self._lose(actor, death)
            return
        del self._of[result]
        task = actor.under_way.pop(result)
        if error:
            raise _again(error)
        self._failed = 0
        if task is None:
            actor.ready, actor.machine = True, value
        self._feed(actor)
        if task is not None:
            yield task.part, value

    def _feed(self, actor: _Actor) -> None:
        while (task := self._next()) is not None and actor.takes(task):
            self._waiting.remove(task)
            self._send(actor, task)

    def _next(self) -> _Task | None:
        """What is to be done next.

        Where memory is short, Ray ends all actors of a machine for what one of them took. So of what they did one thing
        at a time is tried again: else the others would end with it each time, and be blamed for it too.
        """
        tried = any(task is not None and task.short for actor in self._actors for task in actor.under_way.values())
        may = (task for task in self._waiting if not (tried and task.short))
        if (task := next(may, None)) is None:
            task = next(self._source, None)
            self._waiting.extend([task] if task else [])
        return task

    def _lose(self, actor: _Actor, death: Exception) -> Iterator[tuple[Part, None]]:
        """What an actor that died had to do goes to others.

        Of two parts either may be what it died of, as with it the result of a part that it had done may be lost. So
        both are tried alone from then on.
        """
        self._actors.remove(actor)
        self._ray.kill(actor.handle)  # it may live, and be out of reach
        for result in actor.under_way:
            del self._of[result]
        tasks = [task for task in actor.under_way.values() if task is not None]
        short = isinstance(death, self._ray.exceptions.OutOfMemoryError)
        if not actor.ready and not (short and any(one.ready for one in self._actors)):  # these may have the memory
            self._fail_to_start(death)
        if len(tasks) == 1:
            tasks[0].lost_on.append(actor.machine)
            if self._is_to_blame(tasks[0]):
                part = tasks[0].part
                if len(part) == 1:
                    yield part, None
                tasks = [_Task([item]) for item in part] if len(part) > 1 else []
        for task in tasks:
            task.alone, task.short = True, task.short or short
        self._waiting.extendleft(reversed(tasks))
        for other in list(self._actors):  # which may have nothing to do any more, on the last processor that is left
            if short and other.ready and not other.under_way:  # it holds memory, or was ended too
                self._actors.remove(other)
                self._ray.kill(other.handle)
            elif other.ready:
                self._feed(other)

    def _is_to_blame(self, task: _Task) -> bool:
        """Whether so many actors died of a task that another cause is unlikely.

        Where its machine is lost an actor dies of that. Ray knows it some time after the actor's death, so that all
        losses are judged again at each.
        """
        there = {one["NodeID"] for one in self._ray.nodes() if one["Alive"]}
        alone = sum(machine in there for machine in task.lost_on)
        return alone >= _DEATHS or len(task.lost_on) >= _LOSSES

    def _fail_to_start(self, death: Exception) -> None:
        self._failed += 1
        if self._failed >= _DEATHS * max(1, self._processors):
            remedy = "See whether tagprism is installed there, and whether memory is enough for the model."
            what = f"processes of the Ray cluster end before they can begin ({_last_line(death)})."
            raise MachineError(what, where="--ray", remedy=remedy)

    def _too_busy(self) -> MachineError:
        what = f"other jobs have had all processors of the Ray cluster for {_BUSY / 60:.0f} minutes."
        remedy = "What was done is kept: give the same command again when they have ended."
        if not self._processors:
            what, remedy = (
                "the Ray cluster has no processors left.",
                "Start a worker of it, and give the command again.",
            )
        return MachineError(what, where="--ray", remedy=remedy)

    def close(self) -> None:
        """Let go of all processors."""
        for actor in self._actors:
            self._ray.kill(actor.handle)


class _Process:
    """The actor. What goes wrong there is a value; an exception of Ray is the death of the process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._do: Callable[[Part], bytes] | None = None

    def open(self) -> tuple[str, str]:
        """The machine, or an error."""
        import ray

        try:
            self._do = self._job.open()
        except MemoryError as error:  # as in `do`
            raise SystemExit from error
        except Exception as error:
            return "", _as_text(error)
        return ray.get_runtime_context().get_node_id(), ""

    def do(self, data: bytes) -> tuple[bytes | None, str]:
        assert self._do is not None, "it was opened"
        try:
            return self._do([Item(*one) for one in json.loads(zlib.decompress(data))]), ""
        except MemoryError as error:  # as if the system had ended it: the picture that needs so much is then found
            raise SystemExit from error
        except Exception as error:
            return None, _as_text(error)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


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
