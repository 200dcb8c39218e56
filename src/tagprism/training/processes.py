"""Several processes that train together: who each is, who waits for whom, what is added up. Knows no pictures.

torchrun, SLURM's `srun` or `launch` start one process per device; each learns its rank from its environment.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.rendezvous import rendezvous

from tagprism.counted import counted
from tagprism.errors import DoneAlreadyError, InputError, MachineError
from tagprism.training.batches import LAUNCHED, Processes

if TYPE_CHECKING:
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment


class LostPeerError(MachineError):
    """Another process of the training ended or cannot be reached; it or its launcher says why."""


class ProcessGroup(Processes):
    """Several processes.

    Args:
        environment: what started them.
        local_count: processes on this machine.

    Attributes:
        local_rank: 0 to local_count - 1.
    """

    def __init__(self, environment: ClusterEnvironment, local_count: int) -> None:
        self.environment, self.local_count = environment, local_count
        self.rank, self.count = environment.global_rank(), environment.world_size()
        self.local_rank, self._node = environment.local_rank(), environment.node_rank()
        if self.count % local_count:
            raise InputError(
                f"{self.count} processes cannot be {local_count} on every machine.",
                remedy="Start the same number of processes on every machine.",
            )
        self.launcher_tells = bool(os.environ.get(LAUNCHED)) and self.nodes == 1
        self._group: Any = None

    @property
    def trainer_options(self) -> dict[str, Any]:
        """Lightning's strategy for several processes."""
        from lightning.pytorch.strategies import DDPStrategy

        return {
            "accelerator": "gpu" if torch.cuda.is_available() else "cpu",
            "devices": self.local_count,
            "num_nodes": self.nodes,
            "plugins": [self.environment],
            "strategy": DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True),  # buffers are equal anyway
        }

    @cached_property
    def _store(self) -> Any:
        """Keys and values that all can read, kept by torchrun or by the main process."""
        os.environ["MASTER_ADDR"] = self.environment.main_address
        os.environ["MASTER_PORT"] = str(self.environment.main_port)
        with _lost_peers():
            store, _, _ = next(iter(rendezvous(f"env://?rank={self.rank}&world_size={self.count}")))
        return store

    @contextmanager
    def main_first(self, what: str) -> Iterator[None]:
        """Run the body in the main process, then in one of each other machine, then in the rest.

        What the earlier ones computed and kept, the later ones find. They wait as long as it takes; when a process
        fails in the body, those that wait for it end too. That all is done already, which the main one finds, all say.

        Raises:
            DoneAlreadyError: the main process has raised it.
        """
        if not self.is_main:
            self._end_if_done_already(f"{what}: main" if self.local_rank == 0 else f"{what}: machine {self._node}")
        try:
            yield
        except DoneAlreadyError as error:
            self._tell(what, json.dumps([error.what, error.where, error.remedy]))
            raise
        self._tell(what, "")

    def _tell(self, what: str, done_already: str) -> None:
        """Let those go on that wait for this process; or end, where all was done before."""
        with _lost_peers():
            if self.local_rank == 0:
                self._store.set(f"{what}: machine {self._node}", done_already)
            if self.is_main:
                self._store.set(f"{what}: main", done_already)

    def _wait(self, key: str) -> None:
        store = self._store
        with _lost_peers():
            while not store.check([key]):
                time.sleep(0.05)

    def _end_if_done_already(self, key: str) -> None:
        self._wait(key)
        with _lost_peers():
            done_already = self._store.get(key).decode()
        if done_already:
            said, where, remedy = json.loads(done_already)
            raise DoneAlreadyError(said, where=where, remedy=remedy)

    def agree(self, what: str, value: str, *, remedy: str) -> None:
        """Make sure that all processes have the same value, such as the digest of what they are going to do.

        Raises:
            InputError: this process has another value than the main one.
        """
        if self.is_main:
            with _lost_peers():
                self._store.set(what, value)
            return
        self._wait(what)
        if self._store.get(what).decode() != value:
            raise InputError(f"process {self.rank} finds other {what} than process 0.", remedy=remedy)

    def connect(self) -> None:
        """Open the group for small numbers on the host, once Lightning has connected the processes."""
        if self._group is None:
            self._group = distributed.new_group(backend="gloo")

    def sum(self, value: float) -> float:
        """The sum over all processes."""
        total = torch.tensor([value], dtype=torch.float64)
        with _lost_peers():
            distributed.all_reduce(total, group=self._group)
        return float(total)

    def told(self, value: float) -> float:
        """The main process' value."""
        return self.sum(value if self.is_main else 0.0)

    def gather(self, values: Tensor) -> Tensor:
        """What all processes have, in the main one, end to end in the order of ranks; elsewhere the own part.

        Args:
            values: (n, ...) on the CPU; n may differ.
        """
        sizes = [int(self.sum(len(values) if rank == self.rank else 0)) for rank in range(self.count)]
        if not self.is_main:
            with _lost_peers():
                distributed.send(values.contiguous(), 0, group=self._group)
            return values
        parts = [values]
        for rank in range(1, self.count):
            parts.append(values.new_empty(sizes[rank], *values.shape[1:]))
            with _lost_peers():
                distributed.recv(parts[-1], rank, group=self._group)
        return torch.cat(parts)

    def gather_tables(self, table: dict[str, Any]) -> dict[str, Any]:
        """The entries of all processes' tables (JSON values), in the main one; elsewhere the own entries."""
        lines = torch.frombuffer(bytearray(json.dumps(table).encode() + b"\n"), dtype=torch.uint8)
        merged: dict[str, Any] = {}
        for line in self.gather(lines).numpy().tobytes().splitlines():
            merged.update(json.loads(line))
        return merged


def this_member() -> ProcessGroup:
    """What this process is among several; for `batches.this_process`."""
    if os.environ.get(LAUNCHED):
        _end_with_launcher()
    if distributed.is_torchelastic_launched():
        from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

        return ProcessGroup(TorchElasticEnvironment(), int(os.environ["LOCAL_WORLD_SIZE"]))
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise InputError("srun must be told the tasks per machine.", remedy="Add --ntasks-per-node=GPUS to sbatch.")
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    return ProcessGroup(SLURMEnvironment(auto_requeue=False), int(os.environ["SLURM_NTASKS_PER_NODE"]))


def launch(devices: int, nodes: int) -> int:
    """Start this very command once per device of this machine with torchrun's launcher, and wait.

    Args:
        devices: processes on this machine.
        nodes: machines; with more than one, each runs this with NODE_RANK, MASTER_ADDR and MASTER_PORT set.

    Returns:
        The exit code of the process that failed, or 0.

    Raises:
        InputError: more devices than this machine has; several machines without the variables.
        MachineError: a process was killed.
        KeyboardInterrupt: Ctrl-C.
    """
    if torch.cuda.is_available() and devices > torch.cuda.device_count():
        raise InputError(
            f"this machine has {counted(torch.cuda.device_count(), 'GPU')}, not {devices}.", where="--devices"
        )
    if nodes > 1 and not {"NODE_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise InputError(
            "several machines must know each other.",
            where="--nodes",
            remedy="Start with torchrun or srun, or set NODE_RANK, MASTER_ADDR and MASTER_PORT (docs/scale.md).",
        )
    where: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "local_addr": "127.0.0.1"}
    if nodes > 1:
        where = {"rdzv_backend": "static", "rdzv_endpoint": "{MASTER_ADDR}:{MASTER_PORT}".format(**os.environ)}
        where["rdzv_configs"] = {"rank": int(os.environ["NODE_RANK"])}
    config = LaunchConfig(nodes, nodes, devices, run_id="tagprism", max_restarts=0, **where)
    os.environ |= {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // devices)),
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # a lost connection is told once, in words
        LAUNCHED: str(os.getpid()),
    }
    logging.disable()  # the launcher tells its story in log lines, and is told of here in a sentence
    try:
        elastic_launch(config, sys.executable)(*sys.orig_argv[1:])
    except SignalException as stop:
        if stop.sigval == signal.SIGINT:
            raise KeyboardInterrupt from stop
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        return _exit_code({rank: failure.exitcode for rank, failure in error.failures.items()}, devices * nodes)
    return 0


def _exit_code(codes: dict[int, int], count: int) -> int:
    """The exit code that tells most, of the processes that failed, by rank; negative ones are signals."""
    if -signal.SIGINT in codes.values():
        raise KeyboardInterrupt
    later = (-signal.SIGTERM, LostPeerError.exit_code)  # of those that the launcher ended, or that lost a peer
    causes = {rank: code for rank, code in codes.items() if code not in later}
    rank = min(causes, key=causes.__getitem__) if causes else max(codes, key=codes.__getitem__)
    if codes[rank] < 0:
        raise MachineError(
            f"process {rank} of {count} was killed (signal {-codes[rank]}).",
            remedy="If memory ran out, use a smaller batch_size or fewer workers. Run the same command to continue.",
        )
    return codes[rank]


def _end_with_launcher() -> None:
    """End this process when the launcher is gone, however it ended, and at once when the launcher says so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the launcher says what is to be said

    def watch() -> None:
        while os.getppid() == int(os.environ[LAUNCHED]):
            time.sleep(0.2)
        os._exit(MachineError.exit_code)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _lost_peers() -> Iterator[None]:
    """Turn a broken connection into a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise lost_peer(error) or error from error


def lost_peer(error: RuntimeError) -> LostPeerError | None:
    """The sentence for a broken connection between the processes; None for another error."""
    if not isinstance(error, distributed.DistError) and "gloo" not in str(error).lower():
        return None
    return LostPeerError(
        "another process of this training ended or cannot be reached.",
        remedy="See its message. Run the same command again to continue.",
    )
