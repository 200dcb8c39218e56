"""Which actor does what, and what becomes of the parts of one that dies, with a Ray that is only played."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagprism.bulk import actors
from tagprism.bulk.actors import Part, results
from tagprism.errors import InputError, MachineError
from tagprism.images.elsewhere import Item


class DeathError(Exception):
    """As Ray says that an actor died."""


class ShortError(DeathError):
    """As Ray says that it ended an actor for want of memory."""


class Handle:
    """An actor whose calls wait until `Ray.wait` lets it go on, one at a time."""

    def __init__(self, made: Any) -> None:
        self.made, self.alive, self.machine, self.calls = made, True, "", []
        self.death: DeathError | None = None
        self.open, self.do = (SimpleNamespace(remote=self._later(name)) for name in ("open", "do"))

    def _later(self, name: str) -> Callable[..., str]:
        def remote(*arguments: Any) -> str:
            result = f"{id(self)}.{len(self.calls)}"
            self.calls.append([result, lambda: getattr(self.made, name)(*arguments)])
            return result

        return remote


class Ray:
    """As much of Ray as the pool asks for. A job's `SystemExit` is the death of its actor, and waiting takes no time.

    Each processor is a machine.

    Args:
        processors: that there are.
        held: those that other jobs have.
        deaths: how many steps of any actor it takes to each death that no picture is to blame for.
        goes: whether the processor goes with it.
        lost_by: a picture whose machine is lost when an actor looks at it, and how many of them; another one comes.
            As with Ray itself it is said to be there until something else happens.
        short_by: pictures that take so much memory that all actors are ended for it, as Ray's memory monitor does.
    """

    exceptions = SimpleNamespace(RayError=DeathError, OutOfMemoryError=ShortError)

    def __init__(
        self,
        processors: int,
        held: int = 0,
        deaths: tuple[int, ...] = (),
        *,
        goes: bool = False,
        lost_by: tuple[str, int] = ("", 0),
        short_by: frozenset[str] = frozenset(),
    ) -> None:
        self.processors, self.held, self.deaths, self.goes = processors, held, list(deaths), goes
        self.handles: list[Handle] = []
        self.given: dict[str, Any] = {}
        self.fetched: set[str] = set()
        self.now = 0.0
        self.lost_by, self.losses = lost_by
        self.short_by = short_by
        self.here, self.lost, self.just_lost = "", set[str](), ""

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": one.machine, "Alive": one.machine not in self.lost} for one in self.handles if one.machine]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: self.here)

    def put(self, job: Any) -> Any:
        return job

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        assert options == {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0}

        def start(*arguments: Any) -> Handle:
            self.handles.append(Handle(actors._Process(*arguments)))
            return self.handles[-1]

        return lambda made: SimpleNamespace(remote=start)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.processors)} if self.processors else {}

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def kill(self, handle: Handle) -> None:
        handle.alive = False

    def wait(self, waited: list[str], timeout: float) -> tuple[list[str], list[str]]:
        assert waited, "Ray refuses to wait for nothing"
        assert self.now < 1e5, "it hangs"
        alive = sorted((one for one in self.handles if one.alive), key=lambda one: not one.machine)
        placed = alive[: self.processors - self.held]
        for handle in placed:
            handle.machine = handle.machine or self._free_machine(placed)
            for result, call in handle.calls:
                if result not in self.given:
                    self._step(handle, result, call)
                    break
        self.now += timeout
        for handle in self.handles:
            if handle.death:  # so end its calls, also those that came too late
                self.given |= {one: handle.death for one, _ in handle.calls if one not in self.fetched}
        known = [result for result in waited if result in self.given]
        return known[:1], waited

    def _free_machine(self, placed: list[Handle]) -> str:
        taken = {*self.lost, self.just_lost, *(handle.machine for handle in placed)}
        return next(name for name in map(str, itertools.count(1)) if name not in taken)

    def _step(self, handle: Handle, result: str, call: Callable[[], Any]) -> None:
        self.deaths = [left - 1 for left in self.deaths]
        self.here = handle.machine
        self.lost.add(self.just_lost)
        try:
            if 0 in self.deaths:
                self.deaths.remove(0)
                self.processors = max(1, self.processors - self.goes)
                raise SystemExit
            value = call()
            looked_at = value[0].decode().split() if isinstance(value[0], bytes) else []
            if self.losses and self.lost_by in looked_at:
                self.losses, self.just_lost = self.losses - 1, handle.machine
                raise SystemExit
            self.given[result] = value
            if self.short_by.intersection(looked_at):
                for one in self.handles:
                    self._die(one, ShortError("Memory is short."))
        except SystemExit:
            self._die(handle, DeathError("It died."))

    def _die(self, handle: Handle, death: DeathError) -> None:
        """With it goes what it had done, but had not been fetched."""
        if handle.alive:
            handle.alive, handle.death = False, death

    def get(self, result: str) -> Any:
        value = self.given[result]
        self.fetched.add(result)
        if isinstance(value, DeathError):
            raise value
        return value


class Job:
    """Gives the names of a part back; some pictures kill the process, and some raise."""

    def __init__(
        self,
        deadly: frozenset[int] = frozenset(),
        opens: Callable[[], None] = lambda: None,
        death: type[BaseException] = SystemExit,
    ) -> None:
        self.deadly, self.opens, self.death = deadly, opens, death

    def open(self) -> Callable[[Part], bytes]:
        self.opens()

        def look(part: Part) -> bytes:
            if any(int(item.name) in self.deadly for item in part):
                raise self.death
            return " ".join(item.name for item in part).encode()

        return look


def play(ray: Ray, job: Job, sizes: list[int]) -> list[tuple[list[int], bytes | None]]:
    """The results of parts of so many pictures, which are numbered."""
    numbers = iter(range(sum(sizes)))
    parts = [[Item(str(next(numbers)), "") for _ in range(size)] for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
        patch.setattr(actors, "time", SimpleNamespace(monotonic=lambda: ray.now, sleep=ray.sleep))
        with closing(results(job, parts, ray.processors)) as found:
            done = [([int(item.name) for item in part], result) for part, result in found]
    assert not any(handle.alive for handle in ray.handles), "every processor is let go of"
    return done


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), max_size=12),
    deadly=st.frozensets(st.integers(0, 30), max_size=3),
    deaths=st.lists(st.integers(1, 40), max_size=2),
    processors=st.integers(1, 4),
    goes=st.booleans(),
)
def test_every_picture_comes_once_whatever_dies(
    sizes: list[int], deadly: frozenset[int], deaths: list[int], processors: int, goes: bool
) -> None:
    found = play(Ray(processors, deaths=tuple(deaths), goes=goes), Job(deadly), sizes)
    assert Counter(number for part, _ in found for number in part) == Counter(range(sum(sizes)))
    assert {number for part, result in found if result is None for number in part} == deadly & set(range(sum(sizes)))
    assert all(result is None or [*map(int, result.split())] == part for part, result in found)


def test_a_part_that_waited_behind_a_deadly_one_stays_whole() -> None:
    found = play(Ray(1), Job(frozenset({1})), [4, 4, 4])
    assert [4, 5, 6, 7] in [part for part, _ in found] and [8, 9, 10, 11] in [part for part, _ in found]
    assert [part for part, result in found if result is None] == [[1]]


def test_a_machine_that_is_lost_is_no_fault_of_the_picture_that_was_in_work() -> None:
    found = play(Ray(2, lost_by=("5", 7)), Job(), [4, 4, 4])
    assert sorted(part for part, result in found if result) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_picture_that_takes_each_machine_with_it_is_known_by_name() -> None:
    ray = Ray(2, lost_by=("5", 10**6))
    assert [part for part, result in play(ray, Job(), [4, 4]) if result is None] == [[5]]
    assert 10**6 - ray.losses <= 2 * (actors._LOSSES + 1)


def test_a_picture_that_memory_is_too_small_for_is_known_by_name() -> None:
    found = play(Ray(2), Job(frozenset({5}), death=MemoryError), [4, 4])
    assert [part for part, result in found if result is None] == [[5]] and len(found) == 5


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), max_size=12),
    heavy=st.frozensets(st.integers(0, 30), max_size=4),
    processors=st.integers(1, 4),
)
def test_what_memory_is_too_small_for_is_known_by_name_though_all_actors_end(
    sizes: list[int], heavy: frozenset[int], processors: int
) -> None:
    found = play(Ray(processors, short_by=frozenset(map(str, heavy))), Job(), sizes)
    assert Counter(number for part, _ in found for number in part) == Counter(range(sum(sizes)))
    assert {number for part, result in found if result is None for number in part} == heavy & set(range(sum(sizes)))


def test_processors_that_come_later_are_used() -> None:
    ray = Ray(1)

    def grow() -> None:
        ray.processors = 3

    assert len(play(ray, Job(opens=grow), [1] * 20)) == 20
    assert len(ray.handles) == 3


def test_a_cluster_that_others_hold_is_named_and_one_that_is_let_go_is_used() -> None:
    ray = Ray(2, held=2)
    with pytest.raises(MachineError, match="other jobs have had all processors of the Ray cluster for 10 minutes"):
        play(ray, Job(), [1])
    assert actors._BUSY <= ray.now <= actors._BUSY + 2 * actors._LOOK
    ray = Ray(2, held=1)  # the second processor is held all the time
    assert len(play(ray, Job(), [1] * 200)) == 200 and ray.now > actors._BUSY


def test_a_cluster_without_processors_left_is_named() -> None:
    ray = Ray(1)

    def shrink() -> None:
        ray.processors = 0
        raise SystemExit

    with pytest.raises(MachineError, match="has no processors left"):
        play(ray, Job(opens=shrink), [1])


def test_processes_that_cannot_begin_end_the_job() -> None:
    def die() -> None:
        raise SystemExit

    with pytest.raises(MachineError, match=r"end before they can begin \(It died\.\)"):
        play(Ray(2), Job(opens=die), [1] * 9)


def test_what_an_actor_raises_is_raised_here() -> None:
    def refuse() -> None:
        raise InputError("is another model.", where="there", remedy="Copy it.")

    with pytest.raises(InputError, match=r"there: is another model\. Copy it\."):
        play(Ray(2), Job(opens=refuse), [1])

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(RuntimeError, match=r"(?s)in a process of the cluster.*ZeroDivisionError"):
        play(Ray(2), Job(opens=fail), [1])
