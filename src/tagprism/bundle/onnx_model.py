"""Run an ONNX model of one input on the CPU. Knows only arrays; needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tagprism.errors import InputError
from tagprism.onnx_graph import OnnxGraph

OUTPUT, PLACES, ASKED = "output", "places", "asked"
"""A network's first output; the second one, what each place adds to it; and the input that asks for it.

`asked` holds the images of the batch whose places are wanted, none by default: ONNX Runtime computes every output,
also one that nobody fetches (its `only_execute_path_to_fetches` is for training builds alone).
"""


class OnnxNetwork:
    """A loaded ONNX file: pixels (B, 3, H, W) float32 in, float32 arrays out.

    Args:
        path: the `.onnx` file.
        threads: threads of one call; 0 leaves the choice to ONNX Runtime (all cores).

    Raises:
        InputError: the file is missing, damaged, or not such a model; a call raises it too, where the network takes
            too long or too much memory or gives numbers that are not finite (`onnx_graph`).
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self._path, self._graph = path, OnnxGraph(path, threads=threads)
        if len(self._graph.inputs) != 1 or OUTPUT not in self._graph.outputs:
            raise InputError(f"is a network without one input and an output called `{OUTPUT}`.", where=str(path))
        (self._input,) = self._graph.inputs

    @property
    def shapes(self) -> tuple[list[int | str], list[int | str]]:
        """Shapes of the input and of the first output; names stand for sizes that are free."""
        return self._graph.inputs[self._input], self._graph.outputs[OUTPUT]

    def __call__(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B ..."]:
        """The model's `output` for a batch of prepared pixels."""
        return self._run([OUTPUT], {self._input: pixels})[0]

    def placed(
        self, pixels: Float32[np.ndarray, "B 3 H W"]
    ) -> tuple[Float32[np.ndarray, "B M D1"], Float32[np.ndarray, "B P M D"]]:
        """`output` and `places` of a batch, for a model that has both."""
        output, places = self._run([OUTPUT, PLACES], {self._input: pixels, ASKED: np.arange(len(pixels))})
        return output, places

    def _run(self, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        pictures = len(feeds[self._input])
        found = self._graph.run(outputs, feeds, pictures=pictures)
        if any(len(array) != pictures for array in found):
            raise InputError(f"its network gives no row for each of {pictures} pictures.", where=str(self._path))
        return found
