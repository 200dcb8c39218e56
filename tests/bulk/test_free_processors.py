"""How many processors of a busy cluster a run takes, with a cluster that only says what is free."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from tagprism.bulk import cluster
from tagprism.errors import MachineError


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=lambda: sum(waited), sleep=waited.append))
    return waited


def says(monkeypatch: pytest.MonkeyPatch, *free: dict[str, float]) -> None:
    answers = list(free)
    ray = SimpleNamespace(available_resources=lambda: answers.pop(0) if len(answers) > 1 else answers[0])
    monkeypatch.setitem(sys.modules, "ray", ray)


def test_a_run_takes_what_is_free_and_waits_for_the_first_processor(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, {"CPU": 4.0})
    assert cluster._free_processors(2) == 2 and not waits
    says(monkeypatch, {"CPU": 1.0}, {"CPU": 2.0})  # the processes of an earlier run end only now
    assert cluster._free_processors(2) == 2 and len(waits) == 1
    says(monkeypatch, {"memory": 1e9}, {"CPU": 1.0})  # another job keeps the second
    assert cluster._free_processors(2) == 1 and cluster._SETTLED <= sum(waits) < 2 * cluster._SETTLED


def test_a_cluster_that_others_hold_is_named(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, {"memory": 1e9})
    with pytest.raises(MachineError, match="other jobs have had all processors of the Ray cluster for 10 minutes"):
        cluster._free_processors(2)
    assert cluster._BUSY <= sum(waits) < cluster._BUSY + 2 * cluster._LOOK
