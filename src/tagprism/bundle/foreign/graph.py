"""One network of a foreign model on the CPU: checked inputs and outputs, free or fixed batches. Knows only arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from tagprism.bundle.foreign.layout import AGAIN, not_understood
from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import unit_rows
from tagprism.onnx_graph import OnnxGraph

_KINDS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
_Size: TypeAlias = int | str | None


class Graph:
    """A network whose first input is the main one, and one output of which is the vector.

    Args:
        path: the `.onnx` file.
        inputs: for each input the names that it goes by; the first one must be there, any other input is refused.
        outputs: names of the output, the first of them that the graph has.
        sizes: of the main input, but for the batch; None where any size will do.
        what: the main input in words, for messages.

    Raises:
        InputError: the file is missing, damaged, or not such a network.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[Sequence[str]],
        outputs: Sequence[str],
        sizes: Sequence[int | None],
        what: str,
    ) -> None:
        self._path = path
        self._graph = OnnxGraph(path, threads=1)  # batches are run in several threads
        found = self._graph.inputs
        known = [next((name for name in names if name in found), None) for names in inputs]
        if known[0] is None or set(found) - set(known):
            listed = ", ".join(f"`{name}` {shape}" for name, shape in found.items())
            raise not_understood(f"its inputs are {listed}; wanted is `{'` or `'.join(inputs[0])}`", path)
        kinds = self._graph.kinds
        for name in known:
            if name is not None and kinds[name] not in _KINDS:
                raise not_understood(f"its input `{name}` takes {kinds[name]}", path)
        self._feeds = [None if name is None else (name, _KINDS[kinds[name]]) for name in known]
        shape: Sequence[_Size] = found[known[0]]
        self._check_main(shape, sizes, what)
        if isinstance(shape[0], int) and shape[0] != 1:
            raise not_understood(f"it takes {shape[0]} at once", path)
        self.one_by_one = shape[0] == 1
        self.length = shape[1] if isinstance(shape[1], int) else None
        offered = self._graph.outputs
        chosen = next((name for name in outputs if name in offered), None)
        if chosen is None or len(offered[chosen]) != 2:
            listed = ", ".join(f"`{name}` {size}" for name, size in offered.items())
            raise not_understood(f"its outputs are {listed}; wanted is one vector `{'` or `'.join(outputs)}`", path)
        self._output, last = chosen, offered[chosen][1]
        self.dimension = last if isinstance(last, int) else None

    def _check_main(self, shape: Sequence[_Size], sizes: Sequence[int | None], what: str) -> None:
        fits = len(shape) == 1 + len(sizes) and all(
            want is None or not isinstance(size, int) or size == want
            for size, want in zip(shape[1:], sizes, strict=True)
        )
        if not fits:
            raise InputError(
                f"takes {what} of shape {shape}; the settings beside it say {['any', *sizes]}.",
                where=str(self._path),
                remedy=AGAIN,
            )

    def __call__(self, *feeds: np.ndarray) -> Float32[np.ndarray, "B D"]:
        """Unit vectors of a batch.

        Args:
            feeds: arrays for the inputs, in order; those that the graph does not have are left out.

        Raises:
            InputError: the network fails, or gives no vectors that have a direction.
        """
        step = 1 if self.one_by_one else len(feeds[0])
        starts = range(0, len(feeds[0]), step)
        found = np.concatenate([self._run([feed[at : at + step] for feed in feeds]) for at in starts])
        if not found.any(axis=1).all():
            raise InputError("its network gives a vector of zeros.", where=str(self._path), remedy=AGAIN)
        return unit_rows(found)

    def _run(self, feeds: Sequence[np.ndarray]) -> Float32[np.ndarray, "B D"]:
        given = {
            known[0]: feed.astype(known[1], copy=False)
            for known, feed in zip(self._feeds, feeds, strict=True)
            if known is not None
        }
        (found,) = self._graph.run([self._output], given, pictures=len(feeds[0]))
        if len(found) != len(feeds[0]):
            raise InputError("its network gives no vector for each input.", where=str(self._path), remedy=AGAIN)
        return found.astype(np.float32)


def in_threads(graph: Graph, batches: Sequence[tuple[np.ndarray, ...]]) -> list[Float32[np.ndarray, "B D"]]:
    """The vectors of many batches, on all processors: a graph of batch 1 is as fast as any."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda feeds: graph(*feeds), batches))
